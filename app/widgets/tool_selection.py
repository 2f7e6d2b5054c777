"""The panel beside the library's list while several are chosen: what they are, and what can be done with them together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QLabel, QPushButton, QVBoxLayout, QWidget

from app import theme
from app.texts import counted, size, tr
from app.widgets.elided_label import ElidedLabel
from app.widgets.named import named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.library import Entry
    from app.widgets.tool_bench import ToolBench

NAMED = 12  # names that are listed


class SelectionPanel(QFrame):
    """Merge and bake, for LoRA files; runs are to be exported first."""

    def __init__(self, bench: ToolBench, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        theme.role(named(self, "library_selection"), "card")
        self._title = theme.role(named(QLabel(wordWrap=True), "selection_title"), "heading")
        self._about = theme.role(named(QLabel(wordWrap=True), "selection_about"), "muted")
        self._merge = theme.role(named(QPushButton(tr("Merge…")), "selection_merge"), "primary")
        self._merge.setToolTip(tr("Mixes them into one LoRA"))
        self._bake = named(QPushButton(tr("Bake into a model…")), "selection_bake")
        self._bake.setToolTip(tr("Makes them part of a model for good"))
        self._merge.clicked.connect(bench.actions["merge"].trigger)
        self._bake.clicked.connect(bench.actions["bake"].trigger)
        self._names = QVBoxLayout()
        self._names.setSpacing(theme.space(0.5))
        column = QVBoxLayout(self)
        column.setContentsMargins(theme.space(1.75), theme.space(1.75), theme.space(1.75), theme.space(1.25))
        column.setSpacing(theme.space(1))
        for widget in (self._title, self._about, self._merge, self._bake):
            column.addWidget(widget)
        column.addSpacing(theme.space(1))
        column.addLayout(self._names)
        column.addStretch(1)

    def show_entries(self, entries: Sequence[Entry]) -> None:
        """Shows what is chosen, at least two."""
        loras = [entry for entry in entries if entry.kind == "lora" and not entry.problem]
        if len(loras) == len(entries):
            self._title.setText(counted(len(entries), "LoRA file", "LoRA files"))
            self._about.setText(size(sum(entry.size_bytes for entry in entries)))
        else:
            self._title.setText(tr("{count} chosen", count=len(entries)))
            self._about.setText(tr("Only LoRA files can be merged or baked; export a run's LoRA first."))
        for button in (self._merge, self._bake):
            button.setVisible(bool(loras))
        self._merge.setText(
            tr("Merge {count} LoRAs…", count=len(loras)) if len(loras) > 1 else tr("Merge with another…")
        )
        while (item := self._names.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.hide()
                widget.deleteLater()
        for entry in entries[:NAMED]:
            label = ElidedLabel()
            label.set_whole(entry.title)
            self._names.addWidget(label)
        if len(entries) > NAMED:
            rest = QLabel(tr("and {count} more", count=len(entries) - NAMED), alignment=Qt.AlignmentFlag.AlignLeft)
            self._names.addWidget(theme.role(rest, "muted"))
