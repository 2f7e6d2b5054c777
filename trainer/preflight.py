"""What can be known to be wrong before a worker is started, in milliseconds and without torch. Imports no torch."""

from __future__ import annotations

import os
from pathlib import Path

import resources
from trainer import dataset, families, lora_file
from trainer.errors import ConfigError, ModelError, RunError, os_message
from trainer.settings import DEMO, TrainingSettings, info


def check(settings: TrainingSettings) -> None:
    """Refuses a run that would certainly fail; nothing is written.

    Raises:
        AtelierError: the pictures, the base model, the LoRA to start from or the runs folder cannot be used.
    """
    families.check(base_path(settings.base), settings.vae)
    dataset.require_captions(dataset.scan_training(settings), settings.data, settings.trigger)
    for role in ("regularization", "validation"):
        if folder := getattr(settings, role):
            dataset.scan(folder, what=info(role).label)
    if settings.start_from is not None:
        check_lora(settings.start_from)
    _check_writable(settings.runs_folder.expanduser().absolute())


def base_path(base: str) -> Path:
    """The folder or file of a base model; "demo" is the one that ships with the app.

    Raises:
        ConfigError: nothing was given.
    """
    if not base:
        raise ConfigError(
            "base", 'No base model was given. Give a single file (.safetensors, .ckpt), a diffusers folder, or "demo".'
        )
    return resources.path("demo", "model") if base == DEMO else Path(base).expanduser()


def check_lora(path: Path) -> None:
    """Refuses a file to start from that holds no LoRA layers.

    Raises:
        ModelError: it does not exist, is no .safetensors file, or holds something else.
    """
    keys = lora_file.read_header(path).shapes
    if not any(key.endswith(".lora_down.weight") for key in keys):
        raise ModelError(
            f"{path.name} holds no LoRA layers in the usual (kohya) format; choose another file to start from."
        )


def _check_writable(folder: Path) -> None:
    """The nearest folder that exists must let us write, or the run could not be kept."""
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    if not existing.is_dir():
        raise RunError(f"The runs folder {folder} is a file; choose a folder.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise RunError(
            os_message(
                f"No run folder can be made in {folder}", PermissionError(13, "permission denied", str(existing))
            )
        )
