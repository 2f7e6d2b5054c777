"""Captions by a model in the window: asked for, proposed by another process, reviewed, and only then written, with one undo."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from PySide6.QtCore import QModelIndex, QPoint, Qt, QTimer
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QApplication,
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QLabel,
    QLineEdit,
    QMessageBox,
    QPlainTextEdit,
    QPushButton,
    QRadioButton,
    QWidget,
)

from app import preferences
from app.pages.dataset import DatasetPage
from app.widgets.auto_caption_dialog import AutoCaptionDialog
from app.widgets.auto_caption_form import scopes
from app.widgets.auto_caption_rows import AFTER, BEFORE, COUNT_EVERY_MS, PICTURE, ProposalRows
from app.widgets.fetch_dialog import FetchDialog
from tests import tiny_tagger
from tests.app.data_sets import COUNT, captions, folder_fixture, pictures_fixture, project_fixture  # noqa: F401
from trainer.caption_plan import Proposal, Rules, Tag

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytestqt.modeltest import ModelTester
    from pytestqt.qtbot import QtBot

    from app.pictures import Pictures
    from app.project import Project

LEFT = Qt.MouseButton.LeftButton
TAGS = [
    ["red_eye", "general", 0.9],
    ["ink_drawing", "general", 0.5],
    ["tree", "general", 0.3],
    ["zorb", "character", 0.8],
]


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_tagger.make(tmp_path_factory.mktemp("taggers") / "wd-tiny")


@pytest.fixture
def page(qtbot: QtBot, project: Project, pictures: Pictures) -> Iterator[DatasetPage]:
    widget = DatasetPage(project, pictures)
    qtbot.addWidget(widget)
    widget.resize(1150, 620)
    with qtbot.waitExposed(widget):
        widget.show()
    yield widget
    widget.thumbnails.close()


@pytest.fixture
def dialog(qtbot: QtBot, page: DatasetPage, tagger: Path) -> Iterator[AutoCaptionDialog]:
    """Opened as a user opens it, with the tagger chosen and mode "add to it"."""
    preferences.put("captioners", [str(tagger)])
    qtbot.mouseClick(page.findChild(QPushButton, "write_captions"), LEFT)
    made = page.findChild(AutoCaptionDialog)
    assert isinstance(made, AutoCaptionDialog) and made.isVisible()
    made.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, False)
    made.resize(1100, 700)
    qtbot.waitUntil(lambda: made.form.models.kind is not None)
    find(made, QRadioButton, "caption_mode_append").setChecked(True)
    yield made
    made.task.finish()
    made.review.rows.wait(5)
    made.form.models.wait(5)
    made.done(0)
    made.deleteLater()


W = TypeVar("W", bound=QWidget)


def find(parent: QWidget, kind: type[W], name: str) -> W:
    found = parent.findChild(kind, name)
    assert found is not None, name
    return found


def press(qtbot: QtBot, parent: QWidget, name: str) -> None:
    button = find(parent, QPushButton, name)
    assert button.isVisible() and button.isEnabled(), name
    qtbot.mouseClick(button, LEFT)


def says(dialog: AutoCaptionDialog, pictures: Pictures, count: int, *, end: str = "done", broken: int = -1) -> None:
    """Replaces the captioner by a program that proposes TAGS for the first pictures; without an end it waits for `cancel`."""
    lines: list[dict[str, Any]] = []
    for n, item in enumerate(pictures.items[:count]):
        path = str(item.picture.path)
        if n == broken:
            lines.append({"type": "problem", "path": path, "message": "It is cut off."})
        else:
            lines.append({"type": "caption", "path": path, "before": "", "text": "", "said": "", "tags": TAGS})
    last = {"type": end, "message": "No memory."} if end else {}
    code = (
        "import json, sys\n"
        f"for line in json.loads({json.dumps(json.dumps(lines))}): print(json.dumps(line), flush=True)\n"
        f"last = json.loads({json.dumps(json.dumps(last))})\n"
        "if not last:\n    print(json.dumps({'type': 'progress', 'label': 'Describing', 'done': 4, 'total': 16}), flush=True)\n"
        "    assert sys.stdin.readline() == 'cancel\\n'\n"
        "print(json.dumps(last or {'type': 'cancelled'}), flush=True)"
    )
    dialog.command = [sys.executable, "-c", code]


def describe(qtbot: QtBot, dialog: AutoCaptionDialog, pictures: Pictures, count: int = COUNT, **more: Any) -> None:
    says(dialog, pictures, count, **more)
    press(qtbot, dialog, "caption_start")
    qtbot.waitUntil(lambda: not dialog.task.is_running, timeout=10_000)
    settle(dialog)


def settle(dialog: AutoCaptionDialog) -> None:
    dialog.review.rows.wait(5)
    QTest.qWait(COUNT_EVERY_MS + 10)


def answer(qtbot: QtBot, name: str) -> list[str]:
    heard: list[str] = []

    def act() -> None:
        box = QApplication.activeModalWidget()
        if not isinstance(box, QMessageBox):
            QTimer.singleShot(20, act)
            return
        heard.append(box.text())
        qtbot.mouseClick(box.findChild(QPushButton, name), LEFT)

    QTimer.singleShot(0, act)
    return heard


def shown(dialog: AutoCaptionDialog, column: int) -> list[str]:
    rows = dialog.review.rows
    return [str(rows.index(at, column).data()) for at in range(rows.rowCount())]


def test_a_real_captioner_writes_in_its_own_process_and_undo_takes_all_back(
    qtbot: QtBot, dialog: AutoCaptionDialog, pictures: Pictures, folder: Path
) -> None:
    before = captions(pictures)
    files = {p.name: p.read_bytes() for p in folder.glob("*.txt")}
    find(dialog, QDoubleSpinBox, "caption_threshold").setValue(0.6)
    assert find(dialog, QLabel, "caption_standing").text() == "16 pictures will be described."
    press(qtbot, dialog, "caption_start")
    qtbot.waitUntil(lambda: not dialog.task.is_running, timeout=60_000)
    assert dialog.banner.text == ""
    assert shown(dialog, BEFORE) == before
    assert all(text.startswith(f"{old}, zorblin (blob)") for old, text in zip(before, shown(dialog, AFTER), strict=True))  # fmt: skip
    assert {p.name: p.read_bytes() for p in folder.glob("*.txt")} == files, "nothing is written yet"
    find(dialog, QDoubleSpinBox, "caption_threshold").setValue(0.5)
    settle(dialog)
    proposed = shown(dialog, AFTER)
    assert all(text.endswith(">_<") for text in proposed), "a lower threshold needs no second look"
    assert dialog.write_button.text() == "Write 16 captions"
    press(qtbot, dialog, "caption_write")
    assert not dialog.isVisible()
    assert captions(pictures) == proposed
    assert pictures.finish_writing(10)
    assert (folder / "01.txt").read_text(encoding="utf-8") == proposed[0]
    assert pictures.undo_text == "Captions by WD tagger"
    pictures.undo()
    assert pictures.finish_writing(10)
    assert captions(pictures) == before
    assert {p.name: p.read_bytes() for p in folder.glob("*.txt")} == files


def test_only_ticked_and_edited_captions_are_written(qtbot: QtBot, dialog: AutoCaptionDialog, pictures: Pictures) -> None:  # fmt: skip
    before = captions(pictures)
    describe(qtbot, dialog, pictures, 4)
    view, rows = dialog.review.view, dialog.review.rows
    cell = view.visualRect(rows.index(0, PICTURE))
    qtbot.mouseClick(view.viewport(), LEFT, pos=QPoint(cell.left() + 18, cell.center().y()))  # fmt: skip
    assert not rows.row(0).ticked
    view.selectRow(1)
    qtbot.keyClick(view, Qt.Key.Key_Space)
    assert not rows.row(1).ticked and dialog.write_button.text() == "Write 2 captions"
    view.setCurrentIndex(rows.index(2, AFTER))
    qtbot.keyClick(view, Qt.Key.Key_Return)
    editor = find(view, QPlainTextEdit, "review_editor")
    qtbot.keyClicks(editor, ", by hand")
    qtbot.keyClick(editor, Qt.Key.Key_Return)
    assert rows.row(2).text == f"{before[2]}, red eye, ink drawing, by hand"
    find(dialog, QDoubleSpinBox, "caption_threshold").setValue(0.95)
    settle(dialog)
    assert rows.row(2).text.endswith("by hand"), "what the user wrote stays"
    assert [row.is_changed for row in rows.rows] == [False, False, True, False]
    press(qtbot, dialog, "caption_write")
    assert captions(pictures)[:4] == [before[0], before[1], f"{before[2]}, red eye, ink drawing, by hand", before[3]]


def test_an_edit_that_is_escaped_changes_nothing(qtbot: QtBot, dialog: AutoCaptionDialog, pictures: Pictures) -> None:
    describe(qtbot, dialog, pictures, 1)
    view, rows = dialog.review.view, dialog.review.rows
    text = rows.row(0).text
    view.setCurrentIndex(rows.index(0, AFTER))
    view.edit(rows.index(0, AFTER))
    editor = find(view, QPlainTextEdit, "review_editor")
    qtbot.keyClicks(editor, "no")
    qtbot.keyClick(editor, Qt.Key.Key_Escape)
    assert rows.row(0).text == text and not rows.row(0).edited
    assert dialog.isVisible()


def test_all_rows_are_ticked_or_none_and_those_that_stay_are_hidden(qtbot: QtBot, dialog: AutoCaptionDialog, pictures: Pictures) -> None:  # fmt: skip
    pictures.set_captions({1: "Red Eye, ink drawing"}, "has them already")
    describe(qtbot, dialog, pictures, 4, broken=3)
    count = find(dialog, QLabel, "review_count")
    assert count.text() == "3 pictures described · 2 of 2 changes chosen · 1 cannot be read"
    assert shown(dialog, AFTER)[3] == "It is cut off."
    every = find(dialog, QCheckBox, "review_all")
    assert every.checkState() == Qt.CheckState.Checked
    qtbot.mouseClick(every, LEFT, pos=QPoint(10, every.height() // 2))  # fmt: skip
    assert dialog.review.rows.chosen() == {} and every.checkState() == Qt.CheckState.Unchecked
    assert not dialog.write_button.isEnabled()
    every.click()
    assert len(dialog.review.rows.chosen()) == 2
    dialog.review.rows.toggle([0])
    assert every.checkState() == Qt.CheckState.PartiallyChecked
    find(dialog, QCheckBox, "review_only_changed").setChecked(True)
    assert shown(dialog, PICTURE) == ["01.png", "03.png", "04.png"]


def test_stopping_keeps_what_has_come_and_closing_asks_first(qtbot: QtBot, dialog: AutoCaptionDialog, pictures: Pictures) -> None:  # fmt: skip
    before = captions(pictures)
    says(dialog, pictures, 4, end="")
    press(qtbot, dialog, "caption_start")
    qtbot.waitUntil(lambda: len(dialog.review.rows.rows) == 4 and dialog.progress.bar.value() == 250, timeout=10_000)
    assert not dialog.write_button.isEnabled() and not dialog.start_button.isEnabled()
    assert not dialog.form.models.isEnabled()
    press(qtbot, dialog, "caption_stop")
    assert find(dialog, QPushButton, "caption_stop").text() == "Stopping…"
    qtbot.waitUntil(lambda: not dialog.task.is_running, timeout=10_000)
    assert len(dialog.review.rows.chosen()) == 4 and dialog.write_button.isEnabled()
    heard = answer(qtbot, "confirm_cancel")
    press(qtbot, dialog, "caption_close")
    assert heard == ["Throw 4 captions away?"] and dialog.isVisible()
    answer(qtbot, "confirm_yes")
    press(qtbot, dialog, "caption_close")
    assert not dialog.isVisible()
    assert captions(pictures) == before


def test_closing_while_it_works_stops_it_first(qtbot: QtBot, dialog: AutoCaptionDialog, pictures: Pictures) -> None:
    says(dialog, pictures, 1, end="")
    press(qtbot, dialog, "caption_start")
    qtbot.waitUntil(lambda: len(dialog.review.rows.rows) == 1, timeout=10_000)
    dialog.close()
    assert dialog.isVisible() and dialog.task.is_cancelling
    qtbot.waitUntil(lambda: not dialog.task.is_running, timeout=10_000)
    assert dialog.isVisible()


def test_a_failure_is_told_and_what_has_come_stays(qtbot: QtBot, dialog: AutoCaptionDialog, pictures: Pictures) -> None:
    describe(qtbot, dialog, pictures, 2, end="failed")
    assert dialog.banner.text == "No memory."
    assert len(dialog.review.rows.chosen()) == 2
    describe(qtbot, dialog, pictures, 3)
    assert dialog.banner.text == "" and len(dialog.review.rows.rows) == 3, "the first two are not there twice"


def test_only_pictures_without_a_caption_are_described_when_captions_are_left(qtbot: QtBot, dialog: AutoCaptionDialog, pictures: Pictures) -> None:  # fmt: skip
    find(dialog, QRadioButton, "caption_mode_only-empty").setChecked(True)
    standing = find(dialog, QLabel, "caption_standing")
    assert standing.text() == "All of them have a caption already. Choose what becomes of it."
    assert not dialog.start_button.isEnabled()
    pictures.set_captions({2: "", 5: ""}, "clear")
    find(dialog, QRadioButton, "caption_mode_replace").setChecked(True)
    find(dialog, QRadioButton, "caption_mode_only-empty").setChecked(True)
    assert standing.text() == "2 pictures will be described. 14 with a caption stay as they are."
    assert [p.name for p in dialog.wanted()] == ["03.png", "06.png"]


def test_the_process_gets_the_pictures_their_crops_and_what_was_asked(qtbot: QtBot, dialog: AutoCaptionDialog, pictures: Pictures, monkeypatch: pytest.MonkeyPatch, tagger: Path) -> None:  # fmt: skip
    pictures.edits.crop(1, (0, 0, 64, 96))
    asked: list[list[str]] = []
    monkeypatch.setattr(dialog.task, "start", lambda words, _command: asked.append(list(words)))
    press(qtbot, dialog, "caption_start")
    (words,) = asked
    assert words[:2] == ["caption", "--pictures"] and words[3:] == ["--mode=append", f"--model={tagger}", "--json"]
    with open(words[2], encoding="utf-8") as file:
        rows = json.load(file)
    assert len(rows) == COUNT and rows[0]["box"] is None
    assert rows[1] == {"path": str(pictures.items[1].picture.path), "box": [0, 0, 64, 96]}


def test_what_is_selected_or_shown_can_be_meant() -> None:
    titles = [[s.title for s in scopes(16, *which)] for which in ((range(16), []), (range(4), []), (range(16), [3]), (range(4), [1, 2]))]  # fmt: skip
    assert titles == [
        ["All 16 pictures"],
        ["The 4 pictures shown", "All 16 pictures"],
        ["All 16 pictures", "The 1 picture selected"],
        ["The 2 pictures selected", "The 4 pictures shown", "All 16 pictures"],
    ]


def test_a_selection_in_the_grid_is_what_is_described(qtbot: QtBot, page: DatasetPage) -> None:
    page.grid.select([3, 4, 7])
    press(qtbot, page, "write_captions")
    made = page.findChild(AutoCaptionDialog)
    assert isinstance(made, AutoCaptionDialog)
    find(made, QRadioButton, "caption_mode_replace").setChecked(True)
    assert [p.name for p in made.wanted()] == ["04.png", "05.png", "08.png"]
    find(made, QComboBox, "caption_scope").setCurrentIndex(1)
    assert len(made.wanted()) == COUNT
    made.form.models.wait(5)
    made.done(0)


# ---- which captioner


def test_each_kind_is_asked_for_what_it_understands(qtbot: QtBot, dialog: AutoCaptionDialog, tmp_path: Path) -> None:
    seen = {}
    for name in ("", "BlipForConditionalGeneration", "Florence2ForConditionalGeneration"):
        folder = tmp_path / (name or "tagger")
        if name:
            folder.mkdir()
            (folder / "config.json").write_text(json.dumps({"architectures": [name]}))
            (folder / "model.safetensors").touch()
        else:
            tiny_tagger.make(folder)
        dialog.form.models.choose(str(folder))
        assert dialog.form.models.kind is None and not dialog.start_button.isEnabled(), "it is being looked at"
        qtbot.waitUntil(lambda: dialog.form.models.kind is not None)
        find(dialog, QLineEdit, "caption_beginning").setText("a photo of")
        asked = [
            box.objectName()
            for box in (
                find(dialog, QDoubleSpinBox, "caption_threshold"), find(dialog, QComboBox, "caption_length"), find(dialog, QLineEdit, "caption_beginning"),
            )
            if box.isVisible()
        ]  # fmt: skip
        seen[tuple(asked)] = dialog.form.words()[1:]
    assert seen == {
        ("caption_threshold",): [],
        ("caption_beginning",): ["--prompt=a photo of"],
        ("caption_length",): ["--prompt=detailed"],
    }


def test_a_model_that_is_not_here_is_offered_for_download(qtbot: QtBot, dialog: AutoCaptionDialog, monkeypatch: pytest.MonkeyPatch, tagger: Path) -> None:  # fmt: skip
    looked: list[str] = []
    monkeypatch.setattr(FetchDialog, "_look", lambda self: looked.append(self.field.text()))
    dialog.form.models.choose("SmilingWolf/wd-swinv2-tagger-v3")
    state = find(dialog, QLabel, "captioner_state")
    qtbot.waitUntil(lambda: state.text() == "Not on this computer yet")
    assert not dialog.start_button.isEnabled()
    assert "Tags for drawings" in find(dialog, QLabel, "captioner_about").text()
    press(qtbot, dialog, "captioner_fetch")
    fetch = dialog.findChild(FetchDialog)
    assert isinstance(fetch, FetchDialog) and looked == ["SmilingWolf/wd-swinv2-tagger-v3"]
    fetch.fetched.emit(str(tagger))
    qtbot.waitUntil(lambda: state.text() == "On this computer · WD tagger")
    fetch.close()


def test_a_folder_is_chosen_and_what_is_wrong_with_it_is_told(qtbot: QtBot, dialog: AutoCaptionDialog, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tagger: Path) -> None:  # fmt: skip
    box, state = find(dialog, QComboBox, "captioner"), find(dialog, QLabel, "captioner_state")
    chosen = ["", str(tmp_path)]
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: chosen.pop(0))
    at = box.findData("<folder>")
    box.activated.emit(at)
    assert dialog.form.models.model == str(tagger), "the file dialog was cancelled"
    box.activated.emit(at)
    qtbot.waitUntil(lambda: "holds no captioner" in state.text())
    assert dialog.form.models.kind is None and box.currentData() == str(tmp_path)


def test_taggers_without_their_package_are_told_of(qtbot: QtBot, dialog: AutoCaptionDialog, monkeypatch: pytest.MonkeyPatch, tagger: Path) -> None:  # fmt: skip
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    dialog.form.models.choose(str(tagger))
    state = find(dialog, QLabel, "captioner_state")
    qtbot.waitUntil(lambda: "pip install onnxruntime" in state.text())
    assert not dialog.start_button.isEnabled()


def test_what_was_asked_for_is_proposed_again(qtbot: QtBot, dialog: AutoCaptionDialog, pictures: Pictures, tagger: Path) -> None:  # fmt: skip
    find(dialog, QLineEdit, "caption_blacklist").setText("tree, *_sky")
    find(dialog, QLineEdit, "caption_suffix").setText("end")
    find(dialog, QDoubleSpinBox, "caption_threshold").setValue(0.45)
    describe(qtbot, dialog, pictures, 1)
    rules = dialog.form.rules
    assert rules == Rules(mode="append", threshold=0.45, blacklist=("tree", "*_sky"), suffix="end")
    again = AutoCaptionDialog(pictures, range(COUNT), [])
    qtbot.addWidget(again)
    again.form.models.wait(5)
    QApplication.processEvents()
    assert again.form.rules == rules and again.form.models.model == str(tagger)
    assert preferences.get("captioners", []) == [str(tagger)]
    again.done(0)


# ---- the table


def test_the_table_is_a_sound_model(qtmodeltester: ModelTester, tmp_path: Path) -> None:
    rows = ProposalRows()
    rows.set_rules(Rules(mode="append"))
    rows.wait(5)
    for n in range(3):
        rows.add(tmp_path / f"{n}.png", "old", Proposal(tags=(Tag(f"tag_{n}", "general", 0.3 + n / 10),)))
    qtmodeltester.check(rows)
    rows.set_only_changed(True)
    qtmodeltester.check(rows)
    assert [rows.index(at, AFTER).data() for at in range(rows.rowCount(QModelIndex()))] == ["old, tag 1", "old, tag 2"]


def test_five_thousand_rows_are_planned_anew_without_holding_the_window_up(qtbot: QtBot, tmp_path: Path) -> None:
    """Counted is the time that the main thread works, whatever else the machine does."""
    rows = ProposalRows()
    tags = tuple(Tag(f"tag_{n}", "general", n / 60) for n in range(60))
    for n in range(5000):
        rows.add(tmp_path / f"{n}.png", "old, caption", Proposal(tags=tags))
    rows.set_only_changed(True)
    assert rows.rowCount() == 0
    started = time.thread_time()
    rows.set_rules(Rules(mode="append", threshold=0.5))
    asking = time.thread_time() - started
    rows.wait(30)
    started = time.thread_time()
    QApplication.processEvents()
    assert rows.rowCount() == rows.changed_count == 5000
    assert rows.row(0).text.count(",") == 31
    assert max(asking, time.thread_time() - started) < 0.05
