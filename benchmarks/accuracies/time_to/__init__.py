"""Time and work to an accuracy, beside peers: `python -m benchmarks.accuracies --time-to 94`."""
