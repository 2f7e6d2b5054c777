"""The bar at the bottom that is always there: what will happen, what prevents it, and Train."""

from __future__ import annotations

from functools import partial
from html import escape
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QMenu, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from app import forecast_words, theme
from app.texts import counted, tr
from app.widgets.named import named

if TYPE_CHECKING:
    from PySide6.QtCore import QEvent

    from app.plan import Plan
    from trainer.forecast_run import Forecast

SHOWN_CHARACTERS = 200


class TrainBar(QFrame):
    """Shows a plan.

    Signals:
        trainClicked: the user wants to train.
        problemClicked(str): the user wants to mend a problem; the field's name, "" for the pictures.
    """

    trainClicked = Signal()
    problemClicked = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        theme.role(self, "bar")
        self._plan: Plan | None = None
        self._sentence = named(QLabel(), "plan_sentence")
        self._sentence.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._problem = named(QPushButton(), "plan_problem")
        self._problem.setCursor(Qt.CursorShape.PointingHandCursor)
        theme.role(self._problem, "problem")
        self._problem.clicked.connect(self._on_problem)
        self._more = named(QPushButton(), "plan_more_problems")
        theme.role(self._more, "quiet")
        self._verdict = named(QLabel(), "plan_verdict")
        self._needs = theme.role(named(QLabel(), "plan_needs"), "muted")
        self._needs.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._train = named(QPushButton(tr("Train")), "train")
        theme.role(self._train, "primary")
        self._train.clicked.connect(self.trainClicked)
        for widget in (self._sentence, self._problem, self._needs):
            widget.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        texts = QWidget()
        texts.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        words = QVBoxLayout(texts)
        words.setContentsMargins(0, 0, 0, 0)
        words.setSpacing(theme.space(0.25))
        words.addStretch(1)
        words.addWidget(self._sentence)
        below = QHBoxLayout()
        below.setSpacing(theme.space(1))
        below.addWidget(self._verdict)
        below.addWidget(self._needs, 1)
        below.addWidget(self._problem, 1)
        below.addWidget(self._more)
        words.addLayout(below)
        words.addStretch(1)
        row = QHBoxLayout(self)
        row.setContentsMargins(theme.space(2), theme.space(1), theme.space(2), theme.space(1))
        row.setSpacing(theme.space(2))
        row.addWidget(texts, 1)
        row.addWidget(self._train, 0, Qt.AlignmentFlag.AlignVCenter)
        self.setMinimumHeight(theme.space(8))
        self._restyle()
        self.set_plan(None)

    def set_plan(self, plan: Plan | None, *, busy: str = "") -> None:
        """Shows a plan; None: no project is open. busy: what is being found out, e.g. "Looking at the pictures"."""
        self._plan = plan
        problems = plan.problems if plan else ()
        self._sentence.setText(
            busy or (plan.sentence if plan else tr("Drop a folder of pictures to begin, or try the demo."))
        )
        self._problem.setVisible(bool(problems) and not busy)
        self._more.setVisible(len(problems) > 1 and not busy)
        if problems:
            text = problems[0].text
            self._problem.setText(text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…")
            self._problem.setToolTip(tr("{text}\n\nClick to mend it.", text=text))
            self._more.setText(tr("{count} more", count=len(problems) - 1))
            self._more.setMenu(self._menu())
        self._show_forecast(plan.forecast if plan and not problems and not busy else None)
        self._train.setEnabled(plan is not None and plan.is_ready and not busy)
        self._train.setToolTip(
            counted(len(problems), "problem is in the way", "problems are in the way") if problems else ""
        )

    def set_running(self, running: bool) -> None:
        """While a run trains, the button queues."""
        self._train.setText(tr("Add to queue") if running else tr("Train"))

    def _show_forecast(self, forecast: Forecast | None) -> None:
        """The second line: the verdict in its colour, then memory and file; all figures in the tooltip."""
        word = forecast_words.verdict(forecast.memory.verdict) if forecast else ""
        self._verdict.setVisible(bool(word))
        self._needs.setVisible(forecast is not None)
        if forecast is None:
            return
        theme.role(self._verdict, forecast_words.verdict_colour(forecast.memory.verdict))
        self._verdict.setText(word)
        self._needs.setText(forecast_words.line(forecast))
        rows = "".join(
            f"<tr><td style='padding-right: 12px'>{escape(name)}</td><td>{escape(value)}</td></tr>"
            for name, value in forecast_words.details(forecast)
        )
        for label in (self._verdict, self._needs):
            label.setToolTip(f"<table>{rows}</table>")

    def _menu(self) -> QMenu:
        assert self._plan is not None
        menu = QMenu(self)
        for problem in self._plan.problems[1:]:
            menu.addAction(problem.text[:SHOWN_CHARACTERS], partial(self.problemClicked.emit, problem.field))
        return menu

    def _on_problem(self) -> None:
        if self._plan is not None and self._plan.problems:
            self.problemClicked.emit(self._plan.problems[0].field)

    def changeEvent(self, event: QEvent) -> None:
        """Renews the icon in the theme's colours."""
        if event.type() == event.Type.PaletteChange:
            self._restyle()
        super().changeEvent(event)

    def _restyle(self) -> None:
        self._problem.setIcon(theme.icon("warning", "warn"))
