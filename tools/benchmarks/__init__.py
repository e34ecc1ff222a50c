"""Measurements behind the README: each module prints its table (`python -m tools.benchmarks.NAME --help`)."""
