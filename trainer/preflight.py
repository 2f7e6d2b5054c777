"""What can be known to be wrong before a worker is started, in milliseconds and without torch. Imports no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import resources
from trainer import dataset, families, hub, lora_kinds, user_folders
from trainer.errors import AtelierError, ConfigError, RunError, os_message
from trainer.settings import DEMO, TrainingSettings, info

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainer.dataset import DataSet
    from trainer.families import Family

T = TypeVar("T")


def check(settings: TrainingSettings) -> Findings:
    """Refuses a run that would certainly fail, and tells what it found of another; nothing is written.

    Raises:
        AtelierError: the pictures, the base model, the LoRA to start from or the runs folder cannot be used.
    """
    found = look(settings)
    for _field, error in found.problems:
        raise error
    return found


@dataclass(frozen=True)
class Findings:
    """What was found. data: the training pictures; prior: those for regularisation; problems: each with the setting to mend it with."""

    family: Family | None
    data: DataSet | None
    prior: DataSet | None
    problems: tuple[tuple[str, AtelierError], ...]


def look(settings: TrainingSettings, data: DataSet | None = None) -> Findings:
    """Looks at everything that a run needs. data: the training pictures, when they are known already; else they are scanned."""
    problems: list[tuple[str, AtelierError]] = []

    def attempt(field: str, act: Callable[[], T]) -> T | None:
        try:
            return act()
        except AtelierError as error:
            problems.append((field, error))
            return None

    family = attempt("base", lambda: families.detect(base_path(settings.base)))
    if family is not None:
        attempt("vae", lambda: families.check(base_path(settings.base), settings.vae))
    pictures = data or attempt("data", lambda: dataset.scan_training(settings))
    if pictures is not None:
        attempt("trigger", lambda: dataset.require_captions(pictures, settings))
    sets = {}
    for role in ("regularization", "validation"):
        if folder := getattr(settings, role):
            sets[role] = attempt(role, partial(dataset.scan, folder, what=info(role).label))
    if (start := settings.start_from) is not None:
        attempt("start_from", lambda: check_lora(start, family, dora=settings.dora))
    attempt("runs_folder", lambda: _check_writable(settings.runs_folder.expanduser().absolute()))
    return Findings(family, pictures, sets.get("regularization"), tuple(problems))


def base_path(base: str) -> Path:
    """The folder or file of a base model: a path, a name on Hugging Face, or "demo" for the one that ships with the app.

    Raises:
        ConfigError: nothing was given, or it must be downloaded first.
    """
    if not base:
        raise ConfigError(
            "base",
            "No base model was given. Give a single file (.safetensors, .ckpt), a diffusers folder, a name on Hugging "
            'Face (owner/name), or "demo".',
        )
    if hub.is_name(base):
        found = hub.cached(base)
        if found is None:
            raise ConfigError("base", hub.not_here(base))
        return found
    return resources.path("demo", "model") if base == DEMO else Path(base).expanduser()


def check_lora(path: Path, family: Family | None = None, *, dora: bool | None = None) -> None:
    """Refuses a file to start from that is no LoRA, or one that does not go with the base model or the settings.

    family: of the base model, dora: the setting, where they are known.

    Raises:
        ModelError: it does not exist, cannot be read, holds something else, or was made for another family.
    """
    lora_kinds.require_lora(path.expanduser(), family, dora=dora)


def _check_writable(folder: Path) -> None:
    """The nearest folder that exists must let us write, or the run could not be kept."""
    existing = user_folders.existing(folder)
    if not existing.is_dir():
        raise RunError(f"The runs folder {folder} is a file; choose a folder.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise RunError(
            os_message(
                f"No run folder can be made in {folder}", PermissionError(13, "permission denied", str(existing))
            )
        )
