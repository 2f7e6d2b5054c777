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
    """Training begins; step is 0 or where the run goes on. packed: whether frozen weights are kept packed for the CPU.

    quantization: of the frozen weights: "none", "nf4" (4 bits) or "int8" (8 bits). processes: that train together.
    """

    step: int
    total_steps: int
    pictures: int
    steps_per_epoch: int
    trainable_parameters: int
    device: str
    precision: str
    packed: bool = False
    quantization: str = "none"
    processes: int = 1


@dataclasses.dataclass(frozen=True)
class Adapted(Event):
    """Memory ran out, and the run goes on from `step` with less. what: is different now; why: what it was doing.

    unpacks: whether frozen weights are no longer kept packed; quantization: of the frozen weights, if that is what changes.
    """

    step: int
    what: str
    why: str
    unpacks: bool = False
    quantization: str = ""

    @property
    def message(self) -> str:
        """For the user, e.g. "Memory ran out in a training step. The run goes on from step 12: ..."."""
        start = f"goes on from step {self.step:,}" if self.step else "goes on"
        return f"Memory ran out {self.why}. The run {start}: {self.what}."

    def applied(self, started: Started) -> Started:
        """What was told when training began, as it is now."""
        packed, quantization = started.packed and not self.unpacks, self.quantization or started.quantization
        return dataclasses.replace(started, packed=packed, quantization=quantization)


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
    """The LoRA file was written, read back and compared; path is relative to the run folder.

    largest_difference: that rounding made in a weight. proof: a sentence on which other programs load it; programs: their
    names, with commas; model_difference: the largest from the trained model's outputs, or -1 when it was not measured.
    """

    step: int
    path: str
    largest_difference: float
    proof: str = ""
    programs: str = ""
    model_difference: float = -1.0


@dataclasses.dataclass(frozen=True)
class Finished(Event):
    """The run came to its end (completed) or was stopped by the user and kept.

    memory_peak_gb: the most memory of the device that it held at any time; 0 where that is not known.
    """

    step: int
    completed: bool
    memory_peak_gb: float = dataclasses.field(default=0.0, compare=False)


@dataclasses.dataclass(frozen=True)
class Failed(Event):
    """The run cannot go on. field: the setting at fault, or empty. unforeseen: an error of ours; the log has the details."""

    message: str
    field: str = ""
    unforeseen: bool = False


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


@dataclasses.dataclass(frozen=True)
class Detach(Command):
    """The window closes and the run goes on: from now on commands come from commands.jsonl in the run folder."""


def encode(message: Event | Command) -> str:
    """The message as one line, without the newline. Numbers that JSON lacks (nan, inf) become null.

    All ASCII: any pipe and log carries it, no character in a name can end the line (U+2028), and file names that are not
    Unicode (lone surrogates) pass through.
    """
    return json.dumps({"type": type_name(type(message))} | _plain(dataclasses.asdict(message)), allow_nan=False)


def decode(line: str) -> Event | Command:
    """The message in a line.

    Raises:
        ProtocolError: the line is not JSON, or of an unknown type, or lacks a field, or a field has the wrong type.
    """
    shown = line if len(line) <= 80 else line[:77] + "..."
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):  # also for numbers of thousands of digits and brackets thousands deep
        raise ProtocolError(f"Not a line of the worker's protocol: {shown!r}") from None
    kind = _TYPES.get(str(values.get("type"))) if isinstance(values, dict) else None
    if kind is None:
        raise ProtocolError(f"Unknown message from the worker: {shown!r}")
    # A newer worker may send more fields than this reader knows; they are ignored.
    known = {name: (values[name], hint) for name, hint in _FIELDS[kind].items() if name in values}
    for name, (value, hint) in known.items():
        if not _is_a(value, hint):
            raise ProtocolError(f"{name} has the wrong type in {shown!r}")
    try:
        return kind(**{name: _numbers(value, hint) for name, (value, hint) in known.items()})
    except TypeError:
        raise ProtocolError(f"A field is missing in {shown!r}") from None


def type_name(kind: type) -> str:
    """`StepDone` as "step_done"."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()


def _is_a(value: Any, hint: Any) -> bool:
    """Whether a JSON value fits a field; null stands for a float that is no number, and true is no 1."""
    if hint is float:
        return value is None or type(value) in (int, float)
    if hint in (int, str, bool):
        return type(value) is hint
    return isinstance(value, dict) and all(_is_a(v, float) for v in value.values())  # dict[str, float]


def _numbers(value: Any, hint: Any) -> Any:
    """The value with null back as nan."""
    if hint is float:
        return float("nan" if value is None else value)
    return {k: _numbers(v, float) for k, v in value.items()} if isinstance(value, dict) else value


def _plain(value: Any) -> Any:
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return value


_TYPES: dict[str, type[Event] | type[Command]] = {
    type_name(kind): kind for base in (Event, Command) for kind in base.__subclasses__()
}
# Looked up once: the hints are texts, and evaluating them costs more than all the rest of decoding.
_FIELDS = {kind: get_type_hints(kind) for kind in _TYPES.values()}
