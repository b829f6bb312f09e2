"""What accuracy whole runs reach: `python -m benchmarks.accuracies`."""
