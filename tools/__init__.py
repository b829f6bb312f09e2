"""Set-up and packaging, in plain Python: nothing here needs a package beyond the interpreter."""
