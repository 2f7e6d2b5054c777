"""What the results of a run are: its checkpoints, the pictures at each, how the loss stood. Imports neither torch nor Qt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from app import run_record
from trainer import lora_file
from trainer.errors import ModelError
from trainer.run_folder import RunFolder

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.settings import TrainingSettings

SHARE_OF_FP32 = {"fp16": 0.5, "bf16": 0.5, "fp32": 1.0}


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint. validation, loss: at or just before its step, None when not known; size_bytes: of its fp32 LoRA."""

    step: int
    size_bytes: int
    validation: float | None = None
    loss: float | None = None

    def exported_size(self, precision: str) -> float:
        """About how large its file will be, in bytes."""
        return self.size_bytes * SHARE_OF_FP32[precision]


@dataclass(frozen=True)
class Results:
    """The results of a run.

    prompts: text by prompt number. pictures: file by (prompt number, step); step 0 is the untrained base. tags: those that
    the files bear, separated by commas.
    """

    folder: RunFolder
    settings: TrainingSettings
    checkpoints: tuple[Checkpoint, ...]
    prompts: dict[int, str]
    pictures: dict[tuple[int, int], Path]
    tags: str = ""

    @property
    def best_step(self) -> int | None:
        """The step with the lowest validation loss; None when nothing was validated or there is no choice."""
        known = [(c.validation, c.step) for c in self.checkpoints if c.validation is not None]
        return min(known)[1] if len(known) > 1 else None

    def picture_of(self, step: int) -> Path | None:
        """The first picture of that step."""
        return next((self.pictures[p, step] for p in self.prompts if (p, step) in self.pictures), None)


def read(folder: RunFolder) -> Results:
    """The results that are on disk; reads all events, so it belongs in a thread.

    Raises:
        ConfigError: run.toml cannot be used.
    """
    settings = folder.settings()
    record = run_record.read(folder)
    losses = dict(zip(record.steps, record.smoothed(), strict=True))
    checkpoints = []
    for step in (s for s in record.checkpoints if s > 0):
        before = [loss for at, loss in sorted(record.validations) if at <= step and loss == loss]
        loss = losses.get(step)
        file = folder.checkpoint(step) / "lora.safetensors"
        size = file.stat().st_size if file.is_file() else 0
        checkpoints.append(
            Checkpoint(step, size, before[-1] if before else None, loss if loss is not None and loss == loss else None)
        )
    pictures = {(p, s): path for p, by_step in record.previews.items() for s, path in by_step.items() if path.is_file()}
    prompts = {i: preview.prompt for i, preview in enumerate(settings.previews)}
    prompts |= {p: prompts.get(p, "") for p in sorted(record.previews)}
    return Results(folder, settings, tuple(checkpoints), prompts, pictures, _tags(folder, record.checkpoints))


def _tags(folder: RunFolder, steps: list[int]) -> str:
    try:
        return lora_file.read_header(folder.checkpoint(steps[-1]) / "lora.safetensors").metadata.get(
            "modelspec.tags", ""
        )
    except (ModelError, IndexError):
        return ""  # only a first proposal; exporting a damaged file says so


def with_checkpoints(runs: Path) -> list[RunFolder]:
    """The runs in a runs folder that have something to export, the newest first."""
    try:
        folders = [RunFolder(p) for p in runs.iterdir() if (p / "run.toml").is_file()]
    except OSError:  # there is none yet
        return []
    return sorted(
        (f for f in folders if f.checkpoints()),
        key=lambda f: f.events_path.stat().st_mtime if f.events_path.is_file() else 0,
        reverse=True,
    )
