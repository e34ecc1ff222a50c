"""What the pack costs, measured on ComfyUI's own Flux (see tools/benchmark_cost.py and tools/benchmark_encode.py)."""
