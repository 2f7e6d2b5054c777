"""Gives a widget its name for tests, its tooltip, and its name for screen readers, in one expression that type checkers know."""

from __future__ import annotations

from typing import TypeVar

from PySide6.QtWidgets import QWidget

W = TypeVar("W", bound=QWidget)


def named(widget: W, name: str, *, tip: str = "", spoken: str = "") -> W:
    """Names the widget and returns it.

    Args:
        widget: any widget.
        name: its objectName.
        tip: its tooltip, if it has one.
        spoken: what a screen reader says, when the widget shows no text of its own.
    """
    widget.setObjectName(name)
    if tip:
        widget.setToolTip(tip)
    if spoken:
        widget.setAccessibleName(spoken)
    return widget
