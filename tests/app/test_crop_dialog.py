"""The crop editor: dragged with the mouse, moved with keys, and what is kept of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PySide6.QtCore import QPointF, Qt
from PySide6.QtWidgets import QComboBox, QLabel, QPushButton, QToolButton

from app.widgets import crop_geometry as geometry
from app.widgets.crop_dialog import CropDialog
from tests.app.data_sets import folder_fixture, pictures_fixture, project_fixture
from trainer import buckets
from trainer.edits import CENTRE, Edit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytestqt.qtbot import QtBot

    from app.pictures import Pictures
    from app.project import Project

__all__ = ["folder_fixture", "pictures_fixture", "project_fixture"]
WIDE = (1200, 560)


@pytest.fixture(name="wide")
def wide_fixture(folder: Path) -> None:
    """The first picture is twice as wide as high; the second is turned by its EXIF data."""
    Image.effect_noise(WIDE, 60).convert("RGB").save(folder / "01.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    (folder / "02.png").unlink()
    Image.new("RGB", (300, 200), "#407060").save(folder / "02.jpg", exif=turned)


@pytest.fixture(name="dialog")
def dialog_fixture(wide: None, project: Project, pictures: Pictures, qtbot: QtBot) -> Iterator[CropDialog]:
    paths = [item.picture.path for item in pictures.items]
    out = CropDialog(project, pictures, paths, paths[0])
    out.resize(900, 700)
    with qtbot.waitExposed(out):
        out.open()
    qtbot.waitUntil(lambda: out.is_loaded)
    yield out
    out.close()


def drag(dialog: CropDialog, qtbot: QtBot, start: tuple[float, float], end: tuple[float, float]) -> None:
    """With the mouse, in px of the picture."""
    view = dialog.view
    a, b = view.to_screen(start), view.to_screen(end)
    qtbot.mousePress(view, Qt.MouseButton.LeftButton, pos=a.toPoint())
    for part in (0.3, 0.7, 1):
        qtbot.mouseMove(view, (a + (b - a) * part).toPoint())
    qtbot.mouseRelease(view, Qt.MouseButton.LeftButton, pos=b.toPoint())


def kept(project: Project, pictures: Pictures) -> dict[str, dict[str, object]]:
    """What is on disk."""
    assert pictures.finish_writing(10)
    path = project.folder / "edits" / "edits.json"
    return json.loads(path.read_text(encoding="utf-8"))["pictures"] if path.exists() else {}


def near(box: object, wanted: tuple[int, ...], px: int = 3) -> bool:
    """Mouse places are whole px of the screen."""
    assert isinstance(box, (tuple, list)), box
    return all(abs(a - b) <= px for a, b in zip(box, wanted, strict=True))


def text(dialog: CropDialog) -> str:
    label = dialog.findChild(QLabel, "crop_as_trained")
    assert label is not None
    return label.text().replace("\xa0", " ")


def test_a_dragged_rectangle_is_kept_at_once_and_the_picture_stays_as_it_is(
    dialog: CropDialog, project: Project, pictures: Pictures, folder: Path, qtbot: QtBot
) -> None:
    before = (folder / "01.png").read_bytes()
    assert text(dialog).startswith("Trained at 184 × 88 px. 3 % is cut away to fit that size.")
    drag(dialog, qtbot, (200, 100), (800, 500))
    assert near(dialog.view.box, (200, 100, 800, 500))
    found = kept(project, pictures)["01.png"]
    assert (found["size"], found["mask"], near(found["box"], (200, 100, 800, 500))) == ([*WIDE], "", True)
    assert pictures.items[0].picture.box == dialog.view.box
    assert pictures.fit(0).box == dialog.view.box and pictures.items[0].is_cropped
    assert project.value("edits") == str(project.folder / "edits")
    assert (folder / "01.png").read_bytes() == before


def test_handles_edges_and_the_inside_reshape_and_move(dialog: CropDialog, qtbot: QtBot) -> None:
    drag(dialog, qtbot, (200, 100), (800, 500))
    drag(dialog, qtbot, (800, 500), (900, 560))
    assert near(dialog.view.box, (200, 100, 900, 560))
    drag(dialog, qtbot, (200, 200), (300, 400))  # the left edge, wherever it is held
    assert near(dialog.view.box, (300, 100, 900, 560))
    drag(dialog, qtbot, (400, 200), (450, 160))  # inside
    assert near(dialog.view.box, (350, 60, 950, 520))
    drag(dialog, qtbot, (400, 200), (-900, -900))  # as far as the picture goes
    assert near(dialog.view.box, (0, 0, 600, 460))
    drag(dialog, qtbot, (900, 100), (1100, 500))  # outside begins a new one
    assert near(dialog.view.box, (900, 100, 1100, 500))


def test_a_shape_is_kept_while_dragging_and_is_exact(dialog: CropDialog, qtbot: QtBot) -> None:
    shape = dialog.findChild(QComboBox, "crop_shape")
    assert shape is not None
    titles = [shape.itemText(i) for i in range(shape.count())]
    assert titles[:2] == ["Free", "1 : 1"] and "160 × 96" in titles, titles
    qtbot.keyClicks(shape, "1 : 1")
    shape.activated.emit(shape.currentIndex())
    assert dialog.view.box == (320, 0, 880, 560)
    assert "Trained at 128 × 128 px. 53 % of the picture is cut away. It is made smaller" in text(dialog)
    drag(dialog, qtbot, (880, 560), (700, 300))
    left, top, right, bottom = dialog.view.box or (0, 0, 0, 0)
    assert right - left == bottom - top and near((left, top, right, bottom), (320, 0, 700, 380))
    drag(dialog, qtbot, (100, 100), (250, 400))
    left, top, right, bottom = dialog.view.box or (0, 0, 0, 0)
    assert right - left == bottom - top == pytest.approx(300, abs=4)


def test_arrow_keys_move_by_a_pixel_and_are_one_step_of_undo(
    dialog: CropDialog, pictures: Pictures, qtbot: QtBot
) -> None:
    drag(dialog, qtbot, (200, 100), (800, 500))
    start = dialog.view.box or (0, 0, 0, 0)
    with qtbot.waitSignal(dialog.view.settled):
        for _ in range(3):
            qtbot.keyClick(dialog.view, Qt.Key.Key_Right)
        qtbot.keyClick(dialog.view, Qt.Key.Key_Down, Qt.KeyboardModifier.ShiftModifier)
        qtbot.keyClick(dialog.view, Qt.Key.Key_Right, Qt.KeyboardModifier.ControlModifier)
    assert dialog.view.box == (start[0] + 3, start[1] + 10, start[2] + 4, start[3] + 10)
    assert pictures.items[0].picture.box == dialog.view.box
    qtbot.keyClick(dialog, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert pictures.items[0].picture.box == dialog.view.box == start
    qtbot.keyClick(dialog, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert dialog.view.box is None is pictures.items[0].picture.box
    qtbot.keyClick(dialog, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)  # nothing more was done here
    undo, redo = (dialog.findChild(QToolButton, f"edit_{name}") for name in ("undo", "redo"))
    assert undo is not None and redo is not None and not undo.isEnabled()
    qtbot.mouseClick(redo, Qt.MouseButton.LeftButton)
    assert dialog.view.box == start == pictures.items[0].picture.box


def test_the_focus_is_dragged_and_moves_what_training_sees(
    dialog: CropDialog, project: Project, pictures: Pictures, qtbot: QtBot
) -> None:
    middle = pictures.fit(0).corner
    drag(dialog, qtbot, (600, 280), (1100, 280))
    assert dialog.view.focus == (pytest.approx(11 / 12, abs=0.01), pytest.approx(0.5, abs=0.01))
    assert dialog.view.box is None and pictures.fit(0).corner[0] > middle[0]
    seen = geometry.seen(pictures.fit(0), WIDE)
    assert seen[2] == pytest.approx(1200, abs=1)
    assert kept(project, pictures)["01.png"]["box"] is None
    qtbot.keyClick(dialog, Qt.Key.Key_F)
    assert dialog.view.focus == CENTRE and kept(project, pictures) == {}
    assert project.value("edits") == "", "no edit is left"
    qtbot.mouseDClick(dialog.view, Qt.MouseButton.LeftButton, pos=dialog.view.to_screen((300, 100)).toPoint())
    assert near([round(v * 100) for v in dialog.view.focus], (25, 17), 1)


def test_the_next_picture_comes_without_closing_and_a_turned_one_is_upright(
    dialog: CropDialog, project: Project, pictures: Pictures, qtbot: QtBot
) -> None:
    drag(dialog, qtbot, (200, 100), (800, 500))
    qtbot.keyClick(dialog.view, Qt.Key.Key_Right)  # not settled yet: kept by going on
    qtbot.keyClick(dialog, Qt.Key.Key_PageDown)
    qtbot.waitUntil(lambda: dialog.is_loaded)
    assert (dialog.path.name, dialog.view.box) == ("02.jpg", None)
    assert near(pictures.items[0].picture.box, (201, 100, 801, 500))
    drag(dialog, qtbot, (20, 150), (180, 280))
    assert kept(project, pictures)["02.jpg"]["size"] == [200, 300]
    qtbot.keyClick(dialog, Qt.Key.Key_PageUp)
    qtbot.waitUntil(lambda: dialog.is_loaded)
    assert dialog.view.box == pictures.items[0].picture.box
    qtbot.keyClick(dialog, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)  # leads back to the other picture
    qtbot.waitUntil(lambda: dialog.is_loaded and dialog.path.name == "02.jpg")
    assert dialog.view.box is None
    assert dialog.findChild(QLabel, "edited_place").text() == "2 of 16"  # type: ignore[union-attr]


def test_the_whole_picture_again_and_enlargement_is_said(
    dialog: CropDialog, project: Project, pictures: Pictures, qtbot: QtBot
) -> None:
    drag(dialog, qtbot, (200, 100), (260, 160))
    assert "enlarged 2.2 times" in text(dialog) and "looks soft" in text(dialog), text(dialog)
    reset = dialog.findChild(QPushButton, "crop_reset")
    assert reset is not None
    qtbot.mouseClick(reset, Qt.MouseButton.LeftButton)
    assert dialog.view.box is None and "soft" not in text(dialog) and not reset.isEnabled()
    assert kept(project, pictures) == {}


def test_a_picture_that_is_gone_is_told_in_a_sentence(
    dialog: CropDialog, pictures: Pictures, folder: Path, qtbot: QtBot
) -> None:
    (folder / "03.png").write_bytes(b"no picture")
    dialog.show_path(folder / "03.png")
    qtbot.waitUntil(lambda: "cannot be read" in dialog.view._words)
    drag(dialog, qtbot, (0, 0), (1, 1))
    dialog.keep()
    assert not dialog.is_loaded and pictures.edits.of(2) == Edit((128, 128))


@given(
    st.tuples(*[st.floats(-50, 350)] * 4), st.tuples(st.sampled_from([-1, 0, 1]), st.sampled_from([-1, 0, 1])),
    st.sampled_from([None, 1.0, 0.5, 1.7]),
)  # fmt: skip
def test_a_dragged_rectangle_never_leaves_the_picture(
    values: tuple[float, ...], handle: tuple[int, int], ratio: float | None
) -> None:
    if handle == (0, 0):
        return
    size = (300, 200)
    x, y = min(max(values[0], 0), 200.0), min(max(values[1], 0), 100.0)
    box = (
        (x, y, x + 100, y + 100 / (ratio or 1)) if not ratio or y + 100 / ratio <= 200 else (x, 0.0, x + 50, 50 / ratio)
    )
    new = geometry.dragged(box, handle, (values[2], values[3]), size, ratio)
    left, top, right, bottom = geometry.rounded(new, size)
    assert 0 <= left < right <= 300 and 0 <= top < bottom <= 200
    if ratio:
        assert (new[2] - new[0]) / (new[3] - new[1]) == pytest.approx(ratio)


def test_what_is_seen_of_a_crop_lies_in_it() -> None:
    """A 400 x 400 crop at (100, 50), trained at 128 x 64 with the focus at its lower edge: the lowest half of it."""
    box = (100, 50, 500, 450)
    fit = replace(buckets.fit(400, 400, buckets.Rules(128), (0.5, 1.0)), box=box)
    assert geometry.seen(fit, (900, 900)) == (100, 50, 500, 450)
    tall = replace(buckets.fit(400, 800, buckets.Rules(128, enabled=False), (0.5, 1.0)), box=(100, 0, 500, 800))
    assert geometry.seen(tall, (900, 900)) == (100, 400, 500, 800)
    assert QPointF(*geometry.of_ratio((0, 0, 400, 300), 1.0, (0, 0))[:2]) == QPointF(0, 0)
