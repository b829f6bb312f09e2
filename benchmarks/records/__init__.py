"""What lies in a folder of runs, read without trusting it."""
