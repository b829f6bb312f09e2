"""How anything is timed: turns, processes, results, the machine and its data."""
