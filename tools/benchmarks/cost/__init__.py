"""What the pack costs: start, memory, and time of a sampling step."""
