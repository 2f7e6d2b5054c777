"""The export panel as a person uses it: the bundle, what is under More, progress and Cancel, the good end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QProgressBar

from app import places, run_results
from app.exporter import Exported
from app.widgets.export_panel import ExportPanel
from tests.app.run_folders import make_run
from tests.app.test_results_page import WAIT, answer, stand_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PySide6.QtWidgets import QPushButton
    from pytestqt.qtbot import QtBot


@pytest.fixture
def panel(qtbot: QtBot, home: Path) -> Iterator[ExportPanel]:
    """Step 20 of a run is chosen."""
    out = ExportPanel()
    qtbot.addWidget(out)
    out.resize(320, 640)
    out.set_results(run_results.read(make_run(home / "runs")))
    out.set_step(20)
    out.show()
    yield out
    out.exporter.finish()


def press(qtbot: QtBot, button: QPushButton) -> None:
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def test_a_newcomer_sees_a_name_a_place_and_two_buttons(panel: ExportPanel, qtbot: QtBot) -> None:
    assert panel.name.isVisible() and panel.button.isVisible() and panel.bundle_button.isVisible()
    assert not panel.more.isVisible() and not panel.progress.isVisible() and not panel._problem.isVisible()
    panel.more_button.setFocus()
    qtbot.keyClick(panel.more_button, Qt.Key.Key_Space)
    assert panel.more.isVisible() and panel.more.names.isVisible()
    again = ExportPanel()
    qtbot.addWidget(again)
    assert again.more_button.isChecked(), "who looks for it wants it again"


def test_the_bundle_is_one_click(panel: ExportPanel, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = stand_in(monkeypatch)
    panel.name.setText("my: one")
    with qtbot.waitSignal(panel.exported, timeout=WAIT):
        press(qtbot, panel.bundle_button)
    (request,) = asked
    folder = places.exports() / "my_one for Civitai"
    assert (request.is_bundle, request.out, request.names, request.with_data, request.overwrite) == (
        True,
        folder,
        "kohya",
        False,
        False,
    )
    card = panel.done_card
    assert card.isVisible() and card._sentence.text() == "my_one for Civitai is ready."
    assert card._proof.text() == "Loads in A1111; largest difference 0.0004." and card._proof.isVisible()
    steps = card._hint.text()
    assert (
        steps.count("<li") == 5 and "description.md" in steps and "<b>zorblin</b>" in steps and "_data.zip" not in steps
    )
    press(qtbot, card._again)
    assert panel.bundle_button.isVisible()


def test_a_bundle_that_is_there_is_replaced_only_after_a_yes(
    panel: ExportPanel, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, folder = stand_in(monkeypatch), panel.bundle_target
    folder.mkdir(parents=True)
    (folder / "description.md").write_text("mine")
    heard = answer(qtbot, "confirm_cancel")
    press(qtbot, panel.bundle_button)
    assert heard[0].startswith("Replace zorblin for Civitai?") and asked == []
    answer(qtbot, "confirm_yes")
    press(qtbot, panel.bundle_button)
    assert asked[0].overwrite
    qtbot.waitUntil(lambda: not panel.exporter.is_running, timeout=WAIT)
    (folder / "a.safetensors").unlink()
    (folder / "diary.txt").write_text("precious")
    panel._show_form()
    press(qtbot, panel.bundle_button)
    assert "holds other files (diary.txt)" in panel._problem.text() and len(asked) == 1


def test_the_training_pictures_go_along_only_when_asked(
    panel: ExportPanel, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = stand_in(monkeypatch)
    press(qtbot, panel.more_button)
    panel.more.with_data.click()
    with qtbot.waitSignal(panel.exported, timeout=WAIT):
        press(qtbot, panel.bundle_button)
    assert asked[0].with_data and "_data.zip" in panel.done_card._hint.text()
    other = run_results.read(make_run(places.runs(), "other"))
    panel.set_results(other)
    assert not panel.more.with_data.isChecked(), "another run's pictures may be private"


def test_a_file_for_scripts_has_nothing_beside_it(
    panel: ExportPanel, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = stand_in(monkeypatch)
    press(qtbot, panel.more_button)
    panel.more.names.setFocus()
    qtbot.keyClick(panel.more.names, Qt.Key.Key_Down)
    assert not panel.more.beside.isEnabled()
    with qtbot.waitSignal(panel.exported, timeout=WAIT):
        press(qtbot, panel.button)
    assert (asked[0].names, asked[0].picture, asked[0].with_words) == ("peft", None, False)
    assert "load_lora_weights" in panel.done_card._hint.text() and "models/Lora" not in panel.done_card._hint.text()


def test_what_lies_beside_and_the_proof_can_be_left_out_and_that_is_remembered(
    panel: ExportPanel, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = stand_in(monkeypatch)
    press(qtbot, panel.more_button)
    for box in (panel.more.beside, panel.more.prove):
        assert box.isChecked()
        box.click()
    with qtbot.waitSignal(panel.exported, timeout=WAIT):
        press(qtbot, panel.button)
    assert (asked[0].picture, asked[0].with_words, asked[0].prove) == (None, False, False)
    again = ExportPanel()
    qtbot.addWidget(again)
    assert not again.more.beside.isChecked() and not again.more.prove.isChecked()


def test_progress_is_shown_and_cancel_gives_up(
    panel: ExportPanel, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(
        monkeypatch, """print('{"type": "progress", "label": "Comparing", "done": 2, "total": 3}', flush=True)""",
        "assert sys.stdin.readline() == 'cancel\\n'", """print('{"type": "cancelled"}')""",
    )  # fmt: skip
    press(qtbot, panel.button)
    qtbot.waitUntil(lambda: panel.progress.text == "Comparing…", timeout=WAIT)
    bar = panel.progress.findChild(QProgressBar, "export_progress")
    assert bar is not None
    assert (bar.value(), bar.maximum()) == (666, 1000) and panel.progress.isVisible()
    assert not panel.button.isVisible() and not panel.bundle_button.isVisible() and not panel.name.isEnabled()
    panel.set_step(10)
    with qtbot.waitSignal(panel.exporter.cancelled, timeout=WAIT):
        press(qtbot, panel.progress.cancel_button)
        assert not panel.progress.cancel_button.isEnabled()
    assert panel._problem.text() == "Cancelled; nothing was written." and panel.button.isVisible()
    assert not panel.progress.isVisible() and panel.name.isEnabled()


def test_the_card_shows_only_what_there_is(panel: ExportPanel) -> None:
    card = panel.done_card
    panel._layers.setCurrentWidget(card)
    card.show_made(Exported(Path("/x/a.safetensors"), 5000), "<b>")
    assert not card._proof_row.isVisible() and not card._note.isVisible() and "&lt;b&gt;" in card._hint.text()
    card.show_made(Exported(Path("/x/b/a.safetensors"), 5000, "Loads.", True, "No pictures.", Path("/x/b")), "")
    assert card._proof_row.isVisible() and card._note.text() == "No pictures." and "trigger" not in card._hint.text()
    assert card.path == Path("/x/b/a.safetensors")
