"""A run that trained once, and a controller without a worker, for tests of the training page."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from PySide6.QtCore import QObject, Signal

from app import run_record
from trainer import events as e
from trainer import run_folder, settings_file

if TYPE_CHECKING:
    from app.run_record import RunRecord
    from trainer.run_folder import RunFolder

RECORDED = Path(__file__).parent / "events" / "demo_run.jsonl"
PROMPTS = ("zorblin, meadow", "zorblin, plain background")


def make_folder(tmp_path: Path, *, with_previews: bool = False) -> RunFolder:
    """A run folder with settings, and with the recorded run's previews as small pictures."""
    values = {
        "base": "demo", "data": str(tmp_path), "runs_folder": str(tmp_path / "runs"), "name": "zorblin", "steps": 60,
        "previews": [{"prompt": prompt} for prompt in PROMPTS],
    }  # fmt: skip
    folder = run_folder.create(settings_file.from_dict(values))
    if with_previews:
        for event in recorded():
            if isinstance(event, e.PreviewDrawn):
                draw(folder, event)
    return folder


def draw(folder: RunFolder, event: e.PreviewDrawn, colour: tuple[int, int, int] | None = None) -> None:
    """The picture of an event, with its parameters."""
    path = folder.path / event.path
    path.parent.mkdir(exist_ok=True)
    text = PngInfo()
    text.add_text("parameters", f"prompt {event.prompt}\nSteps: 20, Seed: {event.seed}")
    Image.new("RGB", (64, 64), colour or (4 * event.step % 256, 200, 60)).save(path, pnginfo=text)


def recorded() -> list[e.Event]:
    """The events of a real run of 60 steps with previews and checkpoints every 20."""
    out = [e.decode(line) for line in RECORDED.read_text(encoding="utf-8").splitlines()]
    return [event for event in out if isinstance(event, e.Event)]


def record_until(folder: RunFolder, last: type[e.Event] | None = None, *, step: int | None = None) -> RunRecord:
    """The recorded run up to an event of a type, or up to a step; None: all of it."""
    record = run_record.RunRecord(folder)
    for event in recorded():
        record.take(event)
        if (last is not None and isinstance(event, last)) or (
            step is not None and getattr(event, "step", -1) == step > 0
        ):
            break
    return record


class FakeController(QObject):
    """As `RunController`, but it only notes what it is told."""

    eventTaken = Signal(object)
    stateChanged = Signal(str)
    ended = Signal()

    def __init__(self, record: RunRecord, *, running: bool = True, sentence: str = "") -> None:
        super().__init__()
        self.record, self.folder = record, record.folder
        self.is_running, self.can_kill = running, True
        self.told: list[str] = []
        self._sentence = sentence

    @property
    def state(self) -> str:
        return self.record.state

    def take(self, event: e.Event) -> None:
        before = self.record.state
        self.record.take(event)
        self.eventTaken.emit(event)
        if self.record.state != before:
            self.stateChanged.emit(self.record.state)

    def end(self, state: str, sentence: str = "") -> None:
        self.is_running, self._sentence = False, sentence
        self.record.state = state
        self.stateChanged.emit(state)
        self.ended.emit()

    def sentence(self) -> str:
        return "" if self.is_running else self._sentence

    def log_tail(self) -> str:
        return "Traceback\nRuntimeError: out of memory"

    def pause(self) -> None:
        self.told.append("pause")

    def resume(self) -> None:
        self.told.append("resume")

    def stop(self, *, keep: bool) -> None:
        self.told.append("stop and keep" if keep else "stop")
        self.record.state = "stopping"
        self.stateChanged.emit("stopping")

    def save_now(self) -> None:
        self.told.append("save")

    def sample_now(self) -> None:
        self.told.append("sample")

    def kill(self) -> None:
        self.told.append("kill")


def forget(folder: RunFolder) -> None:
    """Removes the run."""
    shutil.rmtree(folder.path)
