"""The runs that wait: order, remove."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QToolButton, QVBoxLayout, QWidget

from app import theme
from app.texts import tr
from app.widgets.named import named
from trainer.errors import AtelierError

if TYPE_CHECKING:
    from PySide6.QtCore import QEvent

    from app.run_queue import RunQueue
    from trainer.run_folder import RunFolder


class QueueList(QFrame):
    """Shows the queue; hidden while nothing waits."""

    def __init__(self, queue: RunQueue, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._queue = queue
        theme.role(self, "card")
        self._rows = QVBoxLayout()
        self._start = named(QPushButton(tr("Start the queue")), "queue_start")
        self._start.clicked.connect(queue.start_next)
        head = QHBoxLayout()
        head.addWidget(theme.role(QLabel(tr("Up next")), "heading"))
        head.addStretch(1)
        head.addWidget(self._start)
        column = QVBoxLayout(self)
        column.setContentsMargins(theme.space(1.5), theme.space(1), theme.space(1.5), theme.space(1))
        column.addLayout(head)
        column.addLayout(self._rows)
        queue.changed.connect(self._fill)
        queue.ended.connect(self._fill)
        queue.currentChanged.connect(self._fill)
        self._fill()

    def _fill(self) -> None:
        while (item := self._rows.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:
                widget.setParent(None)
                widget.deleteLater()
        for i, folder in enumerate(self._queue.waiting):
            self._rows.addWidget(self._row(i, folder))
        self._start.setVisible(not self._queue.is_running)
        self.setVisible(bool(self._queue.waiting))

    def _row(self, index: int, folder: RunFolder) -> QWidget:
        row = QWidget()
        line = QHBoxLayout(row)
        line.setContentsMargins(0, 0, 0, 0)
        line.addWidget(QLabel(f"{index + 1}.  {_title(folder)}"), 1)
        last = len(self._queue.waiting) - 1
        for name, tip, enabled, act in (
            ("up", tr("Earlier"), index > 0, lambda: self._queue.move(index, index - 1)),
            ("down", tr("Later"), index < last, lambda: self._queue.move(index, index + 1)),
            ("close", tr("Remove from the queue"), True, lambda: self._queue.remove(index)),
        ):
            button = named(QToolButton(), f"queue_{name}_{index}", tip=tip, spoken=tip)
            button.setEnabled(enabled)
            button.setIcon(theme.icon(name, "muted"))
            button.clicked.connect(act)
            line.addWidget(button)
        return row

    def changeEvent(self, event: QEvent) -> None:
        """Renews the icons in the theme's colours."""
        if event.type() == event.Type.PaletteChange and hasattr(self, "_rows"):
            self._fill()
        super().changeEvent(event)


def _title(folder: RunFolder) -> str:
    try:
        return f"{folder.settings().title}   ({folder.path.name})"
    except AtelierError:
        return folder.path.name
