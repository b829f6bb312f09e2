"""A high-throughput training engine for small image networks, fed by FFCV files."""

__version__ = "0.1.0"
