"""Editors of numbers: text that reads 1e-4 as well as 0.0001, with arrow keys that step by what is sensible at that size."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QLineEdit, QWidget

from app import theme
from app.field_base import Editor, same
from app.texts import tr

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from PySide6.QtGui import QKeyEvent, QWheelEvent

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
SHORT_BELOW = 1e-3  # smaller numbers are shown as 1e-4


@dataclass(frozen=True)
class Bounds:
    """Where a number may lie. low, high: reached by stepping; zero_step: the first step above 0; multiple: of what."""

    low: float = -math.inf
    high: float = math.inf
    zero_step: float = 1
    multiple: int = 1


def bounds(field: FieldInfo) -> Bounds:
    """The bounds of a settings field."""
    found: dict[str, float] = {}
    for constraint in field.metadata:
        for key in ("ge", "gt", "le", "lt", "multiple_of"):
            if (value := getattr(constraint, key, None)) is not None:
                found[key] = value
    whole = field.annotation is int
    low = found.get("ge", found.get("gt", -math.inf) + (1 if whole else 0))
    high = found.get("le", found.get("lt", math.inf) - (1 if whole else 0))
    zero = 1.0 if whole or high > 20 else 0.01 if high <= 1 else 0.1
    if not whole and isinstance(field.default, float) and 0 < field.default < zero:
        zero = 10.0 ** (math.floor(math.log10(field.default)) - 1)
    return Bounds(low, high, zero, int(found.get("multiple_of", 1)))


def shown(number: float) -> str:
    """The shortest way to write a number that reads back as the same: "16", "0.03", "1e-4", "1.5e-4"."""
    if isinstance(number, int) or (number == int(number) and abs(number) < 1e15 if math.isfinite(number) else False):
        return str(int(number))
    if not 0 < abs(number) < SHORT_BELOW:
        return repr(number)
    for digits in range(17):
        mantissa, _, power = f"{number:.{digits}e}".partition("e")
        if float(f"{mantissa}e{power}") == number:
            return f"{mantissa}e{int(power)}"
    return repr(number)


def read(text: str, *, whole: bool) -> int | float | str:
    """The number that the text means; the text itself when it means none."""
    text = text.strip()
    if not NUMBER.fullmatch(text):
        return text
    number = float(text)
    if not whole:
        return number
    if re.fullmatch(r"[+-]?\d+", text):
        return int(text)
    return int(number) if number == int(number) else text


class NumberLine(QLineEdit):
    """A line for a number: up, down and the wheel (when it has the focus) step it; page up and down double and halve it.

    Signals:
        stepped: the user stepped the number.
    """

    stepped = Signal()

    def __init__(self, limits: Bounds, *, whole: bool, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._limits, self._whole = limits, whole
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setFixedWidth(theme.space(13))
        self.setAcceptDrops(False)
        self.editingFinished.connect(self._on_editing_finished)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Steps."""
        keys = {Qt.Key.Key_Up: 1, Qt.Key.Key_Down: -1, Qt.Key.Key_PageUp: 2, Qt.Key.Key_PageDown: -2}
        if (step := keys.get(Qt.Key(event.key()))) is not None and event.modifiers() == Qt.KeyboardModifier.NoModifier:
            self.step(step)
        else:
            super().keyPressEvent(event)

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Steps when the line has the focus; otherwise the page scrolls."""
        if not self.hasFocus() or not event.angleDelta().y():
            event.ignore()
            return
        self.step(1 if event.angleDelta().y() > 0 else -1)
        event.accept()

    def step(self, by: int) -> None:
        """One up or down (±1), or double and half (±2); nothing when the text is no number."""
        number = read(self.text(), whole=self._whole)
        if isinstance(number, str):
            return
        after = self._stepped(number, by)
        after = min(max(after, self._limits.low), self._limits.high)
        if after != number and math.isfinite(after):
            self.setText(shown(int(after) if self._whole else float(f"{after:.6g}")))
            self.stepped.emit()

    def _stepped(self, number: float, by: int) -> float:
        if abs(by) == 2 and number:
            after = number * 2 if by > 0 else number / 2
            multiple = self._limits.multiple
            return round(after / multiple) * multiple if self._whole else after
        size = self._step_size(number, up=by > 0)
        zero = self._limits.zero_step
        if not self._whole and by < 0 and 0 < number <= zero * 1.0001:
            return 0.0 if self._limits.low == 0 else number - size
        return number + math.copysign(size, by)

    def _step_size(self, number: float, *, up: bool) -> float:
        """One in the first digit below 10, in the second above it; the way down from 1e-4 is 9e-5."""
        if number == 0:
            return max(1, self._limits.multiple) if self._whole else self._limits.zero_step
        power = math.floor(math.log10(abs(number)) + 1e-9)
        if not up and abs(number) <= 10.0**power * 1.0001:
            power -= 1
        size = 10.0 ** (power - 1 if power >= 1 else power)
        if not self._whole:
            return size
        multiple = self._limits.multiple
        if multiple > 1:
            return multiple * 8 if number >= 32 * multiple else multiple
        return max(1, size)

    def _on_editing_finished(self) -> None:
        number = read(self.text(), whole=self._whole)
        if not isinstance(number, str):
            self.setText(shown(number))


class NumberEditor(Editor):
    """A whole or a scientific number."""

    def __init__(self, limits: Bounds, *, whole: bool, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._whole = whole
        self._line = NumberLine(limits, whole=whole)
        self._line.textEdited.connect(self._on_edited)
        self._line.stepped.connect(self._on_edited)
        self._row.addWidget(self._line)
        self.setFocusProxy(self._line)

    def set_unit(self, unit: str) -> None:
        """Writes the unit behind the number."""
        super().set_unit(unit)
        if not unit:
            self._row.addStretch(1)

    def describe(self, name: str, label: str, help_text: str) -> None:
        """Names it and tells of the keys."""
        super().describe(name, label, help_text)
        self._line.setToolTip(tr("Up and down arrow keys change it, page up and page down double and halve it."))

    def value(self) -> Any:
        """The number, or the text that is none."""
        return read(self._line.text(), whole=self._whole)

    def set_value(self, value: Any) -> None:
        """Shows a number in its short form, or the text that is none."""
        if same(self.value(), value) and self._line.text():
            return
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        self._line.setText(shown(value) if number else str(value))

    def _on_edited(self) -> None:
        self.edited.emit(self.value())
