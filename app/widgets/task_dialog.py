"""What all dialogs that run a sub-command have in common: its process, its progress, a banner, and a careful way to close."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtWidgets import QDialog, QVBoxLayout

from app.task_process import TaskProcess
from app.widgets.banner import Banner
from app.widgets.task_progress import TaskProgress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PySide6.QtGui import QCloseEvent
    from PySide6.QtWidgets import QLayout, QWidget


class TaskDialog(QDialog):
    """While it works, closing cancels the work and the dialog stays; what went wrong is said in a banner on top.

    Attributes:
        task: the process. command: words to run instead, for tests. banner, progress: what they say.
    """

    def __init__(self, name: str, title: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setWindowTitle(title)
        self.command: list[str] | None = None
        self.task = TaskProcess(self)
        self.banner, self.progress = Banner(), TaskProgress()
        self.task.progressed.connect(self.progress.tell)
        self.task.done.connect(self._on_done)
        self.task.failed.connect(self._on_failed)
        self.task.cancelled.connect(self._on_cancelled)

    # What a dialog decides

    def _refresh(self) -> None:
        """Everything that follows from what was entered and from the work."""
        raise NotImplementedError

    def _on_done(self, told: dict[str, Any]) -> None:
        raise NotImplementedError

    def _on_failed(self, sentence: str) -> None:
        self._refresh()
        self.banner.tell(sentence)

    def _on_cancelled(self) -> None:
        self._refresh()

    # The same for all

    def _put_under_banner(self, layout: QLayout) -> None:
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(0)
        whole.addWidget(self.banner)
        whole.addLayout(layout, 1)

    def _work(self, words: Sequence[str]) -> None:
        """Runs the sub-command."""
        self.banner.hide()
        self.progress.begin()
        self.task.start(words, self.command)
        self._refresh()

    def _cancel(self) -> None:
        self.task.cancel()
        self._refresh()

    def reject(self) -> None:
        """Closes; what works is cancelled instead."""
        if self.task.is_running:
            self._cancel()
        else:
            super().reject()

    def closeEvent(self, event: QCloseEvent) -> None:
        """As `reject`."""
        event.ignore()
        self.reject()
