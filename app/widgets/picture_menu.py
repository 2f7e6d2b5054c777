"""The context menu of pictures: crop, mask, leave out, take in, open, show in the file manager."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from PySide6.QtCore import QProcess, QUrl, Signal
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QMenu

from app import theme
from app.texts import counted, tr
from trainer.edits import CENTRE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from PySide6.QtWidgets import QWidget

    from app.pictures import Pictures


class PictureMenu(QMenu):
    """What can be done with some pictures; gone when it closes.

    Signals:
        cropWanted, maskWanted: open the editor.
    """

    cropWanted = Signal()
    maskWanted = Signal()

    def __init__(self, pictures: Pictures, indexes: list[int], parent: QWidget | None = None) -> None:
        """indexes: places in `Pictures.items`, at least one; opening takes the first."""
        super().__init__(parent)
        self.setObjectName("picture_menu")
        self.aboutToHide.connect(self.deleteLater)
        items = [pictures.items[i] for i in indexes]
        path = items[0].picture.path
        count = counted(len(items), "picture", "pictures")
        if any(item.included for item in items):
            action = self.addAction(theme.icon("eye_off"), tr("Leave {count} out of training", count=count))
            action.setObjectName("leave_out")
            action.triggered.connect(lambda: pictures.set_included(indexes, False))
        if not all(item.included for item in items):
            action = self.addAction(theme.icon("plus"), tr("Take {count} in again", count=count))
            action.setObjectName("take_in")
            action.triggered.connect(lambda: pictures.set_included(indexes, True))
        self.addSeparator()
        self._add_edits(pictures, indexes)
        self.addSeparator()
        action = self.addAction(theme.icon("picture"), tr("Open the picture"))
        action.setObjectName("open_picture")
        action.triggered.connect(lambda: open_picture(path))
        action = self.addAction(theme.icon("folder"), tr("Show in its folder"))
        action.setObjectName("show_in_folder")
        action.triggered.connect(lambda: show_in_folder(path))

    def _add_edits(self, pictures: Pictures, indexes: list[int]) -> None:
        edits, several = pictures.edits, len(indexes) > 1
        cropped = [i for i in indexes if edits.of(i).box is not None or edits.of(i).focus != CENTRE]
        off_centre = [i for i in indexes if edits.of(i).focus != CENTRE]
        masked = [i for i in indexes if edits.of(i).mask]
        entries: list[tuple[str, str, str, Callable[[], object], bool]] = [
            ("crop", "crop", tr("Crop…"), self.cropWanted.emit, True),
            ("mask", "brush", tr("Mask…"), self.maskWanted.emit, True),
            ("reset_crops", "reset", tr("Reset {count}", count=counted(len(cropped), "crop", "crops")),
             lambda: edits.reset_crops(cropped), bool(cropped)),
            ("centre_focus", "target", tr("Put the focus in the middle"), lambda: edits.centre_focus(off_centre), bool(off_centre)),
            ("remove_masks", "trash", tr("Remove {count}", count=counted(len(masked), "painted mask", "painted masks")),
             lambda: edits.remove_masks(masked), bool(masked)),
        ]  # fmt: skip
        for name, icon, text, act, wanted in entries:
            if wanted:
                action = self.addAction(theme.icon(icon), text)
                action.setObjectName(name)
                action.triggered.connect(act)
                action.setEnabled(edits.can_edit)
                if name in ("crop", "mask") and several:
                    action.setToolTip(tr("One after the other, these pictures only"))


def open_picture(path: Path) -> None:
    """Opens the picture in the program that the system has for it."""
    QDesktopServices.openUrl(QUrl.fromLocalFile(str(path)))


def show_in_folder(path: Path) -> None:
    """Shows the file in the system's file manager; where that cannot mark it, the folder."""
    if sys.platform == "win32":
        QProcess.startDetached("explorer.exe", [f"/select,{path}"])
    elif sys.platform == "darwin":
        QProcess.startDetached("open", ["-R", str(path)])
    else:
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(path.parent)))
