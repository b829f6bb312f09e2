"""From published data to `.beton` files: `python writers/cifar.py`."""
