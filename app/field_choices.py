"""Editors of what is chosen: a switch, one of several, some of several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QCheckBox, QComboBox, QGridLayout, QWidget

from app import field_words, theme
from app.field_base import Editor, NoStrayWheel, same
from app.texts import tr

if TYPE_CHECKING:
    from collections.abc import Sequence


class SwitchEditor(Editor):
    """On or off."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._kept: Any = False
        self._box = QCheckBox(tr("off"))
        self._box.toggled.connect(self._on_shown)
        self._box.clicked.connect(self._on_clicked)
        self._row.addWidget(self._box)
        self._row.addStretch(1)
        self.setFocusProxy(self._box)

    def value(self) -> Any:
        """True or False, or what a file said that is neither."""
        return self._kept

    def set_value(self, value: Any) -> None:
        """Shows it; what is neither True nor False looks off."""
        self._kept = value
        self._box.setChecked(value is True)

    def _on_shown(self, on: bool) -> None:
        self._box.setText(tr("on") if on else tr("off"))

    def _on_clicked(self, on: bool) -> None:
        self._kept = on
        self.edited.emit(on)


class ChoiceEditor(Editor):
    """One of several values, each with words and a hint."""

    def __init__(self, name: str, values: Sequence[Any], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._name, self._known = name, len(values)
        self._box = QComboBox()
        self._box.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._box.setMinimumWidth(theme.space(20))
        self._box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self._box.installEventFilter(NoStrayWheel(self._box))
        for value in values:
            self._add(value)
        self._box.activated.connect(self._on_activated)
        self._row.addWidget(self._box)
        self._row.addStretch(1)
        self.setFocusProxy(self._box)
        self._show_hint()

    def set_unit(self, unit: str) -> None:
        """Writes the unit behind the box."""
        if unit:
            super().set_unit(unit)
            self._row.takeAt(1)  # the stretch between box and unit

    def value(self) -> Any:
        """The chosen value."""
        return self._box.currentData()

    def set_value(self, value: Any) -> None:
        """Chooses it; a value that is none of the choices is shown as one of its own."""
        if same(self.value(), value):
            return
        index = next((i for i in range(self._box.count()) if same(self._box.itemData(i), value)), -1)
        if index < 0:
            self._add(value)
            index = self._box.count() - 1
        self._box.setCurrentIndex(index)
        while self._box.count() > self._known and self._box.currentIndex() < self._known:
            self._box.removeItem(self._box.count() - 1)
        self._show_hint()

    def _add(self, value: Any) -> None:
        words = field_words.choice(self._name, value)
        self._box.addItem(words.words, value)
        self._box.setItemData(self._box.count() - 1, words.hint, Qt.ItemDataRole.ToolTipRole)

    def _show_hint(self) -> None:
        self._box.setToolTip(self._box.currentData(Qt.ItemDataRole.ToolTipRole) or "")

    def _on_activated(self) -> None:
        self._show_hint()
        self.edited.emit(self.value())


class SeveralEditor(Editor):
    """Some of several values, as a list in the order of the choices."""

    def __init__(self, name: str, values: Sequence[Any], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._kept: Any = []
        self._boxes: dict[Any, QCheckBox] = {}
        grid = QGridLayout()
        grid.setVerticalSpacing(theme.space(0.75))
        grid.setContentsMargins(0, theme.space(0.5), 0, theme.space(0.5))
        grid.setHorizontalSpacing(theme.space(3))
        for index, value in enumerate(values):
            words = field_words.choice(name, value)
            box = QCheckBox(words.words)
            box.setToolTip(words.hint)
            box.clicked.connect(self._on_clicked)
            grid.addWidget(box, index // 2, index % 2)
            self._boxes[value] = box
        self._row.addLayout(grid)
        self._row.addStretch(1)
        self.setFocusProxy(next(iter(self._boxes.values())))

    def describe(self, name: str, label: str, help_text: str) -> None:
        """Names each box after its value."""
        self.setObjectName(name)
        for value, box in self._boxes.items():
            box.setObjectName(f"{name}_{value}")
            box.setAccessibleDescription(help_text)

    def value(self) -> Any:
        """The list of what is ticked, or what a file said that is no such list."""
        return self._kept

    def set_value(self, value: Any) -> None:
        """Ticks what is in the list."""
        self._kept = value
        for choice, box in self._boxes.items():
            box.setChecked(isinstance(value, list) and choice in value)

    def _on_clicked(self) -> None:
        self._kept = [value for value, box in self._boxes.items() if box.isChecked()]
        self.edited.emit(self._kept)
