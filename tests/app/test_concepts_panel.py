"""Folders and concepts: how often each is seen, what the panel changes, markers, and generated regularisation pictures."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
from PySide6.QtCore import QEvent, QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent
from PySide6.QtWidgets import (
    QApplication,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QLabel,
    QLineEdit,
    QPushButton,
    QSpinBox,
    QWidget,
)

from app import theme
from app.pictures import Pictures
from app.project import Project
from app.widgets import concept_chart
from app.widgets.concepts_panel import ConceptsPanel
from app.widgets.generate_dialog import GenerateDialog, suggestion
from tests.conftest import draw_pictures
from trainer import dataset
from trainer.batches import Batches, entries_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytestqt.qtbot import QtBot

WAIT = 20_000


class Scene:
    """A project with its pictures."""

    def __init__(self, qtbot: QtBot, folder: Path) -> None:
        self.qtbot, self.folder = qtbot, folder
        self.project = Project()
        self.pictures = Pictures(self.project)
        self.own, self.second, self.prior = (
            draw_pictures(folder / name, count) for name, count in (("own", 4), ("second", 3), ("class", 5))
        )
        self.project.create("test", {"data": str(self.own), "repeats": 2, "trigger": "zor"})
        self.settle()

    def settle(self) -> None:
        self.qtbot.wait(5)
        self.qtbot.waitUntil(lambda: not self.pictures.scanning, timeout=WAIT)

    def set(self, **values: Any) -> None:
        self.project.set_many(values)
        self.settle()

    def views(self) -> dict[str, int]:
        return {f.title: f.views for f in self.pictures.folders()}

    def concept(self, folder: Path, **fields: Any) -> dict[str, Any]:
        return {"folder": str(folder)} | fields


@pytest.fixture
def scene(qtbot: QtBot, tmp_path: Path) -> Iterator[Scene]:
    out = Scene(qtbot, tmp_path)
    yield out
    out.project.close()
    out.settle()


@pytest.fixture
def panel(scene: Scene, qtbot: QtBot) -> ConceptsPanel:
    out = ConceptsPanel(scene.project, scene.pictures)
    qtbot.addWidget(out)
    out.open()
    return out


def child(panel: QWidget, kind: type[Any], name: str) -> Any:
    found = panel.findChild(kind, name)
    assert found is not None and found.isVisible(), name
    return found


def click(qtbot: QtBot, panel: QWidget, name: str) -> None:
    qtbot.mouseClick(child(panel, QWidget, name), Qt.MouseButton.LeftButton)


def in_training(scene: Scene) -> dict[str, int]:
    """How often each folder is really seen, by the engine."""
    settings = scene.project.settings().model_copy(update={"caption_variants": 1})
    entries = entries_of(dataset.scan_training(settings), settings)
    if settings.regularization:
        entries += entries_of(dataset.scan(settings.regularization), settings, is_prior=True)
    batches = Batches(entries, settings)
    seen = [view.entry.picture.path.parent.name for n in range(batches.per_epoch) for view in batches.batch(n)]
    return {name: seen.count(name) for name in dict.fromkeys(seen)}


@pytest.mark.parametrize("repeats", [1, 7])
def test_views_are_those_of_the_training(scene: Scene, repeats: int) -> None:
    more = draw_pictures(scene.folder / "3_more", 2)
    kept = draw_pictures(scene.folder / "kept", 2)
    scene.set(
        more_data=[str(more)],
        concepts=[scene.concept(scene.second, repeats=repeats), scene.concept(scene.prior, regularization=True, repeats=2)],
        regularization=str(kept), left_out=["0.png"],
    )  # fmt: skip
    assert scene.pictures.error == ""
    views = scene.views()
    assert views == in_training(scene)
    assert (views["own"], views["3_more"], views["second"]) == (6, 12, 3 * repeats)
    assert scene.pictures.views == 18 + 3 * repeats


def test_too_many_regularisation_pictures_are_a_choice(scene: Scene) -> None:
    scene.set(concepts=[scene.concept(scene.prior, regularization=True, repeats=9)], regularization=str(scene.second))
    assert {name: views for name, views in scene.views().items() if views} == in_training(scene)
    assert sum(scene.views().values()) == 16


def test_pictures_of_concepts_are_shown_with_their_number(scene: Scene) -> None:
    scene.set(concepts=[scene.concept(scene.second), scene.concept(scene.prior)])
    assert [i.picture.concept for i in scene.pictures.items] == [0] * 4 + [1] * 3 + [2] * 5
    extra = draw_pictures(scene.folder / "x", 1) / "0.png"
    extra.rename(scene.second / "new.png")
    scene.pictures.rescan()
    scene.settle()
    assert [i.picture.concept for i in scene.pictures.items].count(1) == 4
    scene.set(concepts=[])
    assert len(scene.pictures.items) == 4


def test_a_missing_folder_of_a_concept_is_told(scene: Scene) -> None:
    scene.set(concepts=[scene.concept(scene.folder / "gone")])
    assert "concept 1 folder" in scene.pictures.error and "does not exist" in scene.pictures.error
    assert scene.pictures.folders()[1].pictures == 0


def test_fields_of_a_concept_are_edited(scene: Scene, panel: ConceptsPanel, qtbot: QtBot) -> None:
    scene.set(concepts=[scene.concept(scene.second)])
    trigger = child(panel, QLineEdit, "trigger_concept_1")
    assert trigger.placeholderText() == "as the run: zor"
    qtbot.keyClicks(trigger, "blob")
    qtbot.keyClick(trigger, Qt.Key.Key_Return)
    repeats = child(panel, QSpinBox, "repeats_concept_1")
    qtbot.keyClick(repeats, Qt.Key.Key_Up)
    qtbot.keyClick(child(panel, QDoubleSpinBox, "weight_concept_1"), Qt.Key.Key_Down)
    flip = child(panel, QComboBox, "flip_concept_1")
    assert [flip.itemText(i) for i in range(flip.count())] == ["as the run: off", "on", "off"]
    qtbot.keyClick(flip, Qt.Key.Key_Down)
    scene.settle()
    one = {"folder": str(scene.second), "trigger": "blob", "repeats": 2, "weight": 0.9, "flip": True}
    assert scene.project.value("concepts") == [one]
    assert scene.project.settings().concepts[0].flip is True
    assert child(panel, QLabel, "seen_concept_1").text().endswith("3 pictures, each seen 2 times in an epoch.")
    qtbot.keyClick(flip, Qt.Key.Key_Up)
    assert "flip" not in scene.project.value("concepts")[0]
    qtbot.keyClick(child(panel, QComboBox, "role_concept_1"), Qt.Key.Key_Down)
    scene.settle()
    assert scene.project.value("concepts")[0]["regularization"] is True
    assert not trigger.isEnabled() and trigger.text() == ""
    assert scene.pictures.folders()[1].is_prior


def test_fields_of_the_run_are_edited_in_place(scene: Scene, panel: ConceptsPanel, qtbot: QtBot) -> None:
    trigger = child(panel, QLineEdit, "trigger_own_0")
    assert trigger.text() == "zor"
    trigger.selectAll()
    qtbot.keyClicks(trigger, "mok")
    qtbot.keyClick(trigger, Qt.Key.Key_Return)
    qtbot.keyClick(child(panel, QSpinBox, "repeats_own_0"), Qt.Key.Key_Up)
    assert (scene.project.value("trigger"), scene.project.value("repeats")) == ("mok", 3)
    assert panel.chart.folders[0].views == 12
    assert panel.findChild(QWidget, "weight_own_0").isHidden()


def test_folders_are_added_dropped_made_concepts_and_removed(
    scene: Scene, panel: ConceptsPanel, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_a, **_k: str(scene.second))
    click(qtbot, panel, "add_concept")
    scene.settle()
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(p)) for p in (scene.prior, scene.second, scene.own / "0.png")])
    panel.dropEvent(QDropEvent(QPointF(5, 5), Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier))  # fmt: skip
    scene.settle()
    assert [c["folder"] for c in scene.project.value("concepts")] == [str(scene.second), str(scene.prior)]
    assert panel.banner.text.startswith("Left aside: second, 0.png.")
    click(qtbot, panel, "remove_concept_1")
    scene.settle()
    assert [f.title for f in scene.pictures.folders()] == ["own", "class"]
    assert panel.banner.text == "second is out of this project; its files stay." and scene.second.is_dir()
    click(qtbot, panel, "banner_action_0")
    scene.settle()
    assert [f.title for f in scene.pictures.folders()] == ["own", "second", "class"]
    click(qtbot, panel, "remove_own_0")
    scene.settle()
    assert scene.project.value("data") == "" and len(scene.pictures.items) == 8


def test_more_pictures_and_the_regularisation_folder_become_concepts(
    scene: Scene, panel: ConceptsPanel, qtbot: QtBot
) -> None:
    single = draw_pictures(scene.folder / "loose", 1) / "0.png"
    scene.set(more_data=[str(scene.second), str(single)], regularization=str(scene.prior))
    click(qtbot, panel, "concept_more_2")
    assert panel.banner.text.startswith("0.png is a single picture.")
    click(qtbot, panel, "concept_prior_3")
    scene.settle()
    click(qtbot, panel, "concept_more_1")
    scene.settle()
    assert scene.project.value("more_data") == [str(single)] and scene.project.value("regularization") == ""
    kept, second = scene.project.settings().concepts
    assert (kept.folder, kept.regularization, second.folder, second.regularization) == (
        scene.prior,
        True,
        scene.second,
        False,
    )


def test_a_value_that_cannot_be_used_breaks_nothing(scene: Scene, panel: ConceptsPanel) -> None:
    scene.set(concepts=[{"folder": str(scene.second), "repeats": "many"}])
    assert child(panel, QSpinBox, "repeats_concept_1").value() == 1
    assert len(scene.pictures.items) == 7 and scene.project.mistakes()


def test_sentences(scene: Scene) -> None:
    scene.set(regularization=str(scene.prior), repeats=1, left_out=["0.png", "1.png", "2.png"])
    own, prior = scene.pictures.folders()
    assert concept_chart.sentence(own) == "1 picture, each seen once in an epoch"
    assert concept_chart.sentence(prior) == "5 pictures, of which 1 are seen in an epoch"


def test_a_concept_has_its_colour_in_the_grid(window: Any, qtbot: QtBot, tmp_path: Path) -> None:
    own, second = draw_pictures(tmp_path / "own", 1), draw_pictures(tmp_path / "second", 1)
    window.project.create("test", {"data": str(own), "concepts": [{"folder": str(second)}]})
    page = window.go("dataset")
    qtbot.waitUntil(lambda: len(window.pictures.items) == 2 and not window.pictures.scanning, timeout=WAIT)

    def colours(row: int) -> set[str]:
        rect = page.grid.visualRect(page.grid.model().index(row, 0))
        image = page.grid.viewport().grab(rect).toImage()
        return {image.pixelColor(x, y).name() for x in range(image.width() // 2) for y in range(image.height() // 2)}

    mark = theme.concept_colour(1).name()
    qtbot.waitUntil(lambda: mark in colours(1), timeout=WAIT)
    assert mark not in colours(0)
    click(qtbot, page, "folders")
    panel = window.findChild(ConceptsPanel)
    assert [row.folder.title for row in panel.rows] == ["own", "second"]
    panel.close()


# ---- generating


@pytest.mark.parametrize(
    ("captions", "preset", "prompt"),
    [
        (["zor, a woman in a hat", "zor, Woman"], "character", "a photo of a woman"),
        (["an animal", "a tree"], "character", "a photo of an animal"),
        (["a tree", "a dog", "a lake"], "character", "a photo of a person"),
        (["a woman"], "style", "a picture"),
        ([], "object", "a photo of an object"),
    ],
)
def test_the_prompt_is_suggested_from_the_captions(captions: list[str], preset: str, prompt: str) -> None:
    assert suggestion(captions, preset) == prompt


def test_regularisation_pictures_are_drawn_and_added(scene: Scene, panel: ConceptsPanel, qtbot: QtBot) -> None:
    scene.set(base="demo", device="cpu")
    click(qtbot, panel, "generate")
    dialog = panel.findChild(GenerateDialog)
    assert child(dialog, QSpinBox, "generate_count").value() == 10
    assert child(dialog, QLineEdit, "generate_prompt").text() == "a photo of a person"
    child(dialog, QSpinBox, "generate_count").setValue(2)
    child(dialog, QSpinBox, "generate_steps").setValue(1)
    with qtbot.waitSignal(dialog.made, timeout=60_000):
        click(qtbot, dialog, "generate_start")
        assert not child(dialog, QLineEdit, "generate_prompt").isEnabled()
    scene.settle()
    folder = scene.project.folder / "regularisation" / "a_photo_of_a_person"
    assert scene.project.value("concepts") == [{"folder": str(folder), "regularization": True}]
    assert sorted(p.name for p in folder.iterdir()) == ["00001.png", "00001.txt", "00002.png", "00002.txt"]
    assert scene.views()["a_photo_of_a_person"] == 8


BUSY = """
import json, sys
print(json.dumps({"type": "progress", "label": "Drawing pictures", "done": 1, "total": 4}), flush=True)
sys.stdin.readline()
print(json.dumps({"type": "cancelled"}), flush=True)
"""


def test_drawing_is_cancelled_and_failures_are_told(scene: Scene, qtbot: QtBot) -> None:
    dialog = GenerateDialog(scene.project, scene.pictures)
    qtbot.addWidget(dialog)
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, False)
    dialog.open()
    dialog.command = [sys.executable, "-c", BUSY]
    with qtbot.waitSignal(dialog.task.progressed, timeout=WAIT):
        click(qtbot, dialog, "generate_start")
    assert child(dialog, QLabel, "task_progress_share").text() == "25%"
    assert child(dialog, QPushButton, "generate_close").text() == "Stop"
    with qtbot.waitSignal(dialog.task.cancelled, timeout=WAIT):
        click(qtbot, dialog, "generate_close")
    assert dialog.isVisible() and dialog.banner.text.startswith("Stopped. The pictures that were drawn are kept")
    dialog.command = [sys.executable, "-c", 'print(\'{"type": "failed", "message": "The disk is full."}\')']
    with qtbot.waitSignal(dialog.task.failed, timeout=WAIT):
        click(qtbot, dialog, "generate_start")
    assert dialog.banner.text == "The disk is full."
    click(qtbot, dialog, "generate_close")
    assert not dialog.isVisible() and scene.project.value("concepts") == []


def test_the_words_say_what_the_project_says(scene: Scene, qtbot: QtBot) -> None:
    scene.set(clip_skip=2, base="demo")
    dialog = GenerateDialog(scene.project, scene.pictures)
    qtbot.addWidget(dialog)
    words = dialog.words()
    assert words[:3] == ["generate", "--json", "--base=demo"]
    assert "--clip-skip=2" in words and not any(w.startswith("--vae") for w in words)
    dialog.reject()
    QApplication.sendPostedEvents(dialog, QEvent.Type.DeferredDelete)
