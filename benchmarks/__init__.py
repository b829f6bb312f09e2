"""What reads the records of runs and measures the engine; nothing in `engine` imports it."""
