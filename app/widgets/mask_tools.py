"""The tools beside the mask painter's canvas: brush, eraser and fill with their sliders, and what acts on the whole mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import (
    QButtonGroup,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSlider,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app import theme
from app.texts import tr
from app.widgets.mask_canvas import BRUSH_PX, TOOLS
from app.widgets.named import named
from app.widgets.scrolling import scrolling

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.widgets.mask_canvas import MaskCanvas

_ICONS = {"brush": "brush", "eraser": "eraser", "fill": "flood"}


class MaskTools(QWidget):
    """Sets what the canvas paints with.

    Attributes:
        has_alpha: whether the picture has transparency that can become a mask.

    Signals:
        alphaWanted: make a mask of the transparency.
        fileWanted: take a mask from a file.
    """

    alphaWanted = Signal()
    fileWanted = Signal()

    def __init__(self, canvas: MaskCanvas, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._canvas = canvas
        self.has_alpha = False
        self._buttons: dict[str, QToolButton] = {}
        self._holders: dict[QSlider, QWidget] = {}
        self._actions: list[tuple[QPushButton, str]] = []
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, theme.space(0.5), 0)
        self._column.setSpacing(theme.space(0.6))
        self._lay_out()
        canvas.brushChanged.connect(self._size.setValue)
        self.choose("brush")
        self.restyle()
        self.refresh()

    def _lay_out(self) -> None:
        row, group = QHBoxLayout(), QButtonGroup(self)
        row.setSpacing(theme.space(0.5))
        for name, title, tip in zip(
            TOOLS, (tr("Brush"), tr("Eraser"), tr("Fill")), (
                tr("Marks what is trained  (B). The right mouse button erases."), tr("Marks what is not trained  (E)"),
                tr("Marks an area of similar colour  (G); with the right mouse button as not trained"),
            ), strict=True,
        ):  # fmt: skip
            button = named(QToolButton(), f"mask_{name}", tip=tip)
            button.setText(title)
            button.setCheckable(True)
            button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextUnderIcon)
            button.setIconSize(QSize(theme.space(2.5), theme.space(2.5)))
            button.clicked.connect(lambda _checked, chosen=name: self.choose(chosen))
            group.addButton(button)
            row.addWidget(button, 1)
            self._buttons[name] = button
        self._column.addLayout(row)
        canvas = self._canvas
        self._size = self._slider(
            "mask_size", tr("Size"), tr("Size of the brush  ([ and ], or the wheel)"), BRUSH_PX, canvas.brush_px, canvas.set_brush
        )  # fmt: skip
        self._soft = self._slider(
            "mask_softness", tr("Soft edge"), tr("How much of the brush fades"), (0, 100), round(100 * canvas.softness), self._on_soft
        )  # fmt: skip
        self._tolerance = self._slider(
            "mask_tolerance", tr("Tolerance"), tr("How different a colour may be to be filled too"), (0, 128), canvas.tolerance, self._on_tolerance
        )  # fmt: skip
        self._slider(
            "mask_opacity", tr("Overlay"), tr("How much of the picture the red hides"), (10, 100), round(100 * canvas.opacity),
            lambda value: canvas.set_opacity(value / 100),
        )  # fmt: skip
        self._column.addSpacing(theme.space(1))
        self._invert = self._action(
            "mask_invert", "invert", tr("Invert"), tr("What is trained becomes what is not  (I)"), self.invert
        )
        self._clear = self._action(
            "mask_clear", "trash", tr("Clear"), tr("No mask: everything is trained"), self._on_clear
        )
        self._alpha = self._action(
            "mask_alpha", "picture", tr("From transparency"), tr("Trains what is not transparent"), self.alphaWanted.emit
        )  # fmt: skip
        self._file = self._action(
            "mask_file", "folder", tr("From a file…"), tr("A grey picture: white is trained"), self.fileWanted.emit
        )
        self._column.addSpacing(theme.space(1))
        self._hint = theme.role(named(QLabel(wordWrap=True), "mask_hint"), "muted")
        self._column.addWidget(self._hint)
        self._column.addStretch(1)

    def beside(self, canvas: QWidget) -> QHBoxLayout:
        """A row of the tools, which scroll when there is little room, and the canvas."""
        scroll = scrolling(self)
        scroll.setFixedWidth(max(theme.space(24), self.minimumSizeHint().width() + theme.space(2)))
        row = QHBoxLayout()
        row.setSpacing(theme.space(1.5))
        row.addWidget(scroll)
        row.addWidget(canvas, 1)
        return row

    # ---- what the user does

    def choose(self, tool: str) -> None:
        """Another tool, one of `mask_canvas.TOOLS`."""
        self._canvas.tool = tool
        self._buttons[tool].setChecked(True)
        is_fill = tool == "fill"
        for slider, wanted in ((self._size, not is_fill), (self._soft, not is_fill), (self._tolerance, is_fill)):
            self._holders[slider].setVisible(wanted)
        self._canvas.update()
        self._canvas.setFocus()

    def invert(self) -> None:
        """What is trained becomes what is not."""
        if self._canvas.paint is not None:
            self._canvas.paint.invert()
            self._canvas.refresh()
            self._canvas.painted.emit()

    def _on_clear(self) -> None:
        if self._canvas.paint is not None:
            self._canvas.paint.clear()
            self._canvas.refresh()
            self._canvas.painted.emit()

    def _on_soft(self, value: int) -> None:
        self._canvas.softness = value / 100

    def _on_tolerance(self, value: int) -> None:
        self._canvas.tolerance = value

    # ---- keeping up

    def refresh(self) -> None:
        """What can be done, and what it will do."""
        paint = self._canvas.paint
        blank = paint is not None and paint.is_blank
        for button, _ in self._actions:
            button.setEnabled(paint is not None)
        self._clear.setEnabled(paint is not None and not blank)
        self._alpha.setEnabled(paint is not None and self.has_alpha)
        self._alpha.setToolTip(
            tr("Trains what is not transparent") if self.has_alpha else tr("This picture has no transparency")
        )
        if blank:
            self._hint.setText(tr("Everything is trained. Brush over what is to be learned, or erase what is not."))
        else:
            self._hint.setText(tr("Red is not trained, or as little as the recipe says.") if paint is not None else "")

    def restyle(self) -> None:
        """Icons in the theme's colours."""
        for name, button in self._buttons.items():
            button.setIcon(theme.icon(_ICONS[name]))
        for action, icon in self._actions:
            action.setIcon(theme.icon(icon))

    def _slider(
        self, name: str, title: str, tip: str, bounds: tuple[int, int], value: int, slot: Callable[[int], None]
    ) -> QSlider:
        holder = QWidget()
        slider = named(QSlider(Qt.Orientation.Horizontal), name, tip=tip, spoken=title)
        slider.setRange(*bounds)
        slider.setValue(value)
        slider.setMinimumHeight(theme.space(2.75))
        slider.valueChanged.connect(slot)
        column = QVBoxLayout(holder)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        label = theme.role(QLabel(f"{title}  {value}"), "muted")
        slider.valueChanged.connect(lambda now: label.setText(f"{title}  {now}"))
        column.addWidget(label)
        column.addWidget(slider)
        self._column.addWidget(holder)
        self._holders[slider] = holder
        return slider

    def _action(self, name: str, icon: str, title: str, tip: str, slot: Callable[[], object]) -> QPushButton:
        button = named(QPushButton(theme.icon(icon), title, autoDefault=False), name, tip=tip)
        button.clicked.connect(slot)
        self._actions.append((button, icon))
        self._column.addWidget(button)
        return button
