"""What Train would do, in one sentence, and what stands in the way. QtCore only; computed in the background.

"24 pictures · SD 1.x · 1,600 steps · about 41 min"
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, QRunnable, QThreadPool, QTimer, Signal

from app import places
from app.texts import counted, duration, tr
from trainer import dataset, families, forecast, preflight, settings_file
from trainer.dataset import DataSet, Picture
from trainer.errors import AtelierError
from trainer.settings import info

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.pictures import Item, Pictures
    from app.project import Project
    from trainer.settings import TrainingSettings

SETTLE_MS = 250


@dataclass(frozen=True)
class Problem:
    """Something that prevents a run. field: the setting to mend it with; empty when it lies in the pictures."""

    field: str
    text: str


@dataclass(frozen=True)
class Plan:
    """The sentence, the problems in the way (empty: Train can be pressed), and the settings when they are valid."""

    sentence: str = ""
    problems: tuple[Problem, ...] = ()
    settings: TrainingSettings | None = None
    total_steps: int = 0

    @property
    def is_ready(self) -> bool:
        """Whether Train would start."""
        return self.settings is not None and not self.problems


def make(values: dict[str, Any], pictures: Sequence[Picture], picture_error: str = "") -> Plan:
    """The plan for a project's values and its pictures (those that are trained, with their captions of now)."""
    problems = [Problem(e.field, str(e)) for e in settings_file.check(values, where=tr("the project"))]
    if picture_error:
        problems.insert(0, Problem("data", picture_error))
    elif not pictures:
        problems.insert(0, Problem("data", tr("No pictures yet. Drop a folder of pictures on this window.")))
    settings = None if settings_file.check(values) else settings_file.from_dict(values)
    parts = [counted(len(pictures), "picture", "pictures")]
    steps = 0
    if settings is not None:
        family = _family(settings, problems)
        parts += [family.title] if family else []
        if pictures and not picture_error:
            steps = _length(settings, pictures, parts, problems)
    return Plan(" · ".join(parts), tuple(problems), settings, steps)


def _family(settings: TrainingSettings, problems: list[Problem]) -> families.Family | None:
    try:
        return families.detect(preflight.base_path(settings.base))
    except AtelierError as error:
        problems.append(Problem("base", str(error)))
        return None


def _length(settings: TrainingSettings, pictures: Sequence[Picture], parts: list[str], problems: list[Problem]) -> int:
    """Adds steps and time to the sentence; returns the steps."""
    data = DataSet(tuple(pictures), ())
    try:
        dataset.require_captions(data, settings.data, settings.trigger)
    except AtelierError as error:
        problems.append(Problem("trigger", str(error)))
    prior: tuple[Picture, ...] = ()
    for role in ("regularization", "validation"):
        if folder := getattr(settings, role):
            try:
                found = dataset.scan(folder, what=info(role).label)
                prior = found.pictures if role == "regularization" else prior
            except AtelierError as error:
                problems.append(Problem(role, str(error)))
    if settings.start_from is not None:
        try:
            preflight.check_lora(settings.start_from)
        except AtelierError as error:
            problems.append(Problem("start_from", str(error)))
    length = forecast.length(settings, data, DataSet(prior, ()) if prior else None)
    parts.append(counted(length.total_steps, "step", "steps"))
    expected = forecast.seconds(settings, length.total_steps, forecast.history(places.runs()))
    if expected is not None:
        parts.append(tr("about {time}", time=duration(expected)))
    return length.total_steps


class Planner(QObject):
    """Keeps the plan of the open project up to date.

    Signals:
        planned(Plan): it is new.
    """

    planned = Signal(object)
    _made = Signal(int, object)

    def __init__(self, project: Project, pictures: Pictures, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.plan = Plan()
        self._project, self._pictures = project, pictures
        self._number = 0
        self._stale = False  # something has changed since the plan was made
        self._pool = QThreadPool(self, maxThreadCount=1)
        self._timer = QTimer(self, singleShot=True, interval=SETTLE_MS)
        self._timer.timeout.connect(self._on_settled)
        self._made.connect(self._on_made)
        for signal in (
            project.opened, project.changed, pictures.scanned, pictures.captionsChanged, pictures.includedChanged,
            pictures.scanningChanged,
        ):  # fmt: skip
            signal.connect(self._on_changed)

    @property
    def is_current(self) -> bool:
        """Whether nothing has changed since the plan was made."""
        return not self._stale

    def wait(self) -> None:
        """Lets the background work end; for the window's close."""
        self._timer.stop()
        self._number += 1
        self._pool.waitForDone()

    def _on_changed(self) -> None:
        self._stale = True
        self._timer.start()

    def _on_settled(self) -> None:
        self._number += 1
        if not self._project.is_open or self._pictures.scanning:
            return
        number, values = self._number, self._project.values
        seen = [_as_of_now(item) for item in self._pictures.items if item.included]
        error = self._pictures.error

        def work() -> None:
            try:
                self._made.emit(number, make(values, seen, error))
            except RuntimeError:  # the window has closed meanwhile
                return

        self._pool.start(QRunnable.create(work))

    def _on_made(self, number: int, plan: Plan) -> None:
        if number == self._number:
            self.plan, self._stale = plan, self._timer.isActive()
            self.planned.emit(plan)


def _as_of_now(item: Item) -> Picture:
    p = item.picture
    return p if p.caption == item.caption else replace(p, caption=item.caption)
