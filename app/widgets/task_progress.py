"""Where a sub-command stands: a bar, what is being done, and how much of it."""

from __future__ import annotations

from PySide6.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QVBoxLayout, QWidget

from app import theme
from app.texts import tr
from app.widgets.named import named


class TaskProgress(QWidget):
    """A bar and what is being done; hidden unless something is."""

    def __init__(self, name: str = "task") -> None:
        """name: begins the object names."""
        super().__init__()
        self._label = named(QLabel(wordWrap=True), f"{name}_progress_label")
        self._share = theme.role(named(QLabel(), f"{name}_progress_share"), "muted")
        self.bar = named(QProgressBar(textVisible=False), f"{name}_progress", spoken=tr("Progress"))
        head = QHBoxLayout()
        head.addWidget(self._label, 1)
        head.addWidget(self._share)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.space(0.5))
        column.addLayout(head)
        column.addWidget(self.bar)
        self.hide()

    @property
    def text(self) -> str:
        """What is said now."""
        return self._label.text()

    def begin(self) -> None:
        """Nothing is known yet."""
        self.tell(tr("Starting"), 0, 0)

    def tell(self, label: str, done: int, total: int) -> None:
        """What is being done, and how much of it; total 0: not known."""
        self._label.setText(f"{tr(label)}…")
        self._share.setText(f"{done / total:.0%}" if total else "")
        self.bar.setRange(0, 1000 if total else 0)
        self.bar.setValue(1000 * done // total if total else 0)
