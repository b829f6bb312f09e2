"""All measurements for a GPU: `python -m benchmarks.gpu`."""
