"""The mask painter: which parts of each picture are trained, kept beside the project; the pictures stay as they are."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from PySide6.QtCore import QEvent
from PySide6.QtWidgets import QFileDialog, QWidget

from app.background import Background
from app.texts import tr
from app.widgets.edit_dialog import EditDialog, Loaded, load
from app.widgets.mask_canvas import MaskCanvas
from app.widgets.mask_paint import MaskPaint
from app.widgets.mask_tools import MaskTools
from app.widgets.note import Note
from trainer import pixels
from trainer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from app.pictures import Pictures
    from app.project import Project
    from app.widgets.mask_paint import Values

MASKS_REMEMBERED = 8  # that may still be on their way to the disk when their picture is shown again


@dataclass(frozen=True)
class _Start:
    """What painting begins with. values: the mask, as large as the picture that is shown; problem: why it is none."""

    values: Values
    has_alpha: bool
    problem: str = ""


@dataclass(frozen=True)
class _Taken:
    """A mask from elsewhere. paint: what it is for; values: None when it cannot be read, as problem says."""

    paint: MaskPaint
    values: Values | None
    problem: str = ""


class MaskDialog(EditDialog):
    """Paints the mask of one picture after the other; it is kept when another is shown and when the window closes.

    Attributes:
        canvas: the picture with its mask.
        tools: what is beside it.
    """

    def __init__(
        self, project: Project, pictures: Pictures, paths: Sequence[Path], start: Path, parent: QWidget | None = None
    ) -> None:
        """As `EditDialog`."""
        super().__init__(project, pictures, paths, start, parent)
        self.setObjectName("mask_dialog")
        self.setWindowTitle(tr("Mask"))
        self._remembered: OrderedDict[Path, Values] = OrderedDict()
        self._taker = Background("read a mask")
        self._taker.done.connect(self._on_taken)
        self.canvas = MaskCanvas()
        self.tools = MaskTools(self.canvas)
        self._note = Note("mask_note")
        self._problem = Note("mask_problem", "warning")
        self.head.addWidget(
            self.tool(
                "mask_fit",
                "fit",
                tr("The whole picture  (0). Ctrl and the wheel zoom, Space drags."),
                self.canvas.fit_in,
            )
        )
        self.foot.addStretch(1)
        row = self.tools.beside(self.canvas)
        for part in (self._problem, self._note):
            self.column.addWidget(part)
        self.column.addLayout(row, 1)
        self._connect()
        self.show_path(start)
        self.canvas.setFocus()

    def _connect(self) -> None:
        self.canvas.painted.connect(self._on_painted)
        self.tools.alphaWanted.connect(self._on_alpha)
        self.tools.fileWanted.connect(self._on_file)
        for keys, act in (
            ("B", lambda: self.tools.choose("brush")), ("E", lambda: self.tools.choose("eraser")),
            ("G", lambda: self.tools.choose("fill")), ("[", lambda: self.canvas.grow(-1)), ("]", lambda: self.canvas.grow(1)),
            ("I", self.tools.invert), ("0", self.canvas.fit_in), ("Ctrl++", lambda: self.canvas.zoom_by(1.25)),
            ("Ctrl+=", lambda: self.canvas.zoom_by(1.25)), ("Ctrl+-", lambda: self.canvas.zoom_by(0.8)),
        ):  # fmt: skip
            self.on_key(keys, act)

    # ---- what an EditDialog asks for

    def work(self, index: int) -> Callable[[], Loaded]:
        """The picture and the mask it has, or that is still on its way to the disk."""
        picture, background = self._pictures.items[index].picture, str(self._project.value("background"))
        path, file, remembered = picture.path, picture.mask, self._remembered.get(picture.path)
        return lambda: _load(path, background, file, remembered)

    def clear(self) -> None:
        """Nothing yet."""
        self.canvas.show_picture(None, None)
        self._problem.say("")
        self._refresh()

    def show_loaded(self, loaded: Loaded) -> None:
        """The picture under its mask."""
        if isinstance(loaded.extra, _Start):
            self.canvas.show_picture(loaded.image, MaskPaint(loaded.extra.values))
            self.tools.has_alpha = loaded.extra.has_alpha
            self._problem.say(loaded.extra.problem)
        else:
            self.canvas.show_picture(None, None, loaded.problem)
        self._refresh()

    def keep(self) -> None:
        """Keeps the mask, if it was painted on; one that leaves nothing out is none, unless it hides a file's."""
        paint = self.canvas.paint
        if paint is None or not paint.is_changed:
            return
        paint.mark_kept()
        item, size = self._pictures.items[self.index], self._pictures.edits.of(self.index).size
        values = paint.values.copy()
        self._remembered[self.path] = values
        self._remembered.move_to_end(self.path)
        while len(self._remembered) > MASKS_REMEMBERED:
            self._remembered.popitem(last=False)
        is_none = paint.is_blank and (item.plain or item.picture).mask is None
        self._pictures.edits.paint(self.index, None if is_none else lambda: _full(values, size))

    def undo(self) -> None:
        """Takes the last stroke back."""
        if self.canvas.paint is not None:
            self.canvas.refresh(self.canvas.paint.undo())
            self._refresh()

    def redo(self) -> None:
        """Paints it again."""
        if self.canvas.paint is not None:
            self.canvas.refresh(self.canvas.paint.redo())
            self._refresh()

    # ---- what the user does

    def _on_painted(self) -> None:
        self._problem.say("")
        if self._project.value("masked_loss") is not True:
            self._note.say(
                tr("Masks count only in masked training, which is off."), tr("Switch it on"), self._on_masked_training
            )
        self._refresh()

    def _on_masked_training(self) -> None:
        self._project.set("masked_loss", True)
        self.canvas.setFocus()

    def _on_alpha(self) -> None:
        if self.canvas.paint is not None:
            paint, path = self.canvas.paint, self.path
            self._taker.run(lambda: _take(paint, path, None))

    def _on_file(self) -> None:
        patterns = " ".join(f"*{suffix}" for suffix in pixels.supported_suffixes())
        title, kinds = tr("A mask: white is trained"), tr("Pictures ({patterns})", patterns=patterns)
        name, _ = QFileDialog.getOpenFileName(self, title, str(self.path.parent), kinds)
        if name and self.canvas.paint is not None:
            paint, path = self.canvas.paint, self.path
            self._taker.run(lambda: _take(paint, path, Path(name)))

    def _on_taken(self, taken: _Taken) -> None:
        if taken.paint is not self.canvas.paint:
            return
        if taken.values is None:
            self._problem.say(taken.problem)
            return
        taken.paint.replace(taken.values)
        self.canvas.refresh()
        self._on_painted()

    def _refresh(self) -> None:
        paint = self.canvas.paint
        self.tools.refresh()
        self._undo.setEnabled(paint is not None and paint.can_undo)
        self._redo.setEnabled(paint is not None and paint.can_redo)

    def changeEvent(self, event: QEvent) -> None:
        """Renews the icons in the theme's colours."""
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "tools"):
            self.tools.restyle()
        super().changeEvent(event)


