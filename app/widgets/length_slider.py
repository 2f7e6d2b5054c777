"""One slider from quick to thorough, with what it means for the pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QSlider, QVBoxLayout, QWidget

from app import run_length, theme
from app.field_base import NoStrayWheel
from app.texts import tr
from app.widgets.named import named

if TYPE_CHECKING:
    from app.project import Project


class LengthSlider(QWidget):
    """Shows and sets the length of a project's run. `pictures` is an `app.pictures.Pictures`, or has its signals and count."""

    def __init__(self, project: Project, pictures: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("length_slider")
        self._project, self._pictures = project, pictures
        self._slider = named(QSlider(Qt.Orientation.Horizontal), "length")
        self._slider.setRange(0, len(run_length.FACTORS) - 1)
        self._slider.setPageStep(1)
        self._slider.setMinimumHeight(theme.space(3))
        self._slider.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._slider.setAccessibleName(tr("Length, from quick to thorough"))
        self._slider.setToolTip(tr("From a quick look to a thorough training"))
        self._slider.installEventFilter(NoStrayWheel(self._slider))
        self._slider.valueChanged.connect(self._on_moved)
        self._name = theme.role(named(QLabel(), "length_name"), "heading")
        self._sentence = named(QLabel(wordWrap=True), "length_sentence")
        self._back = named(QPushButton(tr("Use the recommended length")), "length_recommended")
        theme.role(self._back, "link")
        keep = self._back.sizePolicy()
        keep.setRetainSizeWhenHidden(True)
        self._back.setSizePolicy(keep)
        self._back.clicked.connect(self._on_back)
        self._lay_out()
        self.setFocusProxy(self._slider)
        project.changed.connect(self._refresh)
        pictures.scanned.connect(self._refresh)
        pictures.includedChanged.connect(self._refresh)
        self._refresh()

    def _lay_out(self) -> None:
        head = QHBoxLayout()
        head.addWidget(self._name)
        head.addStretch(1)
        head.addWidget(self._back)
        ends = QHBoxLayout()
        ends.addWidget(theme.role(QLabel(tr("quick")), "muted"))
        ends.addStretch(1)
        ends.addWidget(theme.role(QLabel(tr("thorough")), "muted"))
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.space(0.75))
        column.addLayout(head)
        column.addWidget(self._sentence)
        column.addSpacing(theme.space(0.5))
        column.addWidget(self._slider)
        column.addLayout(ends)

    def _refresh(self) -> None:
        length = run_length.of(self._project, self._pictures.included_count)
        self._slider.blockSignals(True)
        self._slider.setValue(length.position)
        self._slider.blockSignals(False)
        self._name.setText(tr("Your own value") if length.custom else run_length.name_of(length.position))
        self._sentence.setText(length.sentence)
        self._back.setVisible(length.custom or length.position != run_length.RECOMMENDED)

    def _on_moved(self, position: int) -> None:
        self._project.set_many(run_length.values_at(self._project, position))
        self._refresh()

    def _on_back(self) -> None:
        self._project.set_many(run_length.values_at(self._project, run_length.RECOMMENDED))
        self._slider.setFocus()
