"""The check of the browser's part of the pack."""
