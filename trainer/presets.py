"""Starting points for a style, a character or an object: values with a reason for each. Imports no torch."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import Any

import resources
from trainer.errors import ConfigError

NAMES = ("style", "character", "object")


@dataclass(frozen=True)
class Preset:
    """A starting point.

    values: the settings it sets, also some that equal the default; reasons: a sentence each. pictures: the fewest and the
    most that are usual.
    """

    name: str
    title: str
    summary: str
    values: dict[str, Any]
    reasons: dict[str, str]
    pictures: tuple[int, int]


def load(name: str) -> Preset:
    """The preset of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in NAMES:
        raise ConfigError("", f'There is no preset "{name}"; choose one of {", ".join(NAMES)}.')
    raw = tomllib.loads(resources.path("presets", f"{name}.toml").read_text(encoding="utf-8"))
    values = {key: entry["value"] for key, entry in raw["settings"].items()}
    reasons = {key: entry["why"] for key, entry in raw["settings"].items()}
    low, high = raw["pictures"]
    return Preset(name, raw["title"], raw["summary"], values, reasons, (low, high))
