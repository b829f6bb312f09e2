"""What several runs at a time give over one: `python -m benchmarks.packing`."""
