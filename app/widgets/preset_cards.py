"""What do you want to teach? One large card for each preset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import QButtonGroup, QHBoxLayout, QLabel, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from app import theme
from app.texts import tr
from trainer import presets

if TYPE_CHECKING:
    from PySide6.QtCore import QEvent


class PresetCards(QWidget):
    """Three cards, one of which may be chosen; arrow keys go from one to the next, space chooses.

    Signals:
        chosen(str): the user chose the preset of that name, perhaps again.
    """

    chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._group = QButtonGroup(self)
        self._cards: dict[str, _Card] = {}
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(theme.space(1.5))
        for name in presets.NAMES:
            card = _Card(presets.load(name))
            card.clicked.connect(lambda _checked=False, name=name: self.chosen.emit(name))
            self._group.addButton(card)
            self._cards[name] = card
            row.addWidget(card, 1)

    def preset(self) -> str:
        """The chosen preset, or empty."""
        return next((name for name, card in self._cards.items() if card.isChecked()), "")

    def set_preset(self, name: str) -> None:
        """Shows which preset is chosen; an empty name shows none. Emits nothing."""
        self._group.setExclusive(False)
        for card_name, card in self._cards.items():
            card.setChecked(card_name == name)
        self._group.setExclusive(True)


class _Card(QPushButton):
    """A button with an icon, a title and a sentence."""

    def __init__(self, preset: presets.Preset) -> None:
        super().__init__()
        self.setObjectName(f"preset_{preset.name}")
        theme.role(self, "preset")
        self._icon_name = f"{preset.name}_card"
        self.setCheckable(True)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setAccessibleName(tr(preset.title))
        self.setAccessibleDescription(tr(preset.summary))
        self._picture = QLabel()
        title = theme.role(QLabel(tr(preset.title)), "heading")
        summary = theme.role(QLabel(tr(preset.summary), wordWrap=True), "muted")
        summary.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        head = QHBoxLayout()
        head.setSpacing(theme.space(1.25))
        head.addWidget(self._picture)
        head.addWidget(title, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(theme.space(2), theme.space(2), theme.space(2), theme.space(2))
        column.setSpacing(theme.space(1))
        column.addLayout(head)
        column.addWidget(summary, 1)
        for label in (self._picture, title, summary):
            label.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.toggled.connect(self._restyle)
        self._restyle()

    def sizeHint(self) -> QSize:
        """What the labels need; a button would only look at its text."""
        layout = self.layout()
        assert layout is not None
        return layout.totalSizeHint()

    def minimumSizeHint(self) -> QSize:
        """What the labels need at least."""
        layout = self.layout()
        assert layout is not None
        return QSize(theme.space(18), layout.totalMinimumSize().height())

    def changeEvent(self, event: QEvent) -> None:
        """Renews the icon in the theme's colours."""
        if event.type() == event.Type.PaletteChange and hasattr(self, "_picture"):
            self._restyle()
        super().changeEvent(event)

    def _restyle(self) -> None:
        self._picture.setPixmap(
            theme.pixmap(self._icon_name, theme.space(4), "accent" if self.isChecked() else "muted")
        )
