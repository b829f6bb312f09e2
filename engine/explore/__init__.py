"""All designs below a budget, counted without building them: `python -m engine.explore`."""
