"""One file for each host: it says where that host keeps the text stream, the image keys and values, and the grid."""
