"""The LoRA tools of the library: their menu with keys, and one dialog for each, which keeps what was entered until it succeeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QMenu, QWidget

from app.texts import tr
from app.widgets.named import named
from app.widgets.tool_bake import BakeForm
from app.widgets.tool_convert import ConvertForm
from app.widgets.tool_dialog import ToolDialog
from app.widgets.tool_extract import ExtractForm
from app.widgets.tool_merge import MergeForm
from app.widgets.tool_resize import ResizeForm

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from app.library import Entry
    from app.widgets.picture_loader import PictureLoader
    from app.widgets.tool_form import ToolForm

TOOLS = ("resize", "convert", "merge", "bake", "extract")
_KEYS = {"resize": "R", "convert": "C", "merge": "M", "bake": "B", "extract": "E"}  # with Ctrl+Shift


@dataclass
class _Kept:
    """A dialog and the files that it was opened with."""

    dialog: ToolDialog
    paths: list[Path]


class ToolBench(QObject):
    """Acts on what is chosen in the library.

    Signals:
        made(Path, bool): a new file, and whether it is a model rather than a LoRA.
        useWanted(Path, bool): the user wants to work with it.
    """

    made = Signal(object, bool)
    useWanted = Signal(object, bool)

    def __init__(self, owner: QWidget, loader: PictureLoader) -> None:
        """owner: the page; the keys work inside it and the dialogs block its window."""
        super().__init__(owner)
        self._owner, self._loader = owner, loader
        self._chosen: list[Entry] = []
        self._known: list[Entry] = []
        self._kept: dict[str, _Kept] = {}
        self.actions = {kind: self._action(kind) for kind in TOOLS}
        self.choose([])

    def _action(self, kind: str) -> QAction:
        action = QAction(self)
        action.setObjectName(f"tool_open_{kind}")
        action.setShortcut(QKeySequence(f"Ctrl+Shift+{_KEYS[kind]}"))
        action.setShortcutContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        action.triggered.connect(lambda: self.open(kind))
        self._owner.addAction(action)
        return action

    def know(self, entries: Sequence[Entry]) -> None:
        """What the library lists."""
        self._known = _loras(entries)

    def choose(self, entries: Sequence[Entry]) -> None:
        """What is chosen now; it decides what the menu offers."""
        self._chosen = _loras(entries)
        several = len(self._chosen) > 1
        texts = {
            "resize": tr("Resize…"), "convert": tr("Convert…"), "merge": tr("Merge…") if several else tr("Merge with another…"),
            "bake": tr("Bake into a model…"), "extract": tr("Extract from two models…"),
        }  # fmt: skip
        for kind, action in self.actions.items():
            action.setText(texts[kind])
        for kind in ("resize", "convert"):
            self.actions[kind].setEnabled(len(self._chosen) == 1)

    def menu(self, parent: QWidget) -> QMenu:
        """A menu of all tools."""
        out = named(QMenu(parent), "tools_menu")
        for kind in TOOLS:
            if kind == "extract":
                out.addSeparator()
            out.addAction(self.actions[kind])
        return out

    def open(self, kind: str) -> ToolDialog:
        """Shows a tool's dialog for what is chosen; the one of before when that was for the same files and not done."""
        paths = [entry.path for entry in self._chosen]
        kept = self._kept.get(kind)
        if kept is None or kept.dialog.is_done or (kept.paths != paths and kind != "extract"):
            if kept is not None:
                kept.dialog.deleteLater()
            kept = self._kept[kind] = _Kept(self._made(kind, paths), paths)
        kept.dialog.open()
        return kept.dialog

    def _made(self, kind: str, paths: list[Path]) -> ToolDialog:
        dialog = ToolDialog(self._form(kind, paths), self._owner)
        is_model = dialog.form.makes_model
        dialog.made.connect(lambda path: self.made.emit(path, is_model))
        dialog.useWanted.connect(lambda path: self.useWanted.emit(path, is_model))
        return dialog

    def _form(self, kind: str, paths: list[Path]) -> ToolForm:
        if kind == "merge":
            return MergeForm(self._loader, self._known, paths)
        if kind == "bake":
            return BakeForm(self._loader, self._known, paths)
        if kind == "extract":
            return ExtractForm()
        return (ResizeForm if kind == "resize" else ConvertForm)(paths[0], self._chosen[0].title)


def _loras(entries: Sequence[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry.kind == "lora" and not entry.problem]
