"""What every editor of a setting can do: show a value, tell what the user made of it, look wrong."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QEvent, QObject, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QWidget

from app import theme


class Editor(QWidget):
    """Edits one value of a plain TOML type; subclasses differ in the type.

    What the user typed and cannot be read as that type is kept as text, so that `settings_file.check` can explain it.

    Signals:
        edited(value): the user changed the value; never emitted by `set_value`.
    """

    edited = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._row = QHBoxLayout(self)
        self._row.setContentsMargins(0, 0, 0, 0)
        self._row.setSpacing(theme.space(0.75))

    def value(self) -> Any:
        """What the editor shows, as a plain TOML type."""
        raise NotImplementedError

    def set_value(self, value: Any) -> None:
        """Shows a value; emits nothing, and does not touch what is shown when it means the same already."""
        raise NotImplementedError

    def set_error(self, wrong: bool) -> None:
        """Marks the editor as holding a mistake."""
        for widget in self._framed():
            if widget.property("state") != ("bad" if wrong else ""):
                widget.setProperty("state", "bad" if wrong else "")
                widget.style().unpolish(widget)
                widget.style().polish(widget)

    def describe(self, name: str, label: str, help_text: str) -> None:
        """Names the editor for tests and screen readers; the help becomes its tooltip."""
        self.setObjectName(name)
        for widget in self._framed():
            widget.setObjectName(f"{name}_input")
            widget.setAccessibleName(label)
            widget.setAccessibleDescription(help_text)

    def set_unit(self, unit: str) -> None:
        """Writes the unit behind the value."""
        if unit:
            self._row.addWidget(theme.role(QLabel(unit), "muted"))
            self._row.addStretch(1)

    def _framed(self) -> list[QWidget]:
        """The widgets that take the input, the first of which takes the focus."""
        proxy = self.focusProxy()
        return [proxy] if proxy is not None else []


class NoStrayWheel(QObject):
    """Lets the wheel scroll the page instead of changing the value of a widget that has not the focus."""

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Refuses wheel events of widgets without focus."""
        if event.type() == QEvent.Type.Wheel and isinstance(watched, QWidget) and not watched.hasFocus():
            event.ignore()
            return True
        return False


def same(one: Any, other: Any) -> bool:
    """Whether two plain values are equal and of the same kind: 1 and 1.0 are, 1 and True or "1" are not."""
    numbers = (int, float)
    if isinstance(one, bool) or isinstance(other, bool):
        return type(one) is type(other) and one == other
    if isinstance(one, numbers) and isinstance(other, numbers):
        return one == other
    return type(one) is type(other) and bool(one == other)
