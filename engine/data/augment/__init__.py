"""One augmentation in several writings: `reference` is the specification, `device` the fast one."""
