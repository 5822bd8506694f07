"""The version of the distribution, at the one place from which setup.cfg and the package read it."""

__version__ = "0.1.0"
