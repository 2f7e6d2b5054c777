"""The ladder of a run that ran out of memory: its rungs in the order they are taken, and what the run folder remembers.

A rung lowers settings without touching the user's own (run.toml): adapted.json in the run folder holds what was lowered, so
that a resumed run does not fail again first. Imports no torch.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from trainer.run_folder import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trainer.machine import Kind
    from trainer.run_folder import RunFolder
    from trainer.settings import TrainingSettings

# What a run was doing when memory ran out, as it is told.
PREPARING = "while the run was made ready"
STEP = "in a training step"
UPDATE = "while weights were being changed"
PREVIEW = "while previews were drawn"
VALIDATION = "while held-out pictures were measured"
SAVING = "while the LoRA was saved"
KILLED = "and the system ended the run"

FILE = "adapted.json"
FREES, TILES = "frees", "tiles"
_LOWERED = ("packed_weights", "gradient_checkpointing", "micro_batch", "offload", "quantization")
_VALIDATED_AT_ONCE = 6  # timesteps; see trainer.validation


@dataclass(frozen=True)
class Adapted:
    """What a run has been lowered to. settings: those that differ from run.toml; taken: words for each rung, by its name."""

    settings: dict[str, Any] = field(default_factory=dict)
    taken: dict[str, str] = field(default_factory=dict)

    def applied(self, settings: TrainingSettings) -> TrainingSettings:
        """The run's settings as they are now. Where the two no longer go together, the user's word is the last."""
        try:
            return type(settings).model_validate(settings.model_dump() | self.settings)
        except ValidationError:
            return settings

    @property
    def words(self) -> str:
        """What was done, e.g. "frozen weights are no longer kept packed; a batch is computed 2 pictures at a time"."""
        return "; ".join(self.taken.values())


@dataclass(frozen=True)
class Spot:
    """Where a run is: the kind of device, and whether its frozen weights are, or may be, kept packed there."""

    kind: Kind
    packed: bool


@dataclass(frozen=True)
class Rung:
    """One way to need less. name: in adapted.json; words: what is different, for the user; settings: that it changes."""

    name: str
    words: str
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def rebuilds(self) -> bool:
        """Whether the base model has to be read again for it."""
        return bool(self.settings.keys() & {"packed_weights", "offload", "quantization"})


def read(folder: RunFolder) -> Adapted:
    """What the run has been lowered to; nothing where it never ran out of memory."""
    # A damaged file only costs the failures again.
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        found = json.loads(_path(folder).read_text(encoding="utf-8"))
        settings = {name: value for name, value in found["settings"].items() if name in _LOWERED}
        return Adapted(settings, {str(name): str(words) for name, words in found["taken"].items()})
    return Adapted()


def take(folder: RunFolder, rung: Rung) -> Adapted:
    """Remembers a rung; returns what the run has been lowered to with it.

    Raises:
        OSError: the run folder cannot be written.
    """
    before = read(folder)
    now = Adapted(before.settings | rung.settings, before.taken | {rung.name: rung.words})
    text = json.dumps({"settings": now.settings, "taken": now.taken}, indent=1)
    write_atomically(_path(folder), lambda path: path.write_text(text, encoding="utf-8"))
    return now


def lowered(folder: RunFolder) -> TrainingSettings:
    """The run's settings with what was lowered since.

    Raises:
        ConfigError: run.toml cannot be used.
    """
    settings = folder.settings()
    return settings if settings.out_of_memory == "stop" else read(folder).applied(settings)


def following(folder: RunFolder, work: str, spot: Spot) -> Rung | None:
    """The next rung that helps a run which ran out of memory at this work; None when there is none.

    Raises:
        ConfigError: run.toml cannot be used.
    """
    settings, adapted = lowered(folder), read(folder)
    if settings.out_of_memory == "stop":
        return None
    found = (rung(settings, adapted, spot, work) for works, rung in _LADDER if work in works)
    return next((rung for rung in found if rung is not None), None)


def lower_after_kill(folder: RunFolder, *, packed: bool) -> str:
    """Lowers a run on a CPU that the system ended, most likely for its memory; what is different now, or an empty text.

    Raises:
        ConfigError: run.toml cannot be used.
        OSError: the run folder cannot be written.
    """
    spot, words = Spot("cpu", packed), ""
    while rung := following(folder, KILLED, spot):
        take(folder, rung)
        words = rung.words
        if rung.name != FREES:  # that alone seldom is enough
            break
    return words


def _path(folder: RunFolder) -> Path:
    return folder.path / FILE


# The rungs. Each is given the settings as they are now, what was taken, where the run is and what it was doing.


def _frees(settings: TrainingSettings, adapted: Adapted, spot: Spot, work: str) -> Rung | None:
    return None if FREES in adapted.taken else Rung(FREES, "what is not needed at the moment leaves memory")


def _tiles(settings: TrainingSettings, adapted: Adapted, spot: Spot, work: str) -> Rung | None:
    return None if TILES in adapted.taken else Rung(TILES, "large pictures go through the VAE in tiles")


def _unpacks(settings: TrainingSettings, adapted: Adapted, spot: Spot, work: str) -> Rung | None:
    if not spot.packed or spot.kind != "cpu" or settings.packed_weights == "off":
        return None
    return Rung("unpacked", "frozen weights are no longer kept packed", {"packed_weights": "off"})


def _checkpoints(settings: TrainingSettings, adapted: Adapted, spot: Spot, work: str) -> Rung | None:
    mode = {"off": "some", "some": "all"}.get(settings.gradient_checkpointing)
    words = {"some": "the blocks that need most are computed twice instead of kept", "all": "all blocks are computed twice instead of kept"}  # fmt: skip
    return None if mode is None else Rung("checkpointing", words[mode], {"gradient_checkpointing": mode})


def _halves(settings: TrainingSettings, adapted: Adapted, spot: Spot, work: str) -> Rung | None:
    whole = _VALIDATED_AT_ONCE if work == VALIDATION else settings.batch_size
    size = min(settings.micro_batch or whole, whole) // 2
    if size < 1:
        return None
    pictures = "1 picture" if size == 1 else f"{size} pictures"
    return Rung("micro_batch", f"a batch is computed {pictures} at a time", {"micro_batch": size})


def _offloads(settings: TrainingSettings, adapted: Adapted, spot: Spot, work: str) -> Rung | None:
    if spot.kind != "cuda" or settings.offload:
        return None
    return Rung("offload", "frozen blocks wait in the computer's memory for their turn", {"offload": True})


def _quantizes(settings: TrainingSettings, adapted: Adapted, spot: Spot, work: str) -> Rung | None:
    if settings.out_of_memory != "adapt_4bit" or settings.quantization == "nf4" or spot.kind == "mps":
        return None
    if importlib.util.find_spec("bitsandbytes") is None:
        return None
    return Rung("nf4", "the base model is quantised to 4 bits", {"quantization": "nf4"})


_ALL = frozenset({PREPARING, STEP, UPDATE, PREVIEW, VALIDATION, SAVING, KILLED})
_LADDER: tuple[tuple[frozenset[str], Callable[[TrainingSettings, Adapted, Spot, str], Rung | None]], ...] = (
    (_ALL, _frees),
    (frozenset({PREPARING, PREVIEW}), _tiles),
    (_ALL, _unpacks),
    (frozenset({STEP, UPDATE, KILLED}), _checkpoints),
    (frozenset({STEP, UPDATE, VALIDATION, KILLED}), _halves),
    (_ALL, _offloads),
    (_ALL - {PREVIEW}, _quantizes),
)
