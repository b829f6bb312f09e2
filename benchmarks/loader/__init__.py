"""How fast the loader is, beside its peers: `python -m benchmarks.loader`."""
