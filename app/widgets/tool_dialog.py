"""The frame of every LoRA tool: what it does, its form, where the file goes, how far it is, and what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QPushButton,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from app import theme
from app.texts import tr
from app.widgets.ask import confirm
from app.widgets.named import named
from app.widgets.scrolling import scrolling
from app.widgets.task_dialog import TaskDialog
from app.widgets.tool_done import Done
from app.widgets.tool_target import Target

if TYPE_CHECKING:
    from PySide6.QtGui import QShowEvent

    from app.widgets.tool_form import ToolForm

WIDTH, ROOM = 78, 0.92  # in `theme.space`; part of the screen's height that it may take


class ToolDialog(TaskDialog):
    """One tool. Closed, it keeps what was entered; while it works, closing cancels.

    Signals:
        made(Path): the new file was written.
        useWanted(Path): the user wants to work with it.
    """

    made = Signal(object)
    useWanted = Signal(object)

    def __init__(self, form: ToolForm, parent: QWidget | None = None) -> None:
        super().__init__(f"tool_{form.kind}", form.title, parent)
        self.form = form
        self._out = Path()
        self.target = Target()
        self._standing = named(QLabel(wordWrap=True, textFormat=Qt.TextFormat.PlainText), "tool_standing")
        self._standing.setMinimumHeight(self._standing.fontMetrics().lineSpacing() * 2)
        self._make_foot()
        self.ready = Done(form.makes_model)
        self._lay_out()
        self._connect()
        self._refresh()

    @property
    def is_done(self) -> bool:
        """Whether the file was written."""
        return self._pages.currentWidget() is self.ready

    def wait(self, timeout_s: float) -> None:
        """Blocks until the files are read; for tests."""
        self.form.wait(timeout_s)

    # ---- building

    def _make_foot(self) -> None:
        self.start_button = theme.role(named(QPushButton(self.form.action, default=True), "tool_start"), "primary")
        self.close_button = named(QPushButton(tr("Close"), autoDefault=False), "tool_close")
        self.again_button = theme.role(
            named(QPushButton(tr("Back to the form"), autoDefault=False), "tool_again"), "quiet"
        )

    def _lay_out(self) -> None:
        gap = theme.space(1)
        self._scroll = scrolling(self.form)
        asked = QWidget()
        column = QVBoxLayout(asked)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(gap)
        for widget, stretch in ((self._scroll, 1), (self.target, 0), (self._standing, 0), (self.progress, 0)):
            column.addWidget(widget, stretch)
        self._asked = asked
        self._pages = QStackedWidget()
        self._pages.addWidget(asked)
        self._pages.addWidget(self.ready)
        foot = QHBoxLayout()
        foot.setSpacing(gap)
        foot.addWidget(self.again_button)
        foot.addStretch(1)
        foot.addWidget(self.close_button)
        foot.addWidget(self.start_button)
        self._explanation = theme.role(QLabel(self.form.explanation, wordWrap=True), "muted")
        inner = QVBoxLayout()
        inner.setContentsMargins(theme.space(3), theme.space(2.5), theme.space(3), theme.space(2))
        inner.setSpacing(gap)
        inner.addWidget(theme.role(QLabel(self.form.title, wordWrap=True), "heading"))
        inner.addWidget(self._explanation)
        inner.addSpacing(gap)
        inner.addWidget(self._pages, 1)
        inner.addLayout(foot)
        self._put_under_banner(inner)

    def _connect(self) -> None:
        self.form.changed.connect(self._refresh)
        self.target.folderChosen.connect(self._refresh)
        self.start_button.clicked.connect(self._on_start)
        self.close_button.clicked.connect(self.reject)
        self.again_button.clicked.connect(self._on_again)
        self.ready.useWanted.connect(self._on_use)

    # ---- Qt

    def showEvent(self, event: QShowEvent) -> None:
        """As high as the form wants it, as far as the screen allows; the keyboard begins in the form."""
        super().showEvent(event)
        self._fit()
        if not self.is_done:
            self.form.first_field().setFocus(Qt.FocusReason.OtherFocusReason)

    def sizeHint(self) -> QSize:
        """With the whole form visible."""
        width = theme.space(WIDTH)
        if self.is_done:
            return QSize(
                width, super().sizeHint().height() - self._pages.sizeHint().height() + self.ready.sizeHint().height()
            )
        inside = width - theme.space(6)
        form = max(self.form.sizeHint().height(), self.form.heightForWidth(inside - theme.space(1)))
        rest = super().sizeHint().height() - self._scroll.sizeHint().height()
        return QSize(width, rest + form + theme.space(1))

    def _fit(self) -> None:
        room = self.screen().availableGeometry()
        most = round(room.height() * ROOM)
        wanted = self.sizeHint()
        height = wanted.height() if self.is_done else max(self.height(), wanted.height())
        self.resize(min(room.width(), max(self.width(), wanted.width())), min(most, height))

    # ---- what is shown

    def _refresh(self) -> None:
        """Everything that follows from the form and the work."""
        running, standing = self.task.is_running, self.form.standing()
        if not running:
            self.target.propose(self.form.proposal())
        self.form.setEnabled(not running)
        self.target.setEnabled(not running)
        self._standing.setVisible(not running)
        self._standing.setText(standing.text)
        theme.role(self._standing, "bad" if standing.wrong else "" if standing.ready else "muted")
        self.progress.setVisible(running)
        self.again_button.setVisible(self.is_done)
        self.start_button.setVisible(not running)
        self.start_button.setEnabled(self.is_done or standing.ready)
        self.start_button.setText(tr("Done") if self.is_done else self.form.action)
        self.close_button.setVisible(not self.is_done)
        self.close_button.setEnabled(not self.task.is_cancelling)
        self.close_button.setText(
            tr("Cancelling…") if self.task.is_cancelling else tr("Cancel") if running else tr("Close")
        )
        self._explanation.setVisible(not self.is_done)
        if self.isVisible() and not running:
            self._fit()

    # ---- what happens

    def _on_start(self) -> None:
        if self.is_done:
            self.accept()
            return
        if self.task.is_running or not self.form.standing().ready:
            return
        out = self.target.path
        if out in self.form.sources():
            self._say(
                tr("{name} is one of the files that are read. Choose another name for the new one.", name=out.name)
            )
            return
        if out.exists() and not self._may_replace(out):
            return
        self._out = out
        words = [
            *self.form.words(),
            *([f"--name={self.target.title}"] if self.form.gives_name else []),  # it may begin with a dash
            "--out",
            str(out),
            "--json",
        ]
        self._work([*words, "--force"] if out.exists() else words)
        self.close_button.setFocus()

    def _may_replace(self, out: Path) -> bool:
        details = tr(
            "There is a file of this name in {folder} already. Replacing it cannot be undone.", folder=out.parent
        )
        return confirm(self, tr("Replace {names}?", names=out.name), details, tr("Replace"))

    def _on_done(self, told: dict[str, Any]) -> None:
        path = Path(str(told.get("path") or self._out))
        sentence = str(told.get("sentence") or tr("{name} is ready.", name=path.name))
        self.ready.tell(path, sentence, can_use=self.form.can_use())
        self._pages.setCurrentWidget(self.ready)
        self._refresh()
        self.start_button.setFocus()
        self.made.emit(path)

    def _on_failed(self, sentence: str) -> None:
        self._refresh()
        self._say(sentence)
        self.start_button.setFocus()

    def _on_cancelled(self) -> None:
        self._refresh()
        self._say(tr("Cancelled. Nothing was written."))
        self.start_button.setFocus()

    def _say(self, sentence: str) -> None:
        """In the banner, above the form that stays."""
        self.banner.tell(sentence)
        self._fit()

    def _on_again(self) -> None:
        """Back to the form, for another file."""
        self.target.propose_again()
        self._pages.setCurrentWidget(self._asked)
        self._refresh()
        self.form.first_field().setFocus()

    def _on_use(self) -> None:
        self.accept()
        self.useWanted.emit(self._out)
