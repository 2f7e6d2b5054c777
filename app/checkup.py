"""Keeps the data set doctor's report of the open project up to date, and carries out its repairs. QtCore only.

The examination runs as `lora-atelier doctor` in a process of its own. Repairs go the way of the user's own edits, so that they
can be taken back like those: left-out pictures are a setting, captions have their history, renamed files the doctor's journal.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, QTimer, Signal

from app.background import Background
from app.task_process import TaskProcess
from app.texts import counted, tr
from trainer.dataset import DataSet
from trainer.doctor_findings import Report
from trainer.errors import AtelierError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from app.pictures import Pictures
    from app.project import Project
    from trainer.doctor_findings import Finding
    from trainer.doctor_repairs import Done, Plan
    from trainer.settings import TrainingSettings

SETTLE_MS = 1500  # after the last change, before the pictures are looked at again
WATCHED = ("trigger", "resolution", "batch_size", "base", "regularization", "repeats", "bucket_step", "bucket_min", "bucket_max", "buckets", "concepts")  # fmt: skip


@dataclass(frozen=True)
class Mended:
    """A repair that was carried out: what to say, and how to take it back."""

    sentence: str
    undo: Callable[[], None] | None = None


class Checkup(QObject):
    """What is wrong with the open project's pictures and captions.

    Attributes:
        report: the last one, or None; `is_current` says whether it is of the pictures as they are now.
        progress: label, done and total of the examination under way.

    Signals:
        changed: a report is new, or an examination began, went on or ended.
        mended(Mended): a repair was carried out.
        failed(str): an examination or a repair could not be; a sentence.
    """

    changed = Signal()
    mended = Signal(object)
    failed = Signal(str)

    def __init__(self, project: Project, pictures: Pictures, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._project, self._pictures = project, pictures
        self.report: Report | None = None
        self.progress = ("", 0, 0)
        self._stale = False
        self._seen = self._watched()
        self._task = TaskProcess(self)
        self._task.progressed.connect(self._on_progressed)
        self._task.done.connect(self._on_done)
        self._task.failed.connect(self._on_failed)
        self._task.cancelled.connect(self.changed)
        self._background = Background("mend pictures", must_finish=True)
        self._background.done.connect(self._on_worked)
        self._soon = QTimer(self, singleShot=True, interval=SETTLE_MS)
        self._soon.timeout.connect(self.start)
        project.opened.connect(self._on_opened)
        project.changed.connect(self._on_project_changed)
        for signal in (pictures.scanned, pictures.captionsChanged, pictures.includedChanged):
            signal.connect(self._on_stale)

    @property
    def is_running(self) -> bool:
        """Whether the pictures are being looked at."""
        return self._task.is_running

    @property
    def is_current(self) -> bool:
        """Whether nothing has changed since the report."""
        return self.report is not None and not self._stale and not self.is_running

    def start(self) -> None:
        """Looks at the pictures again; only those that are new or changed are opened."""
        self._soon.stop()
        if not self._project.is_open or not self._pictures.items or self.is_running or self._pictures.scanning:
            return
        if not self._pictures.is_settled:  # captions are being written, which may take a while
            self._soon.start()
            return
        self._project.save()
        self._stale, self.progress = False, ("", 0, 0)
        self._task.start(["doctor", str(self._project.path), "--json"])
        self.changed.emit()

    def cancel(self) -> None:
        """Gives the examination up."""
        self._task.cancel()

    def finish(self) -> None:
        """Ends everything; for the window's close."""
        self._soon.stop()
        self._task.finish()
        self._background.wait()

    def indexes_of(self, found: Finding) -> list[int]:
        """The places of the finding's pictures in `Pictures.items`."""
        by_key = {item.picture.key: i for i, item in enumerate(self._pictures.items)}
        return sorted({by_key[key] for key in found.pictures if key in by_key})

    def mend(self, found: Finding) -> None:
        """Carries out the finding's repair; `mended` or `failed` follows."""
        try:
            settings = self._project.settings()
        except AtelierError as error:
            self.failed.emit(str(error))
            return
        seen = tuple(replace(i.picture, caption=i.caption) for i in self._pictures.items if i.included)
        self._background.run(lambda: _planned(found, seen, settings))

    # ---- what comes back

    def _on_worked(self, result: tuple[str, Any, Any]) -> None:
        kind, value, settings = result
        if kind == "failed":
            self.failed.emit(value)
        elif kind == "planned":
            self._apply(value, settings)
        else:
            self._pictures.rescan()
            self._say_moved(value, settings)

    def _apply(self, plan: Plan, settings: TrainingSettings) -> None:
        if plan.is_empty:
            self.mended.emit(Mended(tr("There was nothing to mend.")))
        elif plan.moves:
            self._background.run(lambda: _moved(plan, settings))
        elif plan.texts:
            indexes = {self._pictures.index_of(path): text for path, text in plan.texts.items()}
            self._pictures.set_captions({i: text for i, text in indexes.items() if i >= 0}, plan.sentence)
            self.mended.emit(Mended(plan.sentence + ".", self._pictures.undo))
        else:
            by_key = {item.picture.key: i for i, item in enumerate(self._pictures.items)}
            chosen = [by_key[key] for key in plan.left_out if key in by_key]
            self._pictures.set_included(chosen, False)
            count = counted(len(chosen), "picture", "pictures")
            said = tr("{pictures} left out of training; the files stay where they are.", pictures=count)
            self.mended.emit(Mended(said, lambda: self._pictures.set_included(chosen, True)))

    def _say_moved(self, done: Done, settings: TrainingSettings) -> None:
        sentence = " ".join((done.sentence, *done.problems))
        step = done.undo
        undo = (lambda: self._background.run(lambda: _taken_back(step, settings))) if step else None
        self.mended.emit(Mended(sentence, undo))

    # ---- following the project

    def _on_progressed(self, label: str, done: int, total: int) -> None:
        self.progress = (label, done, total)
        self.changed.emit()

    def _on_done(self, values: dict[str, Any]) -> None:
        self.report = Report.from_json(values)
        self.changed.emit()
        if self._stale:
            self._soon.start()

    def _on_failed(self, sentence: str) -> None:
        self.changed.emit()
        self.failed.emit(sentence)

    def _on_opened(self) -> None:
        self._task.cancel()
        self.report, self._seen = None, self._watched()
        self._on_stale()

    def _on_project_changed(self) -> None:
        seen = self._watched()
        if seen != self._seen:
            self._seen = seen
            self._on_stale()

    def _on_stale(self) -> None:
        self._stale = True
        self._soon.start()

    def _watched(self) -> list[Any]:
        return [self._project.value(name) for name in WATCHED] if self._project.is_open else []


def _worked(kind: str, settings: TrainingSettings, work: Callable[[], Any]) -> tuple[str, Any, Any]:
    """For a thread: what `work` gives, or why it could not."""
    try:
        return kind, work(), settings
    except AtelierError as error:
        return "failed", str(error), settings


def _planned(found: Finding, seen: Sequence[Any], settings: TrainingSettings) -> tuple[str, Any, Any]:
    """The plan of a repair."""
    from trainer import doctor_repairs  # NumPy takes a while to load

    return _worked("planned", settings, lambda: doctor_repairs.plan(found, DataSet(tuple(seen), ()), settings))


def _moved(plan: Plan, settings: TrainingSettings) -> tuple[str, Any, Any]:
    """Carries the plan out."""
    from trainer import doctor_repairs

    return _worked("moved", settings, lambda: doctor_repairs.carry_out(plan, settings))


def _taken_back(step: str, settings: TrainingSettings) -> tuple[str, Any, Any]:
    """Takes a repair back."""
    from trainer import doctor_repairs, doctor_undo

    def undo() -> Done:
        outcome = doctor_undo.undo(doctor_repairs.root_of(settings), step)
        return doctor_repairs.Done(tr("Taken back."), problems=outcome.problems)

    return _worked("moved", settings, undo)
