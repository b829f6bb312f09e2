"""Everything worth measuring on a GPU: `python -m benchmarks.gpu`."""
