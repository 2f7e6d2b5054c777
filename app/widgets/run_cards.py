"""What is said about a run that has ended, or that has something to say: cards with a sentence and the next step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QSize, Qt, Signal
from PySide6.QtGui import QFontDatabase
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app import theme
from app.texts import tr
from app.widgets.named import named

if TYPE_CHECKING:
    from app.run_controller import RunController


class EndCard(QFrame):
    """How the run ended, in a sentence, with one obvious next step.

    Signals:
        resumeClicked: go on from the last checkpoint, or start again.
        resultsClicked: choose the best checkpoint and export.
        logClicked: show the whole log.
        folderClicked: open the run's folder.
    """

    resumeClicked = Signal()
    resultsClicked = Signal()
    logClicked = Signal()
    folderClicked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("end_card")
        theme.role(self, "card")
        self._sign = QLabel()
        self._sign_name, self._sign_colour = "info", "text"
        self._heading = theme.role(named(QLabel(), "end_heading"), "heading")
        self._sentence = named(QLabel(wordWrap=True), "end_sentence")
        self._sentence.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._tail_head = named(QToolButton(), "end_tail_head")
        self._tail_head.setToolTip(tr("The end of the log"))
        self._tail_head.setText(tr("Details"))
        self._tail_head.setCheckable(True)
        self._tail_head.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._tail_head.toggled.connect(self._on_tail_toggled)
        self._tail = named(QPlainTextEdit(readOnly=True), "end_tail")
        self._tail.hide()
        self._tail.setAccessibleName(tr("The end of the log"))
        self._tail.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self._tail.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self._tail.setFixedHeight(theme.space(13))
        self._results = theme.role(named(QPushButton(tr("Results")), "end_results"), "primary")
        self._results.clicked.connect(self.resultsClicked)
        self._resume = named(QPushButton(tr("Start again")), "end_resume")
        self._resume.clicked.connect(self.resumeClicked)
        self._log = named(QPushButton(tr("Show the log")), "end_log")
        self._log.clicked.connect(self.logClicked)
        self._folder = named(QPushButton(tr("Open the folder")), "end_folder")
        self._folder.clicked.connect(self.folderClicked)
        self._lay_out()

    def show_end(self, controller: RunController) -> None:
        """Says how the run of a controller ended."""
        record = controller.record
        state, saved = record.state, record.checkpoints
        well = state in ("finished", "stopped")
        headings = {
            "finished": tr("Done. Your LoRA is ready."), "stopped": tr("Stopped at step {step:,}", step=record.step),
            "failed": tr("The run could not go on"), "lost": tr("The run ended early"),
        }  # fmt: skip
        self._heading.setText(headings.get(state, ""))
        words = [self._well_words(controller), record.proof] if well else [controller.sentence()]
        self._sentence.setText("\n".join(filter(None, words)))
        self._sign_name, self._sign_colour = (
            ("star", "good") if state == "finished" else ("info", "text") if well else ("warning", "bad")
        )
        tail = "" if well else controller.log_tail()
        self._tail.setPlainText(tail)
        self._tail_head.setVisible(bool(tail))
        self._tail_head.setChecked(False)
        self._results.setVisible(bool(saved) and (well or bool(record.previews)))
        self._results.setText(tr("Choose the best and export") if well else tr("Results"))
        self._results.setToolTip(tr("Choose the checkpoint that you like best and export it"))
        theme.role(self._results, "primary" if well else "")
        self._resume.setVisible(state != "finished")
        resume = tr("Resume from step {step:,}", step=saved[-1]) if saved else tr("Start again")
        self._resume.setText(resume)
        theme.role(self._resume, "" if well and saved else "primary")
        self._buttons.insertWidget(0, self._results if well and saved else self._resume)  # the obvious one first
        self._log.setVisible(not well)
        self._paint_theme()

    def changeEvent(self, event: QEvent) -> None:
        """Another theme."""
        if event.type() == QEvent.Type.PaletteChange:
            self._paint_theme()
        super().changeEvent(event)

    # ---- inside

    def _lay_out(self) -> None:
        words = QVBoxLayout()
        words.setSpacing(theme.space(0.5))
        words.addWidget(self._heading)
        words.addWidget(self._sentence)
        self._buttons = QHBoxLayout()
        self._buttons.setSpacing(theme.space(1))
        for button in (self._resume, self._results, self._log, self._folder):
            self._buttons.addWidget(button)
        self._buttons.addStretch(1)
        self._buttons.addWidget(self._tail_head)
        words.addSpacing(theme.space(0.5))
        words.addLayout(self._buttons)
        words.addWidget(self._tail)
        row = QHBoxLayout(self)
        row.setContentsMargins(theme.space(2), theme.space(1.5), theme.space(2), theme.space(1.5))
        row.setSpacing(theme.space(1.5))
        row.addWidget(self._sign, 0, Qt.AlignmentFlag.AlignTop)
        row.addLayout(words, 1)

    def _well_words(self, controller: RunController) -> str:
        record = controller.record
        exported = record.exported[-1].name if record.exported else ""
        if record.state == "finished":
            if exported:
                return tr(
                    "It is in the file {name}. Look at the previews and choose the step that you like best.",
                    name=exported,
                )
            return tr("Look at the previews and choose the step that you like best.")
        if exported:
            return tr(
                "What was learned so far is in the file {name}. You can export it or go on training.", name=exported
            )
        if record.checkpoints:
            return tr(
                "What was learned so far is saved. You can go on from here, or choose a checkpoint and export it."
            )
        return tr("Nothing had been learned yet.")

    def _paint_theme(self) -> None:
        self._sign.setPixmap(theme.pixmap(self._sign_name, 24, self._sign_colour))
        self._tail_head.setIcon(theme.icon("chevron_down" if self._tail_head.isChecked() else "chevron_right", "muted"))

    def _on_tail_toggled(self, is_open: bool) -> None:
        self._tail.setVisible(is_open)
        self._paint_theme()
        if is_open:
            bar = self._tail.verticalScrollBar()
            bar.setValue(bar.maximum())


class Hints(QWidget):
    """What the run warns of, a line each, with a button that puts it away.

    Signals:
        dismissed(str): the user has read it.
    """

    dismissed = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("hints")
        self._shown: list[str] = []
        self._put_away: set[str] = set()
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(theme.space(0.5))
        self.hide()

    def show_hints(self, hints: list[str]) -> None:
        """Shows those that were not put away; the newest two, so that the page stays for the pictures."""
        wanted = [hint for hint in hints if hint not in self._put_away][-2:]
        if wanted == self._shown:
            return
        self._shown = wanted
        while (item := self._column.takeAt(0)) is not None:
            if (old := item.widget()) is not None:
                old.hide()
                old.deleteLater()
        for hint in wanted:
            self._column.addWidget(self._line(hint))
        self.setVisible(bool(wanted))
        self._all = hints

    def forget(self) -> None:
        """Another run: what was put away may be said again."""
        self._put_away.clear()
        self.show_hints([])

    def _line(self, hint: str) -> QFrame:
        frame = theme.role(QFrame(), "panel")
        row = QHBoxLayout(frame)
        row.setContentsMargins(theme.space(1.5), theme.space(0.5), theme.space(0.5), theme.space(0.5))
        row.addWidget(theme.role(QLabel("⚠"), "warn"))
        row.addWidget(QLabel(hint, wordWrap=True), 1)
        close = named(QToolButton(), "hint_close", tip=tr("Put this hint away"), spoken=tr("Put this hint away"))
        close.setIcon(theme.icon("close", "muted"))
        close.setIconSize(QSize(theme.space(1.75), theme.space(1.75)))
        close.clicked.connect(lambda: self._on_close(hint))
        row.addWidget(close)
        return frame

    def _on_close(self, hint: str) -> None:
        self._put_away.add(hint)
        self.show_hints(self._all)
        self.dismissed.emit(hint)
