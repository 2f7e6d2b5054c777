"""The results page as a person uses it: look, choose, name, export, replace or not."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PySide6.QtCore import QPoint, Qt, QTimer
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication, QFileDialog, QMessageBox, QPushButton

from app import exporter, places, run_results
from app.pages.results import ResultsPage, columns
from app.run_results import Checkpoint
from app.widgets.compare_dialog import CompareDialog
from app.widgets.export_panel import ExportPanel
from app.widgets.picture_dialog import PictureDialog
from tests.app.run_folders import make_lora, make_run
from trainer.run_folder import RunFolder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytestqt.qtbot import QtBot

WAIT = 20_000


@pytest.fixture
def run(home: Path) -> RunFolder:
    return make_run(home / "runs", steps=(5, 10, 20))


@pytest.fixture
def page(qtbot: QtBot, run: RunFolder) -> Iterator[ResultsPage]:
    """The page of a run, as large as in the window."""
    out = ResultsPage()
    qtbot.addWidget(out)
    out.resize(1150, 620)
    out.show_run(run)
    out.show()
    qtbot.waitUntil(lambda: out.results is not None, timeout=WAIT)
    yield out
    out._reader.wait(10)


def at(page: ResultsPage, prompt: int, step: int) -> QPoint:
    return page.grid.cell_rect(prompt, step).center().toPoint()


def click(qtbot: QtBot, page: ResultsPage, prompt: int, step: int) -> None:
    qtbot.mouseClick(page.grid.viewport(), Qt.MouseButton.LeftButton, pos=at(page, prompt, step))


def stand_in(monkeypatch: pytest.MonkeyPatch, *lines: str) -> list[exporter.ExportRequest]:
    """Exports by a small script, or one that writes a file as the real one does; gives the requests."""
    asked: list[exporter.ExportRequest] = []

    def start(self: exporter.Exporter, request: exporter.ExportRequest) -> None:
        asked.append(request)
        file = request.out / "a.safetensors" if request.is_bundle else request.out
        said = {
            "type": "done", "path": str(file), "size_bytes": 5000, "proof": "Loads in A1111; largest difference 0.0004.", "proved": True,
            "bundle": str(request.out) if request.is_bundle else None, "with_data": request.with_data,
        }  # fmt: skip
        write = (
            f"p = pathlib.Path({str(file)!r}); p.parent.mkdir(parents=True, exist_ok=True); p.write_bytes(b'x' * 5000)"
        )
        body = lines or (write, f"print({json.dumps(json.dumps(said))})")
        self._task.start([], [sys.executable, "-c", "\n".join(("import pathlib, sys", *body))])

    monkeypatch.setattr(exporter.Exporter, "start", start)
    return asked


def answer(qtbot: QtBot, name: str) -> list[str]:
    """Presses that button of the next question; gives what it asked."""
    heard: list[str] = []

    def press() -> None:
        box = QApplication.activeModalWidget()
        if not isinstance(box, QMessageBox):
            QTimer.singleShot(20, press)
            return
        heard.append(f"{box.text()} {box.informativeText()}")
        if name == "escape":
            qtbot.keyClick(box, Qt.Key.Key_Escape)
        else:
            qtbot.mouseClick(box.findChild(QPushButton, name), Qt.MouseButton.LeftButton)

    QTimer.singleShot(0, press)
    return heard


# What is read


def test_results_tell_checkpoints_pictures_and_losses(run: RunFolder) -> None:
    found = run_results.read(run)
    assert [(c.step, round(c.validation or 0, 4)) for c in found.checkpoints] == [(5, 0.195), (10, 0.19), (20, 0.18)]
    assert found.best_step == 20 and found.tags == "green, one eye"
    assert found.prompts == {0: "zorblin, meadow", 1: "a red cat"}
    assert set(found.pictures) == {(p, s) for p in (0, 1) for s in (0, 10, 20)}
    assert found.picture_of(20) == run.sample(20, 0, 42) and found.picture_of(5) is None
    assert [(c.title, c.note, c.is_good) for c in columns(found)] == [
        ("Base model", "untrained", False), ("Step 5", "loss 0.195", False), ("Step 10", "loss 0.190", False), ("Step 20", "lowest 0.180", True),
    ]  # fmt: skip


def test_half_precision_is_half_the_size() -> None:
    assert [Checkpoint(1, 1000).exported_size(p) for p in ("fp16", "bf16", "fp32")] == [500, 500, 1000]


def test_runs_with_checkpoints_are_listed_the_newest_first(home: Path) -> None:
    make_run(home / "runs", "none", steps=())
    runs = [make_run(home / "runs", name) for name in ("one", "two")]
    import os

    os.utime(runs[0].events_path, (1e9, 1e9))
    assert run_results.with_checkpoints(home / "runs") == runs[::-1]
    assert run_results.with_checkpoints(home / "nowhere") == []


# Looking and choosing


def test_without_a_run_it_says_what_will_be_here(qtbot: QtBot, home: Path) -> None:
    page = ResultsPage()
    qtbot.addWidget(page)
    page.show()
    qtbot.waitUntil(lambda: page._message.text == "Nothing to choose from yet", timeout=WAIT)
    assert not page.grid.isVisible()
    page._reader.wait(10)


def test_a_run_without_checkpoints_says_so(qtbot: QtBot, home: Path) -> None:
    page = ResultsPage()
    qtbot.addWidget(page)
    page.show_run(make_run(home / "runs", steps=()))
    page.show()
    qtbot.waitUntil(lambda: page._message.text == "No checkpoint yet", timeout=WAIT)
    page._reader.wait(10)


def test_a_run_that_cannot_be_read_says_why(qtbot: QtBot, home: Path) -> None:
    folder = make_run(home / "runs")
    folder.settings_path.write_text("rank = 0")
    page = ResultsPage()
    qtbot.addWidget(page)
    page.show_run(folder)
    page.show()
    qtbot.waitUntil(lambda: "Rank is 0" in page._message._detail.text(), timeout=WAIT)
    page._reader.wait(10)


def test_it_finds_the_newest_run_by_itself(qtbot: QtBot, run: RunFolder) -> None:
    page = ResultsPage()
    qtbot.addWidget(page)
    page.show()
    qtbot.waitUntil(lambda: page.results is not None and page.results.folder == run, timeout=WAIT)
    assert page.runs.isHidden(), "one run needs no choice"
    page._reader.wait(10)


def test_another_run_is_chosen_at_the_top(page: ResultsPage, qtbot: QtBot, home: Path) -> None:
    other = make_run(home / "runs", "other", steps=(10,))
    page.set_runs([RunFolder(p.path) for p in (page.results.folder, other)])  # type: ignore[union-attr]
    assert not page.runs.isHidden()
    qtbot.keyClick(page.runs, Qt.Key.Key_Down)
    qtbot.waitUntil(lambda: page.results is not None and page.results.folder == other, timeout=WAIT)
    assert page.panel.name.text() == "other" and page.grid.chosen == 10


def test_the_last_checkpoint_is_chosen_first_and_a_click_chooses_another(page: ResultsPage, qtbot: QtBot) -> None:
    assert page.grid.steps() == [5, 10, 20] and page.grid.chosen == 20
    with qtbot.waitSignal(page.grid.stepChosen) as chosen:
        click(qtbot, page, 1, 10)
    assert chosen.args == [10] and page.panel._title.text() == "Export step 10"
    click(qtbot, page, 0, 5)
    assert page.grid.chosen == 5, "a column without pictures can be chosen too"
    assert not page.compare_button.isEnabled()


def test_the_arrow_keys_choose(page: ResultsPage, qtbot: QtBot) -> None:
    page.grid.setFocus()
    steps = []
    for key in (Qt.Key.Key_Left, Qt.Key.Key_Left, Qt.Key.Key_Left, Qt.Key.Key_Right, Qt.Key.Key_End, Qt.Key.Key_Home):
        qtbot.keyClick(page.grid, key)
        steps.append(page.grid.chosen)
    assert steps == [10, 5, 5, 10, 20, 5]


def test_a_second_click_enlarges_and_so_does_enter_and_the_base_at_once(page: ResultsPage, qtbot: QtBot) -> None:
    for act, shown in (
        (lambda: click(qtbot, page, 1, 20), (1, 20)), (lambda: click(qtbot, page, 1, 0), (1, 0)), (lambda: qtbot.keyClick(page.grid, Qt.Key.Key_Return), (0, 20)),
    ):  # fmt: skip
        act()
        dialog = page.window().findChild(PictureDialog)
        assert dialog is not None and dialog.shown == shown
        qtbot.keyClick(dialog, Qt.Key.Key_Escape)
        QApplication.sendPostedEvents(None, 52)
    assert page.grid.chosen == 20, "the base cannot be chosen"


def test_the_base_is_compared_with_the_chosen_step(page: ResultsPage, qtbot: QtBot) -> None:
    click(qtbot, page, 0, 10)
    qtbot.mouseClick(page.compare_button, Qt.MouseButton.LeftButton)
    dialog = page.window().findChild(CompareDialog)
    assert dialog is not None and dialog.chosen == ((0, 0), (0, 10))
    dialog.close()


def test_many_checkpoints_scroll_and_the_base_stays(qtbot: QtBot, home: Path) -> None:
    page = ResultsPage()
    qtbot.addWidget(page)
    page.resize(900, 600)
    page.show_run(make_run(home / "runs", steps=range(1, 21)))
    page.show()
    qtbot.waitUntil(lambda: page.results is not None, timeout=WAIT)
    base = page.grid.cell_rect(0, 0)
    inside = page.grid.viewport().rect().toRectF()
    assert inside.contains(page.grid.cell_rect(0, 20)), "the chosen one is in sight"
    qtbot.keyClick(page.grid, Qt.Key.Key_Home)
    assert inside.contains(page.grid.cell_rect(0, 1)) and page.grid.cell_rect(0, 1).left() > base.right()
    assert page.grid.cell_rect(0, 0) == base
    page._reader.wait(10)


# Exporting


def test_the_form_proposes_the_runs_words_and_the_size(page: ResultsPage) -> None:
    panel = page.panel
    assert (panel.name.text(), panel.more.description.toPlainText(), panel.more.tags.text()) == (
        "zorblin",
        "A creature.",
        "green, one eye",
    )
    assert panel.more.precision.currentData() == "fp16" and panel.target == places.exports() / "zorblin.safetensors"
    assert "zorblin.safetensors, about" in panel._size.text()
    panel.name.setText("my: name/x")
    assert panel.target.name == "my_name_x.safetensors"
    panel.name.clear()
    assert panel.target.name == "zorblin.safetensors"


def test_export_writes_the_chosen_step_and_says_where_it_is(
    page: ResultsPage, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = stand_in(monkeypatch)
    click(qtbot, page, 0, 10)
    page.panel.name.clear()
    qtbot.keyClicks(page.panel.name, "nice one")
    page.panel.more.tags.setText("a, b")
    with qtbot.waitSignal(page.exported, timeout=WAIT) as done:
        qtbot.mouseClick(page.panel.button, Qt.MouseButton.LeftButton)
        assert not page.panel.button.isVisible(), "not twice"
    request, target = asked[0], places.exports() / "nice_one.safetensors"
    assert done.args == [target]
    assert (request.step, request.name, request.tags, request.precision, request.overwrite) == (
        10,
        "nice one",
        "a, b",
        "fp16",
        False,
    )
    assert request.picture == page.results.picture_of(10)  # type: ignore[union-attr]
    card = page.panel.done_card
    assert card.isVisible() and "nice_one.safetensors is ready: 5 kB" in card._sentence.text()
    assert (
        "models/Lora" in card._hint.text()
        and "models/loras" in card._hint.text()
        and "<b>zorblin</b>" in card._hint.text()
    )
    qtbot.mouseClick(card._copy, Qt.MouseButton.LeftButton)
    assert QGuiApplication.clipboard().text() == str(target)
    click(qtbot, page, 0, 20)
    assert page.panel.button.isVisible() and page.panel.button.isEnabled(), "the next one can be exported"
    assert page.panel.name.text() == "nice one", "what was typed stays"


def test_the_folder_opens_from_the_card(page: ResultsPage, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    from PySide6.QtGui import QDesktopServices

    opened: list[str] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()))
    card = page.panel.done_card
    card.show_made(exporter.Exported(Path("/x/y/z.safetensors"), 1), "")
    card._show.click()
    card.show_made(exporter.Exported(Path("/x/y/z.safetensors"), 1, bundle=Path("/x/y")), "")
    card._show.click()
    assert opened == ["/x/y", "/x/y"]


@pytest.mark.parametrize("there", ["zorblin.safetensors", "zorblin.preview.png", "zorblin.json"])
@pytest.mark.parametrize(("button", "replaced"), [("confirm_yes", True), ("confirm_cancel", False), ("escape", False)])
def test_a_file_that_is_there_is_replaced_only_after_a_yes(
    there: str, button: str, replaced: bool, page: ResultsPage, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = stand_in(monkeypatch)
    places.exports().mkdir(parents=True)
    (places.exports() / there).write_bytes(b"precious")
    heard = answer(qtbot, button)
    qtbot.mouseClick(page.panel.button, Qt.MouseButton.LeftButton)
    assert heard[0].startswith(f"Replace {there}?") and "cannot be undone" in heard[0]
    assert bool(asked) is replaced and page.panel.exporter.is_running is replaced
    if replaced:
        assert asked[0].overwrite
        qtbot.waitUntil(lambda: not page.panel.exporter.is_running, timeout=WAIT)
    else:
        assert (places.exports() / there).read_bytes() == b"precious"


def test_an_export_that_fails_says_so_and_can_be_tried_again(
    page: ResultsPage, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, """print('{"type": "failed", "message": "The disk is full."}')""")
    qtbot.mouseClick(page.panel.button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: page.panel._problem.isVisible(), timeout=WAIT)
    assert page.panel._problem.text() == "The disk is full." and page.panel.button.isEnabled()


def test_another_folder_is_remembered(
    page: ResultsPage, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *a: str(tmp_path / "models"))
    qtbot.mouseClick(page.panel._choose, Qt.MouseButton.LeftButton)
    assert page.panel.target == tmp_path / "models" / "zorblin.safetensors"
    again = ExportPanel()
    qtbot.addWidget(again)
    assert again.target.parent == tmp_path / "models"
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *a: "")
    qtbot.mouseClick(page.panel._choose, Qt.MouseButton.LeftButton)
    assert page.panel.target.parent == tmp_path / "models", "cancelled"


def test_what_the_run_did_meanwhile_is_there_when_the_page_is_shown_again(
    page: ResultsPage, qtbot: QtBot, run: RunFolder
) -> None:
    page.panel.name.setText("typed")
    page.hide()
    make_lora(run.checkpoint(15) / "lora.safetensors")
    (run.checkpoint(15) / "state.json").write_text("{}")
    page.show()
    qtbot.waitUntil(lambda: page.grid.steps() == [5, 10, 15, 20], timeout=WAIT)
    assert page.panel.name.text() == "typed" and page.grid.chosen == 20


def test_everything_that_can_be_used_has_a_name(page: ResultsPage) -> None:
    from PySide6.QtWidgets import QAbstractButton, QComboBox, QLineEdit, QPlainTextEdit

    for kind in (QAbstractButton, QComboBox, QPlainTextEdit, QLineEdit):
        for widget in page.findChildren(kind):
            if widget.objectName().startswith("qt_"):
                continue
            assert widget.objectName()
            assert (isinstance(widget, QAbstractButton) and widget.text()) or widget.accessibleName(), (
                widget.objectName()
            )
