"""What Train would do, in one sentence, and what stands in the way. QtCore only; computed in the background.

"24 pictures · SD 1.x · 1,600 steps · about 41 min"
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, QTimer, Signal

from app import picture_scan, places, preferences
from app.background import Background
from app.texts import counted, duration, tr
from trainer import forecast, forecast_run, preflight, settings_file
from trainer.dataset import DataSet
from trainer.errors import AtelierError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.pictures import Pictures
    from app.project import Project
    from trainer.dataset import Picture
    from trainer.forecast import PastRun
    from trainer.forecast_run import Forecast
    from trainer.settings import TrainingSettings

SETTLE_MS = 250


@dataclass(frozen=True)
class Problem:
    """Something that prevents a run. field: the setting to mend it with; empty when it lies in the pictures."""

    field: str
    text: str


@dataclass(frozen=True)
class Plan:
    """The sentence, the problems in the way (empty: Train can be pressed), and the settings when they are valid.

    forecast: what the run would need; None while there are problems.
    """

    sentence: str = ""
    problems: tuple[Problem, ...] = ()
    settings: TrainingSettings | None = None
    total_steps: int = 0
    forecast: Forecast | None = None

    @property
    def is_ready(self) -> bool:
        """Whether Train would start."""
        return self.settings is not None and not self.problems


def make(values: dict[str, Any], pictures: Sequence[Picture], picture_error: str = "") -> Plan:
    """The plan for a project's values and its pictures (those that are trained, with their captions of now)."""
    problems = []
    if picture_error or not pictures:
        nothing = tr("No pictures yet. Drop a folder of pictures on this window.")
        problems.append(Problem("data", picture_error or nothing))
    parts = [counted(len(pictures), "picture", "pictures")]
    mistakes = settings_file.check(values, where=tr("the project"))
    if mistakes:
        problems += [Problem(e.field, str(e)) for e in mistakes]
        return Plan(" · ".join(parts), tuple(problems))
    settings, data, steps = settings_file.from_dict(values), DataSet(tuple(pictures), ()), 0
    told: Forecast | None = None
    found = preflight.look(settings, data)
    problems += [Problem(field, str(e)) for field, e in found.problems if pictures or field != "trigger"]
    parts += [found.family.title] if found.family else []
    if pictures and not picture_error:
        history = forecast.history(places.runs())
        told = None if problems else _foretold(settings, data, found.prior, history)
        steps = (told.length if told else forecast.length(settings, data, found.prior)).total_steps
        parts.append(counted(steps, "step", "steps"))
        expected = told.seconds if told else forecast.seconds(settings, steps, history)
        parts += [tr("about {time}", time=duration(expected))] if expected is not None else []
    return Plan(" · ".join(parts), tuple(problems), settings, steps, told)


def _foretold(
    settings: TrainingSettings, data: DataSet, prior: DataSet | None, history: Sequence[PastRun]
) -> Forecast | None:
    """What the run would need; None for a model that is unlike all others, which the worker may still know to load."""
    try:
        return forecast_run.foretell(settings, data, prior, history, is_elsewhere=bool(preferences.worker_command()))
    except AtelierError:
        return None


class Planner(QObject):
    """Keeps the plan of the open project up to date.

    Signals:
        planned(Plan): it is new.
    """

    planned = Signal(object)

    def __init__(self, project: Project, pictures: Pictures, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.plan = Plan()
        self._project, self._pictures = project, pictures
        self._number = 0
        self._stale = False  # something has changed since the plan was made
        self._background = Background("plan")
        self._background.done.connect(self._on_made)
        self._timer = QTimer(self, singleShot=True, interval=SETTLE_MS)
        self._timer.timeout.connect(self._on_settled)
        for signal in (
            project.opened, project.changed, pictures.scanned, pictures.captionsChanged, pictures.includedChanged,
            pictures.scanningChanged, pictures.fitsChanged,
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
        self._background.wait()

    def _on_changed(self) -> None:
        self._stale = True
        self._timer.start()

    def _on_settled(self) -> None:
        self._number += 1
        if not self._project.is_open or self._pictures.scanning:
            return
        number, values = self._number, self._project.values
        seen = [(item.picture, item.caption) for item in self._pictures.items if item.included]
        error = self._pictures.error
        self._background.drop_waiting()
        self._background.run(lambda: (number, make(values, [_as_of_now(*one) for one in seen], error)))

    def _on_made(self, made: tuple[int, Plan]) -> None:
        number, plan = made
        if number == self._number:
            self.plan, self._stale = plan, self._timer.isActive()
            self.planned.emit(plan)


def _as_of_now(p: Picture, caption: str) -> Picture:
    if picture_scan.caption_of(p) == caption:
        return p
    lines = caption.split("\n")
    return replace(p, caption=" ".join(lines), lines=tuple(lines) if len(lines) > 1 else ())
