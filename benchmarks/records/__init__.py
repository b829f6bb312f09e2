"""Reads folders of runs and sweeps; no file in them is trusted."""
