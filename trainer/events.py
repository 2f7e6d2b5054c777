"""What the worker tells and what it is told: one JSON object a line. Imports no torch.

Events go out on the worker's stdout and into events.jsonl; commands come in on its stdin. Both are small dataclasses; the
line's "type" is the class name in snake case.
"""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any, get_type_hints

PROTOCOL = 1


class ProtocolError(ValueError):
    """A line that is no event or command of this protocol; the text says why and shows its beginning."""


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that happened in the worker."""


@dataclasses.dataclass(frozen=True)
class Command:
    """Something the worker shall do; it acts within one step."""


@dataclasses.dataclass(frozen=True)
class Hello(Event):
    """The first line of every worker."""

    protocol: int
    version: str
    run: str


@dataclasses.dataclass(frozen=True)
class Phase(Event):
    """What the worker is doing besides steps, e.g. "Encoding pictures"; done and total count it (total 0: unknown)."""

    title: str
    done: int = 0
    total: int = 0


@dataclasses.dataclass(frozen=True)
class Warned(Event):
    """Something the user should know that does not stop the run."""

    message: str


@dataclasses.dataclass(frozen=True)
class Started(Event):
    """Training begins; step is 0 or where the run goes on."""

    step: int
    total_steps: int
    pictures: int
    steps_per_epoch: int
    trainable_parameters: int
    device: str
    precision: str


@dataclasses.dataclass(frozen=True)
class StepDone(Event):
    """One optimizer step. loss: mean over the step's pictures; learning_rates by part; memory of the device in GB."""

    step: int
    loss: float
    learning_rates: dict[str, float]
    seconds: float
    memory_gb: float


@dataclasses.dataclass(frozen=True)
class Validated(Event):
    """Loss on the held-out pictures at fixed noise and timesteps."""

    step: int
    loss: float


@dataclasses.dataclass(frozen=True)
class CheckpointSaved(Event):
    """A checkpoint is on disk; path is relative to the run folder."""

    step: int
    path: str


@dataclasses.dataclass(frozen=True)
class PreviewDrawn(Event):
    """A preview picture is on disk; path is relative to the run folder."""

    step: int
    prompt: int
    seed: int
    path: str


@dataclasses.dataclass(frozen=True)
class Paused(Event):
    """The run stands still until resume or stop."""

    step: int


@dataclasses.dataclass(frozen=True)
class Resumed(Event):
    """The run goes on."""

    step: int


@dataclasses.dataclass(frozen=True)
class Exported(Event):
    """The LoRA file was written, read back and compared; path is relative to the run folder."""

    step: int
    path: str
    largest_difference: float


@dataclasses.dataclass(frozen=True)
class Finished(Event):
    """The run came to its end (completed) or was stopped by the user and kept."""

    step: int
    completed: bool


@dataclasses.dataclass(frozen=True)
class Failed(Event):
    """The run cannot go on. field: the setting at fault, or empty."""

    message: str
    field: str = ""


@dataclasses.dataclass(frozen=True)
class Pause(Command):
    """Stand still after the present step."""


@dataclasses.dataclass(frozen=True)
class Resume(Command):
    """Go on after a pause."""


@dataclasses.dataclass(frozen=True)
class Stop(Command):
    """Save and end. export: also write the LoRA file of this step ("stop and keep")."""

    export: bool = True


@dataclasses.dataclass(frozen=True)
class SaveNow(Command):
    """Write a checkpoint after the present step."""


@dataclasses.dataclass(frozen=True)
class SampleNow(Command):
    """Draw the previews after the present step."""


def encode(message: Event | Command) -> str:
    """The message as one line, without the newline. Numbers that JSON lacks (nan, inf) become null."""
    values = {k: _plain(v) for k, v in dataclasses.asdict(message).items()}
    return json.dumps({"type": type_name(type(message))} | values, ensure_ascii=False, allow_nan=False)


def decode(line: str) -> Event | Command:
    """The message in a line.

    Raises:
        ProtocolError: the line is not JSON, or of an unknown type, or lacks a field.
    """
    shown = line if len(line) <= 80 else line[:77] + "..."
    try:
        values = json.loads(line)
    except json.JSONDecodeError:
        raise ProtocolError(f"Not a line of the worker's protocol: {shown!r}") from None
    if not isinstance(values, dict) or values.get("type") not in _TYPES:
        raise ProtocolError(f"Unknown message from the worker: {shown!r}")
    kind = _TYPES[values.pop("type")]
    names = {f.name for f in dataclasses.fields(kind)}
    try:
        # A newer worker may send more fields than this reader knows; they are ignored.
        message = kind(**{k: v for k, v in values.items() if k in names})
    except TypeError:
        raise ProtocolError(f"A field is missing in {shown!r}") from None
    hints = get_type_hints(kind)
    for name in names:
        value, hint = getattr(message, name), hints[name]
        if hint is float and value is None:
            object.__setattr__(message, name, float("nan"))
        elif hint in (int, str, bool, float) and not isinstance(value, (int, float) if hint is float else hint):
            raise ProtocolError(f"{name} has the wrong type in {shown!r}")
    return message


def type_name(kind: type) -> str:
    """`StepDone` as "step_done"."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()


def _plain(value: Any) -> Any:
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return value


_TYPES: dict[str, type[Event] | type[Command]] = {
    type_name(kind): kind for base in (Event, Command) for kind in base.__subclasses__()
}
