"""Many runs by one command: sweep files, the plan, the queue, executors, and what came of them.

The way of a run: `files` (what was written) -> `points` (networks and settings) -> `plan` (exact
runs) -> `queue` (who does which) -> an executor -> its record -> `selection` (the result).
"""
