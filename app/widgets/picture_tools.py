"""Opens the crop editor and the mask painter for what is selected in the grid, by key, button and menu."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Qt
from PySide6.QtGui import QKeySequence, QShortcut

from app.widgets.crop_dialog import CropDialog
from app.widgets.mask_dialog import MaskDialog

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.pictures import Pictures
    from app.project import Project
    from app.widgets.edit_dialog import EditDialog
    from app.widgets.picture_preview import PicturePreview
    from app.widgets.thumbnail_grid import ThumbnailGrid


class PictureTools(QObject):
    """Belongs to the dataset page. With one picture selected, the editors go through all that are shown, else through those."""

    def __init__(
        self,
        project: Project,
        pictures: Pictures,
        grid: ThumbnailGrid,
        preview: PicturePreview,
        save: Callable[[], None],
    ) -> None:
        """save: keeps the caption that is being typed, so that it does not come between the steps of undo."""
        super().__init__(grid)
        self._project, self._pictures, self._grid, self._save = project, pictures, grid, save
        for sender in (grid, preview):
            sender.cropWanted.connect(self.crop)
            sender.maskWanted.connect(self.paint)
        for keys, act in (("C", self.crop), ("Shift+M", self.paint), ("M", preview.toggle_mask)):
            shortcut = QShortcut(QKeySequence(keys), grid, context=Qt.ShortcutContext.WidgetShortcut)
            shortcut.activated.connect(act)

    def crop(self) -> None:
        """Opens the crop editor."""
        self._open(CropDialog)

    def paint(self) -> None:
        """Opens the mask painter."""
        self._open(MaskDialog)

    def _open(self, kind: type[EditDialog]) -> None:
        chosen, model = self._grid.selected(), self._grid.list_model
        if not chosen or not self._pictures.edits.can_edit:
            return
        self._save()
        shown = chosen if len(chosen) > 1 else [model.source_index(row) for row in range(model.rowCount())]
        paths = [self._pictures.items[i].picture.path for i in shown]
        start = self._pictures.items[self._grid.current() if self._grid.current() in chosen else chosen[0]].picture.path
        dialog = kind(self._project, self._pictures, paths, start, self._grid.window())
        if len(chosen) == 1:
            dialog.finished.connect(lambda: self._grid.select([self._pictures.index_of(dialog.path)]))
        dialog.finished.connect(lambda: self._grid.setFocus())
        dialog.open()
