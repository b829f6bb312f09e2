"""A run's folder: lock, checkpoints, log, record, and what the person at the terminal sees."""
