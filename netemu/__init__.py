"""netemu: an IP host that lives in a Python process."""

__version__ = "0.1.0"
