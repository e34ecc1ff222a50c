"""Makes files that the pack ships: its icon, and the English texts that translations start from."""
