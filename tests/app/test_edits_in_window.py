"""Crops and masks in the whole window: lists, plan, undo with captions, restart, and a real training with them."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from PySide6.QtCore import QPointF, Qt
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QDialog, QToolButton

from app.pictures import Pictures
from app.widgets.crop_dialog import CropDialog
from app.widgets.mask_dialog import MaskDialog
from app.widgets.picture_menu import PictureMenu
from tests.app.data_sets import folder_fixture, pictures_fixture, project_fixture
from trainer import edits, events, settings_file
from trainer.edits import Edit

if TYPE_CHECKING:
    from pathlib import Path

    from pytestqt.qtbot import QtBot

    from app.main_window import MainWindow
    from app.project import Project

__all__ = ["folder_fixture", "pictures_fixture", "project_fixture"]


def editor(window: MainWindow, qtbot: QtBot) -> CropDialog | MaskDialog:
    out = next(d for d in window.findChildren(QDialog) if d.isVisible())
    assert isinstance(out, CropDialog | MaskDialog)
    qtbot.waitUntil(lambda: out.is_loaded)
    return out


def open_demo(window: MainWindow, qtbot: QtBot) -> None:
    window.do.open_demo()
    window.go("dataset")
    qtbot.waitUntil(lambda: len(window.pictures.items) == 16 and not window.pictures.scanning, timeout=10_000)


def test_undo_goes_through_captions_crops_and_masks_in_their_order(pictures: Pictures) -> None:
    pictures.edits.crop(0, (10, 10, 90, 100))
    pictures.set_captions({0: "another"}, "Caption")
    pictures.edits.crop(0, (10, 10, 90, 100), (0.25, 0.5))
    pictures.edits.paint(1, lambda: Image.new("L", (128, 128), 90))
    assert pictures.finish_writing(10)
    pictures.edits.reset_crops(range(16))
    assert pictures.undo_text == "Reset the crop of 1 picture"
    seen = []
    for _ in range(5):
        pictures.undo()
        item, other = pictures.items[:2]
        focus = item.picture.focus[0] if item.picture.box else None
        seen.append((focus, item.caption == "another", other.picture.mask is not None))
    assert seen == [
        (0.25, True, True), (0.25, True, False), (0.5, True, False), (0.5, False, False), (None, False, False)
    ]  # fmt: skip
    for _ in range(5):
        pictures.redo()
    assert (pictures.items[0].picture.box, pictures.items[0].caption) == (None, "another")
    assert pictures.finish_writing(10) and pictures.items[1].picture.mask is not None
    assert pictures.items[1].picture.mask.is_file()


def test_after_a_restart_all_is_there_and_can_be_undone(
    pictures: Pictures, project: Project, folder: Path, qtbot: QtBot
) -> None:
    pictures.edits.crop(3, (0, 0, 64, 128))
    pictures.edits.paint(4, lambda: Image.new("L", (128, 128), 90))
    assert pictures.finish_writing(10)
    project.save()
    path = project.path
    project.close()
    with qtbot.waitSignal(pictures.scanned, timeout=10_000, check_params_cb=lambda: bool(pictures.items)):
        project.open(path)
    assert pictures.items[3].picture.seen_px == (64, 128) and pictures.items[4].picture.mask is not None
    assert pictures.fit(3).size == (88, 176) and pictures.fit(3).box == (0, 0, 64, 128)
    pictures.undo()
    pictures.undo()
    assert pictures.items[3].picture.box is None is pictures.items[4].picture.mask
    pictures.redo()
    assert pictures.finish_writing(10)
    assert set(edits.read(project.folder / "edits").pictures) == {"04.png"}


def test_a_scan_that_is_under_way_does_not_lose_an_edit(pictures: Pictures, folder: Path, qtbot: QtBot) -> None:
    (folder / "17.txt").write_text("orphan", encoding="utf-8")
    with qtbot.waitSignal(pictures.scanned, timeout=10_000):
        pictures.rescan()
        pictures._on_scan_soon()
        pictures.edits.crop(0, (10, 10, 90, 100))
    assert pictures.items[0].picture.box == (10, 10, 90, 100)


def test_a_picture_of_another_size_is_told_and_not_cropped(pictures: Pictures, folder: Path, qtbot: QtBot) -> None:
    pictures.edits.crop(0, (10, 10, 120, 120))
    Image.new("RGB", (64, 64)).save(folder / "01.png")
    with qtbot.waitSignal(pictures.scanned, timeout=10_000):
        pictures.rescan()
    item = pictures.items[0]
    assert item.picture.box is None and pictures.edits.of(0) == Edit((64, 64))
    assert any("another size than when it was cropped" in p for p in item.problems), item.problems
    pictures.edits.crop(0, (1, 1, 60, 60))
    assert item.picture.box == (1, 1, 60, 60) and not any("another size" in p for p in item.problems)


def test_damaged_edits_are_told_and_never_written_over(project: Project, folder: Path, qtbot: QtBot) -> None:
    path = project.folder / "edits" / "edits.json"
    path.parent.mkdir()
    path.write_text("{", encoding="utf-8")
    pictures = Pictures(project)
    told_before: list[str] = []
    pictures.failed.connect(told_before.append)
    with qtbot.waitSignal(pictures.scanned, timeout=10_000):
        pictures.rescan()
    assert len(pictures.items) == 16 and not pictures.edits.can_edit
    assert any("edits.json is damaged; move it away" in sentence for sentence in told_before), told_before
    with qtbot.waitSignal(pictures.failed) as told:
        pictures.edits.crop(0, (1, 1, 60, 60))
    assert "cannot be changed yet" in told.args[0] and path.read_text(encoding="utf-8") == "{"
    pictures.finish_writing(10)


def test_what_cannot_be_written_is_taken_back_and_told(
    pictures: Pictures, project: Project, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures.edits.crop(0, (1, 1, 60, 60))
    assert pictures.finish_writing(10)
    path = project.folder / "edits" / "edits.json"
    path.unlink()
    path.mkdir()
    with qtbot.waitSignal(pictures.failed) as told:
        pictures.edits.crop(1, (1, 1, 60, 60))
        assert pictures.items[1].picture.box is not None, "shown at once"
    assert "edits.json" in told.args[0]
    qtbot.waitUntil(lambda: pictures.items[1].picture.box is None)
    assert pictures.undo_text == "Crop 01.png"


def test_no_undo_of_settings_takes_the_edits_from_the_training(pictures: Pictures, project: Project) -> None:
    project.set("rank", 7)
    pictures.edits.crop(0, (1, 1, 60, 60))
    where = str(project.folder / "edits")
    project.undo()
    assert (project.value("edits"), project.is_changed("rank")) == (where, False)
    project.redo()
    assert (project.value("edits"), project.value("rank")) == (where, 7)
    pictures.undo()
    assert project.value("edits") == ""


def test_a_project_from_a_run_takes_its_crops_over(
    pictures: Pictures, project: Project, folder: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    kept = edits.Edits(tmp_path / "run" / "edits")
    kept.set("02.png", Edit((128, 128), (0, 0, 100, 100)))
    values = project.values | {"edits": str(kept.folder)}
    with qtbot.waitSignal(pictures.scanned, timeout=10_000, check_params_cb=lambda: bool(pictures.items)):
        project.create("Again", values)
    assert pictures.items[1].picture.box == (0, 0, 100, 100)
    own = project.folder / "edits"
    assert project.value("edits") == str(own)
    pictures.edits.crop(1, None)
    assert pictures.finish_writing(10)
    assert edits.read(own).pictures == {} and len(edits.read(kept.folder).pictures) == 1


def test_the_page_crops_masks_filters_and_resets(window: MainWindow, qtbot: QtBot) -> None:
    open_demo(window, qtbot)
    page = window.dataset
    page.grid.select([2])
    page.grid.setFocus()
    before = window.planner.plan
    qtbot.keyClick(page.grid, Qt.Key.Key_C)
    dialog = editor(window, qtbot)
    assert isinstance(dialog, CropDialog) and dialog.path.name == "03.png"
    drag(dialog.view, dialog.view.to_screen((20, 10)), dialog.view.to_screen((100, 120)), qtbot)
    dialog.go(1)
    dialog.close()
    assert page.grid.selected() == [3], "the grid follows"
    assert window.pictures.items[2].is_cropped
    qtbot.waitUntil(lambda: window.planner.is_current and window.planner.plan is not before, timeout=10_000)
    button = page.editor.preview.findChild(QToolButton, "preview_mask")
    assert button is not None
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    dialog = editor(window, qtbot)
    assert isinstance(dialog, MaskDialog) and dialog.path.name == "04.png"
    place = dialog.canvas._to_screen
    drag(dialog.canvas, place(QPointF(30, 30)), place(QPointF(90, 90)), qtbot)
    dialog.close()
    qtbot.waitUntil(lambda: page.editor.preview.has_veil, timeout=10_000)
    window.activateWindow()
    page.grid.setFocus()
    qtbot.waitUntil(page.grid.hasFocus)
    qtbot.keyClick(page.grid, Qt.Key.Key_M)
    assert not page.editor.preview.has_veil
    for text, rows in (("is:cropped", [2]), ("is:masked", [3]), ("", list(range(16)))):
        page.bar.search.setText(text)
        model = page.grid.list_model
        assert [model.source_index(r) for r in range(model.rowCount())] == rows
    menu = PictureMenu(window.pictures, [1, 2, 3], page.grid)
    actions = {a.objectName(): a for a in menu.findChildren(QAction)}
    assert actions["reset_crops"].text() == "Reset 1 crop" and "centre_focus" not in actions
    actions["reset_crops"].trigger()
    actions["remove_masks"].trigger()
    menu.close()
    assert not window.pictures.items[2].is_cropped and window.pictures.items[3].picture.mask is None
    qtbot.keyClick(page.grid, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert window.pictures.items[3].picture.mask is not None


def drag(widget: object, start: QPointF, end: QPointF, qtbot: QtBot) -> None:
    qtbot.mousePress(widget, Qt.MouseButton.LeftButton, pos=start.toPoint())
    qtbot.mouseMove(widget, ((start + end) / 2).toPoint())
    qtbot.mouseMove(widget, end.toPoint())
    qtbot.mouseRelease(widget, Qt.MouseButton.LeftButton, pos=end.toPoint())


def test_a_real_training_uses_the_crop_and_the_mask(window: MainWindow, qtbot: QtBot) -> None:
    open_demo(window, qtbot)
    values = {"steps": 2, "batch_size": 1, "preview_every_steps": 0, "save_every_steps": 0, "warmup_steps": 0}
    window.project.set_many(
        values | {"masked_loss": True, "validation": "", "regularization": "", "cache": "memory", "previews": []}
    )
    window.pictures.edits.crop(0, (0, 0, 128, 64))
    half = np.zeros((128, 128), np.uint8)
    half[:64] = 255
    window.pictures.edits.paint(1, lambda: Image.fromarray(half))
    assert window.pictures.finish_writing(10)
    qtbot.waitUntil(lambda: window.planner.is_current and not window.pictures.scanning, timeout=20_000)
    assert window.planner.plan.is_ready, window.planner.plan.problems
    window.do.train()
    controller = window.queue.current
    assert controller is not None
    with qtbot.waitSignal(window.queue.ended, timeout=120_000):
        pass
    assert controller.state == "finished", controller.sentence()
    folder = controller.folder.path
    own = edits.read(folder / "edits")
    assert own.pictures["01.png"].box == (0, 0, 128, 64)
    mask = own.mask("02.png")
    assert mask is not None and mask.is_file() and np.asarray(Image.open(mask)).mean() == pytest.approx(127.5)
    assert settings_file.read(folder / "run.toml").edits == folder / "edits"
    lines = (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()
    assert sum(json.loads(line)["type"] == "step_done" for line in lines) == 2
    assert os.path.samefile(window.project.folder / "edits", str(window.project.value("edits")))
    assert events.PROTOCOL >= 1
