"""The training engine: usable without the app. Nothing here imports Qt."""

import logging

# Imported by peft, bitsandbytes says on stderr that it lacks a package which nothing here needs.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

__version__ = "0.1.0"
