"""What the window remembers from one start to the next: its size, the theme, the worker's command. A small JSON file."""

from __future__ import annotations

import json
from typing import Any

from app import places
from app.worker_process import command_words
from trainer.errors import ConfigError
from trainer.run_folder import write_atomically


def get(name: str, default: Any = None) -> Any:
    """A remembered value; `default` when there is none or it is of another type."""
    value = _read().get(name, default)
    return value if default is None or isinstance(value, type(default)) else default


def put(name: str, value: Any) -> None:
    """Remembers a value (JSON types)."""
    values = _read()
    if values.get(name) != value:
        text = json.dumps(values | {name: value}, indent=1)
        write_atomically(places.home() / "preferences.json", lambda p: p.write_text(text, encoding="utf-8"))


def worker_command() -> tuple[str, ...]:
    """The words that start the worker, e.g. `ssh gpu-box lora-atelier`; empty runs it here. See `worker_process.command_for`."""
    text = get("worker_command", "")
    try:
        return command_words(text)
    except ConfigError:  # the file was changed by hand; starting will say that there is no such program
        return (text,)


def _read() -> dict[str, Any]:
    try:
        values = json.loads((places.home() / "preferences.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
