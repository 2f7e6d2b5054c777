"""What a preset does: each of its values in words, with the reason, and what the user made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, Qt
from PySide6.QtWidgets import QGridLayout, QLabel, QSizePolicy, QToolButton, QWidget

from app import field_words, theme
from app.field_base import same
from app.project import plain
from app.texts import tr
from app.widgets.named import named
from trainer import presets
from trainer.settings import info

if TYPE_CHECKING:
    from app.project import Project


class PresetValues(QWidget):
    """A list of the values of the project's preset."""

    def __init__(self, project: Project, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("preset_values")
        self._project = project
        self._preset: presets.Preset | None = None
        self._values: dict[str, QLabel] = {}
        self._resets: dict[str, QToolButton] = {}
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(theme.space(2))
        self._grid.setVerticalSpacing(theme.space(1))
        self._grid.setColumnStretch(2, 1)
        project.changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Shows the project's preset and values."""
        name = self._project.preset
        if name != (self._preset.name if self._preset else ""):
            self._rebuild(presets.load(name) if name in presets.NAMES else None)
        if self._preset is None:
            return
        for field, label in self._values.items():
            value, usual = self._project.value(field), plain(self._preset.values[field])
            yours = not same(value, usual)
            label.setText(field_words.in_words(field, value))
            theme.role(label, "yours" if yours else "value")
            label.setToolTip(
                tr("Yours. The preset says {value}.", value=field_words.in_words(field, usual)) if yours else ""
            )
            self._resets[field].setVisible(yours)

    def _rebuild(self, preset: presets.Preset | None) -> None:
        while (item := self._grid.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.hide()
                widget.deleteLater()
        self._preset = preset
        self._values.clear()
        self._resets.clear()
        for row, name in enumerate(preset.values if preset else ()):
            assert preset is not None
            self._add_row(row, name, preset)
        self._restyle()

    def _add_row(self, row: int, name: str, preset: presets.Preset) -> None:
        about = info(name)
        label = QLabel(tr(about.label))
        label.setToolTip(tr(about.help))
        value = named(QLabel(), f"preset_value_{name}")
        value.setTextFormat(Qt.TextFormat.PlainText)
        reason = theme.role(QLabel(tr(preset.reasons[name]), wordWrap=True), "muted")
        reason.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        reset = named(QToolButton(), f"preset_reset_{name}")
        words = tr("Back to the preset's value: {value}", value=field_words.in_words(name, plain(preset.values[name])))
        reset.setToolTip(words)
        reset.setAccessibleName(f"{tr(about.label)}: {words}")
        reset.clicked.connect(lambda: self._project.set_many({name: plain(preset.values[name])}))
        keep = reset.sizePolicy()
        keep.setRetainSizeWhenHidden(True)
        reset.setSizePolicy(keep)
        self._values[name], self._resets[name] = value, reset
        for column, widget in enumerate((label, value, reason, reset)):
            self._grid.addWidget(widget, row, column)

    def changeEvent(self, event: QEvent) -> None:
        """Renews the icons in the theme's colours."""
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "_resets"):
            self._restyle()
        super().changeEvent(event)

    def _restyle(self) -> None:
        for reset in self._resets.values():
            reset.setIcon(theme.icon("reset", "accent"))
