"""The version, at the lowest place: files and checkpoints name it."""

__version__ = "0.3.0"
