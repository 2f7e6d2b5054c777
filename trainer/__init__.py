"""The training engine: usable without the app. Nothing here imports Qt."""

__version__ = "0.1.0"
