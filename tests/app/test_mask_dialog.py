"""The mask painter: strokes, fills, undo, what is kept, and the offer to train with masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import QApplication, QFileDialog, QPushButton, QSlider, QToolButton
from shiboken6 import isValid

from app.widgets.mask_dialog import MaskDialog
from app.widgets.mask_paint import MaskPaint, similar
from app.widgets.note import Note
from tests.app.data_sets import folder_fixture, pictures_fixture, project_fixture
from trainer import edits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from pytestqt.qtbot import QtBot

    from app.pictures import Pictures
    from app.project import Project

__all__ = ["folder_fixture", "pictures_fixture", "project_fixture"]
LEFT, RIGHT = Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton


@pytest.fixture(name="drawn")
def drawn_fixture(folder: Path) -> None:
    """A picture of two halves, one with transparency, one with a mask beside it."""
    halves = Image.new("RGB", (400, 300), "#204080")
    halves.paste("#e0c080", (200, 0, 400, 300))
    halves.save(folder / "01.png")
    clear = Image.new("RGBA", (100, 100), "#ff0000ff")
    clear.paste((0, 0, 0, 0), (0, 0, 50, 100))
    clear.save(folder / "02.png")
    beside = Image.new("L", (128, 128), 0)
    beside.paste(255, (0, 0, 128, 64))
    beside.save(folder / "03-mask.png")


@pytest.fixture(name="dialog")
def dialog_fixture(drawn: None, project: Project, pictures: Pictures, qtbot: QtBot) -> Iterator[MaskDialog]:
    paths = [item.picture.path for item in pictures.items]
    out = MaskDialog(project, pictures, paths, paths[0])
    out.resize(900, 700)
    with qtbot.waitExposed(out):
        out.open()
    qtbot.waitUntil(lambda: out.is_loaded)
    out.canvas.softness = 0
    yield out
    if isValid(out):  # closing deletes it
        out.close()
    assert pictures.finish_writing(10)


def screen(dialog: MaskDialog, at: tuple[float, float]) -> QPoint:
    return dialog.canvas._to_screen(QPointF(*at)).toPoint()


def stroke(
    dialog: MaskDialog,
    qtbot: QtBot,
    start: tuple[float, float],
    end: tuple[float, float],
    button: Qt.MouseButton = LEFT,
) -> None:
    """With the mouse, in px of the picture."""
    canvas = dialog.canvas
    qtbot.mousePress(canvas, button, pos=screen(dialog, start))
    qtbot.mouseMove(canvas, screen(dialog, end))
    qtbot.mouseRelease(canvas, button, pos=screen(dialog, end))


def click(dialog: MaskDialog, qtbot: QtBot, name: str) -> None:
    button = dialog.findChild(QPushButton, name) or dialog.findChild(QToolButton, name)
    assert button is not None and button.isEnabled(), name
    qtbot.mouseClick(button, LEFT)


def values(dialog: MaskDialog) -> NDArray[np.uint8]:
    assert dialog.canvas.paint is not None
    return dialog.canvas.paint.values


def mask(pictures: Pictures, index: int) -> NDArray[np.uint8] | None:
    """As it is on disk."""
    assert pictures.finish_writing(10)
    path = pictures.items[index].picture.mask
    return None if path is None else np.asarray(Image.open(path))


def test_the_first_stroke_leaves_the_rest_out_and_is_kept_on_closing(
    dialog: MaskDialog, project: Project, pictures: Pictures, qtbot: QtBot
) -> None:
    stroke(dialog, qtbot, (100, 150), (300, 150))
    assert (values(dialog)[150, 100:300] == 255).all() and values(dialog)[10, 10] == 0
    assert dialog.canvas._veil[10, 10] >> 24 == 255 and dialog.canvas._veil[150, 200] == 0, (
        "red where it is not trained"
    )
    dialog.close()
    kept = mask(pictures, 0)
    assert kept is not None and kept.shape == (300, 400) and kept[150, 200] == 255 and kept[290, 390] == 0
    assert edits.read(project.folder / "edits").pictures["01.png"].mask
    assert project.value("edits") == str(project.folder / "edits")
    assert pictures.undo_text == "Mask of 01.png"
    pictures.undo()
    assert mask(pictures, 0) is None and project.value("edits") == ""
    pictures.redo()
    again = mask(pictures, 0)
    assert again is not None and (again == kept).all(), "the file is there for redo"


def test_the_eraser_first_leaves_out_only_what_it_touches(dialog: MaskDialog, qtbot: QtBot) -> None:
    qtbot.keyClick(dialog, Qt.Key.Key_E)
    stroke(dialog, qtbot, (100, 150), (300, 150))
    assert values(dialog)[150, 200] == 0 and values(dialog)[10, 10] == 255
    stroke(dialog, qtbot, (100, 150), (300, 150), RIGHT)  # the right button does the opposite
    assert values(dialog)[150, 200] == 255
    qtbot.keyClick(dialog, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert values(dialog)[150, 200] == 0
    click(dialog, qtbot, "edit_undo")
    assert (values(dialog) == 255).all()
    click(dialog, qtbot, "edit_redo")
    assert values(dialog)[150, 200] == 0


def test_a_soft_edge_fades(dialog: MaskDialog, qtbot: QtBot) -> None:
    soft = dialog.findChild(QSlider, "mask_softness")
    size = dialog.findChild(QSlider, "mask_size")
    assert soft is not None and size is not None
    soft.setValue(100)
    size.setValue(200)
    stroke(dialog, qtbot, (200, 150), (200, 150))
    column = values(dialog)[150, 200:330].astype(int)
    assert column[0] == 255 and (np.diff(column) <= 0).all() and len(set(column)) > 20 and column[-1] == 0


def test_fill_takes_the_area_of_similar_colour(dialog: MaskDialog, qtbot: QtBot) -> None:
    qtbot.keyClick(dialog, Qt.Key.Key_G)
    with qtbot.waitSignal(dialog.canvas.painted):
        qtbot.mouseClick(dialog.canvas, LEFT, pos=screen(dialog, (50, 50)))
    assert (values(dialog)[:, :200] == 255).all() and (values(dialog)[:, 200:] == 0).all()
    with qtbot.waitSignal(dialog.canvas.painted):
        qtbot.mouseClick(dialog.canvas, RIGHT, pos=screen(dialog, (50, 50)))
    assert (values(dialog) == 0).all()
    click(dialog, qtbot, "mask_invert")
    assert (values(dialog) == 255).all()
    click(dialog, qtbot, "edit_undo")
    click(dialog, qtbot, "mask_clear")
    assert (values(dialog) == 255).all()


def test_keys_and_the_wheel_change_the_brush_and_ctrl_zooms(dialog: MaskDialog, qtbot: QtBot) -> None:
    before = dialog.canvas.brush_px
    qtbot.keyClick(dialog, Qt.Key.Key_BracketRight)
    assert dialog.canvas.brush_px > before
    assert dialog.findChild(QSlider, "mask_size").value() == dialog.canvas.brush_px  # type: ignore[union-attr]
    wheel(dialog, 120)
    larger = dialog.canvas.brush_px
    wheel(dialog, -120)
    assert dialog.canvas.brush_px < larger
    fixed = dialog.canvas._to_picture(QPointF(200, 200))
    wheel(dialog, 240, Qt.KeyboardModifier.ControlModifier)
    assert dialog.canvas.zoom > 1
    still = dialog.canvas._to_picture(QPointF(200, 200))
    assert (still - fixed).manhattanLength() < 3
    qtbot.keyPress(dialog.canvas, Qt.Key.Key_Space)
    stroke(dialog, qtbot, (150, 150), (250, 150))
    qtbot.keyRelease(dialog.canvas, Qt.Key.Key_Space)
    assert (values(dialog) == 255).all(), "it was panned, not painted"
    assert dialog.canvas._to_picture(QPointF(200, 200)) != still
    qtbot.keyClick(dialog, Qt.Key.Key_0)
    assert dialog.canvas.zoom == 1


def wheel(dialog: MaskDialog, angle: int, modifiers: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier) -> None:
    at = QPointF(200, 200)
    event = QWheelEvent(
        at, at, QPoint(), QPoint(0, angle), Qt.MouseButton.NoButton, modifiers, Qt.ScrollPhase.NoScrollPhase, False
    )
    QApplication.sendEvent(dialog.canvas, event)


def test_transparency_and_files_become_masks(
    dialog: MaskDialog, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alpha = dialog.findChild(QPushButton, "mask_alpha")
    assert alpha is not None and not alpha.isEnabled() and alpha.toolTip() == "This picture has no transparency"
    qtbot.keyClick(dialog, Qt.Key.Key_PageDown)
    qtbot.waitUntil(lambda: dialog.is_loaded)
    with qtbot.waitSignal(dialog._taker.done):
        click(dialog, qtbot, "mask_alpha")
    assert (values(dialog)[:, :50] == 0).all() and (values(dialog)[:, 50:] == 255).all()
    grey = tmp_path / "grey.png"
    Image.new("L", (50, 50), 77).save(grey)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(grey), ""))
    with qtbot.waitSignal(dialog._taker.done):
        click(dialog, qtbot, "mask_file")
    assert (values(dialog) == 77).all()
    grey.write_bytes(b"no picture")
    with qtbot.waitSignal(dialog._taker.done):
        click(dialog, qtbot, "mask_file")
    problem = dialog.findChild(Note, "mask_problem")
    assert problem is not None and problem.isVisible() and "grey.png cannot be read" in problem._text.text()
    assert (values(dialog) == 77).all()


def test_a_mask_beside_the_picture_is_where_it_starts_and_is_never_changed(
    dialog: MaskDialog, pictures: Pictures, folder: Path, qtbot: QtBot
) -> None:
    beside = folder / "03-mask.png"
    before = beside.read_bytes()
    dialog.show_path(folder / "03.png")
    qtbot.waitUntil(lambda: dialog.is_loaded)
    assert (values(dialog)[:60] == 255).all() and (values(dialog)[70:] == 0).all()
    dialog.go(1)
    assert pictures.finish_writing(10) and pictures.items[2].picture.mask == beside, "nothing was painted"
    qtbot.waitUntil(lambda: dialog.is_loaded)
    dialog.go(-1)
    qtbot.waitUntil(lambda: dialog.is_loaded)
    click(dialog, qtbot, "mask_clear")
    dialog.close()
    kept = mask(pictures, 2)
    assert kept is not None and (kept == 255).all(), "a mask that leaves nothing out hides the file's"
    assert beside.read_bytes() == before
    pictures.edits.remove_masks([2])
    assert pictures.items[2].picture.mask == beside


def test_a_mask_on_its_way_to_the_disk_is_shown_when_its_picture_comes_again(
    dialog: MaskDialog, pictures: Pictures, qtbot: QtBot
) -> None:
    stroke(dialog, qtbot, (100, 150), (300, 150))
    painted = values(dialog).copy()
    dialog.go(1)
    dialog.go(-1)
    qtbot.waitUntil(lambda: dialog.is_loaded)
    assert (values(dialog) == painted).all()
    click(dialog, qtbot, "mask_clear")
    dialog.go(1)
    assert mask(pictures, 0) is None, "a mask that leaves nothing out is none"


def test_masked_training_is_offered_once_and_never_switched_on_silently(
    dialog: MaskDialog, project: Project, qtbot: QtBot
) -> None:
    note = dialog.findChild(Note, "mask_note")
    assert note is not None and not note.isVisible()
    stroke(dialog, qtbot, (100, 150), (300, 150))
    assert note.isVisible() and project.value("masked_loss") is False
    click(dialog, qtbot, "mask_note_button")
    assert project.value("masked_loss") is True and not note.isVisible()
    stroke(dialog, qtbot, (100, 200), (300, 200))
    assert not note.isVisible()


def test_what_was_kept_is_known_through_undo() -> None:
    paint = MaskPaint(np.full((20, 30), 255, np.uint8))
    paint.invert()
    assert paint.is_changed
    paint.mark_kept()
    paint.clear()
    paint.undo()
    assert not paint.is_changed
    paint.undo()
    assert paint.is_changed and paint.is_blank
    paint.begin(trains=False)
    paint.stroke((5, 5), (9, 9), 3, 0)
    paint.end()
    assert paint.is_changed and not paint.can_redo
    assert paint.stroke((-90, -90), (-80, -80), 3, 0) == (0, 0, 0, 0), "outside"


def test_a_flood_stops_at_other_colours_and_goes_around_corners() -> None:
    picture = np.zeros((9, 9, 3), np.uint8)
    picture[:, 4] = 200
    picture[8, 4] = 10  # a gap in the wall, within the tolerance
    assert similar(picture, (0, 0), 9).sum() == 36
    found = similar(picture, (0, 0), 10)
    assert found.sum() == 73 and not found[:8, 4].any()
