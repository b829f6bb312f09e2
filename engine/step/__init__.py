"""One training step and one evaluation, on one device."""