def _load(path: Path, background: str, file: Path | None, remembered: Values | None) -> Loaded:
    loaded, picture = load(path, background)
    if picture is None:
        return loaded
    size, problem = picture.size, ""
    values = np.full((size[1], size[0]), 255, np.uint8)
    if remembered is not None and remembered.shape == values.shape:
        values = remembered.copy()
    elif file is not None:
        try:
            values = _shrunk(pixels.mask(path, file, alpha=False), size)
        except DataError as error:
            problem = str(error)
    return replace(loaded, extra=_Start(values, pixels.has_alpha(path), problem))


def _take(paint: MaskPaint, path: Path, file: Path | None) -> _Taken:
    """The mask in a file or, without one, in the picture's transparency."""
    _, _, width, height = paint.whole
    try:
        return _Taken(paint, _shrunk(pixels.mask(path, file, alpha=file is None), (width, height)))
    except DataError as error:
        return _Taken(paint, None, str(error))


def _shrunk(mask: Image.Image | None, size: tuple[int, int]) -> Values:
    """A mask in the size in which it is painted on."""
    if mask is None:
        return np.full((size[1], size[0]), 255, np.uint8)
    return np.array(mask if mask.size == size else mask.resize(size, Image.Resampling.BOX), np.uint8)


def _full(values: Values, size: tuple[int, int]) -> Image.Image:
    """A mask in its picture's size."""
    mask = Image.fromarray(values)
    return mask if mask.size == size else mask.resize(size, Image.Resampling.BILINEAR)
