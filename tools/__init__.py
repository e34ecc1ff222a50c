"""Developer tools: the demo model's training, and benchmarks. Not shipped."""
