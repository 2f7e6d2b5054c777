"""Where an export stands, and the button that gives it up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QPushButton, QVBoxLayout, QWidget

from app import theme
from app.texts import tr
from app.widgets.named import named
from app.widgets.task_progress import TaskProgress

if TYPE_CHECKING:
    from app.exporter import Exporter


class ExportProgress(QWidget):
    """Shown while the exporter works."""

    def __init__(self, exporter: Exporter, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._exporter = exporter
        self._progress = TaskProgress("export")
        self.cancel_button = named(QPushButton(tr("Cancel")), "export_cancel")
        self.cancel_button.clicked.connect(self._on_cancel)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.space(1))
        column.addWidget(self._progress)
        self._progress.show()
        column.addWidget(self.cancel_button, 0, Qt.AlignmentFlag.AlignHCenter)
        exporter.started.connect(self._on_started)
        exporter.progressed.connect(self._progress.tell)
        for ended in (exporter.done, exporter.failed, exporter.cancelled):
            ended.connect(self.hide)
        self.hide()

    @property
    def text(self) -> str:
        """What is said now."""
        return self._progress.text

    def _on_started(self) -> None:
        self._progress.begin()
        self.cancel_button.setEnabled(True)
        self.show()

    def _on_cancel(self) -> None:
        self._exporter.cancel()
        self._progress.tell(tr("Cancelling"), 0, 0)
        self.cancel_button.setEnabled(False)
