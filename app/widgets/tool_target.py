"""Where a LoRA tool's new file goes: a name and a folder, proposed until the user says otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, Signal
from PySide6.QtWidgets import QFileDialog, QFrame, QHBoxLayout, QLabel, QLineEdit, QToolButton, QVBoxLayout, QWidget

from app import theme
from app.export_command import ENDING, file_for
from app.texts import tr
from app.widgets.elided_label import ElidedLabel
from app.widgets.named import named

if TYPE_CHECKING:
    from app.widgets.tool_form import Proposal


class Target(QWidget):
    """The name to type, the folder to choose, and the file that comes of them.

    Signals:
        folderChosen: the user chose another folder.
    """

    folderChosen = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._proposal: Proposal | None = None
        self._folder: Path | None = None  # as the user chose it
        self.name = named(QLineEdit(maxLength=120), "tool_name", spoken=tr("Name of the new file"))
        self.name.textEdited.connect(lambda text: self.name.setModified(bool(text)))
        self.name.textChanged.connect(self._show_place)
        self._where = theme.role(named(ElidedLabel(), "tool_where"), "muted")
        self._choose = named(
            QToolButton(), "tool_folder", spoken=tr("Choose another folder"), tip=tr("Choose another folder")
        )
        self._choose.clicked.connect(self._on_choose)
        caption = QLabel(tr("Name of the new file"))
        caption.setBuddy(self.name)
        where = QHBoxLayout()
        where.addWidget(self._where, 1)
        where.addWidget(self._choose)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.space(0.5))
        column.addWidget(theme.role(QFrame(), "line"))
        column.addSpacing(theme.space(0.5))
        column.addWidget(caption)
        column.addWidget(self.name)
        column.addLayout(where)
        self._restyle()

    @property
    def title(self) -> str:
        """The name without an ending, as people read it."""
        return self.name.text().strip().removesuffix(ENDING).strip() or (self._proposal.name if self._proposal else "")

    @property
    def path(self) -> Path:
        """The file that will be written."""
        return file_for(self._in(), self.title)

    def propose(self, proposal: Proposal) -> None:
        """Shows a name that is free, and its folder, where the user has not said otherwise."""
        same = proposal == self._proposal
        self._proposal = proposal
        if not self.name.isModified() and not (same and self.name.text()):
            self._set_name(proposal.name)
        self._show_place()

    def propose_again(self) -> None:
        """Forgets the name that was typed; the proposed one may be taken by now."""
        self.name.setModified(False)
        if self._proposal is not None:
            self._set_name(self._proposal.name)

    def changeEvent(self, event: QEvent) -> None:
        """Renews the icon in the theme's colours."""
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "_choose"):
            self._restyle()
        super().changeEvent(event)

    def _restyle(self) -> None:
        self._choose.setIcon(theme.icon("folder"))

    def _set_name(self, name: str) -> None:
        self.name.setText(_free(self._in(), name))
        self.name.setCursorPosition(0)  # the beginning of a long name is what one knows it by

    def _in(self) -> Path:
        return self._folder or (self._proposal.folder if self._proposal else Path.home())

    def _show_place(self) -> None:
        self._where.set_whole(str(self.path))

    def _on_choose(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, tr("Choose a folder for the new file"), str(self._in()))
        if chosen:
            self._folder = Path(chosen)
            if not self.name.isModified():
                self.propose_again()
            self._show_place()
            self.folderChosen.emit()


def _free(folder: Path, name: str) -> str:
    """The name, with a number when there is such a file already."""
    out, number = name, 1
    while file_for(folder, out).exists() and number < 1000:
        number += 1
        out = f"{name} {number}"
    return out
