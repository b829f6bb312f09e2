"""Augmentation, three implementations: `reference` (the specification), `cpu` and `gpu` (fast)."""
