"""Better, worse or within noise: `python -m benchmarks.compare`."""
