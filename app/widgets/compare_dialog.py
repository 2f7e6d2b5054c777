"""Any two previews over one another, with a divider: prompt and step are chosen for each side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtGui import QPixmap
from PySide6.QtWidgets import QComboBox, QDialog, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from app import theme
from app.texts import tr
from app.widgets.compare_view import CompareView
from app.widgets.named import named
from app.widgets.previews import Previews, step_name

if TYPE_CHECKING:
    from pathlib import Path

    from app.widgets.picture_loader import PictureLoader


class CompareDialog(QDialog):
    """The divider in the middle, a row with the two choices below."""

    def __init__(self, previews: Previews, loader: PictureLoader, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("compare_dialog")
        self.setWindowTitle(tr("Compare previews"))
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._previews, self._loader = previews, loader
        loader.loaded.connect(self._on_loaded)
        self.view = CompareView(self)
        self._left = _Side("left", tr("at the left"), previews, self)
        self._right = _Side("right", tr("at the right"), previews, self)
        foot = QHBoxLayout()
        foot.setSpacing(theme.space(1))
        foot.addWidget(self._left)
        foot.addStretch(1)
        swap = named(QPushButton(theme.icon("compare"), tr("Swap"), autoDefault=False), "compare_swap")
        swap.setToolTip(tr("Let the two change places"))
        swap.clicked.connect(self._on_swap)
        foot.addWidget(swap)
        foot.addStretch(1)
        foot.addWidget(self._right)
        column = QVBoxLayout(self)
        column.setContentsMargins(theme.space(1.5), theme.space(1.5), theme.space(1.5), theme.space(1.5))
        column.setSpacing(theme.space(1.5))
        column.addWidget(self.view, 1)
        column.addLayout(foot)
        for side in (self._left, self._right):
            side.row.currentIndexChanged.connect(self._refresh)
            side.step.currentIndexChanged.connect(self._refresh)
        self.resize(theme.space(80), theme.space(80))
        self.view.setFocus()

    def choose(self, left: tuple[int, int], right: tuple[int, int]) -> None:
        """Shows two pictures, each given by prompt number and step."""
        self._left.choose(left)
        self._right.choose(right)
        self._refresh()

    @property
    def chosen(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Prompt number and step of both sides."""
        return self._left.chosen, self._right.chosen

    def _refresh(self) -> None:
        pixmaps, labels = [], []
        different = self._left.chosen[0] != self._right.chosen[0]
        for row, step in self.chosen:
            found = self._previews.latest(row, step)
            side = round(max(self.view.width(), 512) * self.devicePixelRatioF())
            pixmaps.append((found and self._loader.get(found[1], side)) or QPixmap())
            label = step_name(step)
            labels.append(f"{self._previews.prompt(row)}, {label}" if different else label)
        self.view.set_pictures(pixmaps[0], pixmaps[1], labels[0], labels[1])

    def _on_swap(self) -> None:
        left, right = self.chosen
        self.choose(right, left)

    def _on_loaded(self, path: Path) -> None:
        if path in {found[1] for row, step in self.chosen if (found := self._previews.latest(row, step))}:
            self._refresh()


class _Side(QWidget):
    """A prompt and a step."""

    def __init__(self, name: str, where: str, previews: Previews, parent: QWidget) -> None:
        super().__init__(parent)
        self._steps = previews.steps()
        self.row = named(QComboBox(), f"compare_{name}_prompt")
        self.row.setAccessibleName(tr("Prompt {where}", where=where))
        self.row.setToolTip(self.row.accessibleName())
        self.row.addItems([previews.prompt(row) for row in range(previews.rows)])
        self.row.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.row.setMinimumContentsLength(14)
        self.row.setVisible(previews.rows > 1)
        self.step = named(QComboBox(), f"compare_{name}_step")
        self.step.setAccessibleName(tr("Step {where}", where=where))
        self.step.setToolTip(self.step.accessibleName())
        self.step.addItems([step_name(step) for step in self._steps])
        line = QHBoxLayout(self)
        line.setContentsMargins(0, 0, 0, 0)
        line.addWidget(self.row)
        line.addWidget(self.step)

    @property
    def chosen(self) -> tuple[int, int]:
        at = self.step.currentIndex()
        return max(0, self.row.currentIndex()), self._steps[at] if at >= 0 else 0

    def choose(self, cell: tuple[int, int]) -> None:
        self.row.setCurrentIndex(cell[0])
        if cell[1] in self._steps:
            self.step.setCurrentIndex(self._steps.index(cell[1]))
