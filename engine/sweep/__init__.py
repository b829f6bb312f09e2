"""Many runs by one command: sweep files, the plan, the queue, executors and the results.

The way of a run: `files` (as written) -> `points` (networks and settings) -> `plan` (exact runs)
-> `queue` (which process has which) -> an executor -> its record -> `results`.
"""
