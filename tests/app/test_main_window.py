"""The window as a whole, with a stand-in for the worker."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QFileDialog, QInputDialog, QMessageBox, QPushButton, QToolButton

import resources
from app import errors, places, preferences, run_queue, theme
from app.main_window import PLACES, MainWindow
from app.widgets.queue_list import QueueList
from tests.app import workers
from tests.app.test_intake import lora
from tests.conftest import draw_pictures
from trainer.errors import RunError
from trainer.run_folder import RunFolder

if TYPE_CHECKING:
    from pathlib import Path

    from pytestqt.qtbot import QtBot

SMALL = {"base": "demo", "resolution": 64, "bucket_step": 8, "bucket_min": 32}


def click(window: MainWindow, name: str, qtbot: QtBot) -> None:
    button = window.findChild(QPushButton, name) or window.findChild(QToolButton, name)
    assert button is not None, name
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def ready(window: MainWindow, qtbot: QtBot) -> None:
    qtbot.waitUntil(lambda: window.planner.is_current and window.planner.plan.is_ready, timeout=10_000)


def project_with_pictures(window: MainWindow, qtbot: QtBot, tmp_path: Path) -> Path:
    folder = draw_pictures(tmp_path / "zorb")
    window.do.take([folder])
    window.project.set_many(SMALL)
    ready(window, qtbot)
    return folder


def drop(window: MainWindow, *paths: Path) -> QDropEvent:
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(p)) for p in paths])
    place, action, none = QPointF(window.rect().center()), Qt.DropAction.CopyAction, Qt.KeyboardModifier.NoModifier
    window.dragEnterEvent(QDragEnterEvent(place, action, mime, Qt.MouseButton.LeftButton, none))
    event = QDropEvent(place, action, mime, Qt.MouseButton.LeftButton, none)
    window.dropEvent(event)
    return event


def test_it_begins_on_the_start_page_with_nothing_to_train(window: MainWindow) -> None:
    assert window.place == "start" and window.windowTitle() == "LoRA Atelier"
    assert not window.findChild(QPushButton, "train").isEnabled()  # type: ignore[union-attr]
    assert not window.findChild(QToolButton, "rail_recipe").isEnabled()  # type: ignore[union-attr]


def test_try_the_demo_and_train_is_the_next_click(window: MainWindow, qtbot: QtBot, tmp_path: Path) -> None:
    workers.use(tmp_path, workers.RUNS_TO_THE_END)
    click(window, "try_demo", qtbot)
    ready(window, qtbot)
    assert window.place == "dataset" and "16 pictures" in window.planner.plan.sentence
    with qtbot.waitSignal(window.queue.ended, timeout=10_000):
        click(window, "train", qtbot)
    assert window.place == "training" and window.training.controller is window.queue.current
    assert window.queue.current is not None and window.queue.current.folder.path.is_relative_to(places.runs())


@pytest.mark.parametrize("place", PLACES)
def test_every_place_is_reached_with_the_mouse_and_the_keyboard(
    place: str, window: MainWindow, qtbot: QtBot, tmp_path: Path
) -> None:
    project_with_pictures(window, qtbot, tmp_path)
    click(window, f"rail_{place}", qtbot)
    assert window.place == place
    window.go("start")
    qtbot.keyClick(window, Qt.Key(Qt.Key.Key_1.value + PLACES.index(place)), Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: window.place == place, timeout=2000)


def test_a_folder_dropped_anywhere_starts_a_project(window: MainWindow, qtbot: QtBot, tmp_path: Path) -> None:
    folder = draw_pictures(tmp_path / "3_zörb")
    assert drop(window, folder).isAccepted()
    qtbot.waitUntil(lambda: window.project.is_open and window.pictures.included_count == 6, timeout=5000)
    assert window.project.title == "zörb" and window.place == "dataset" and "zörb" in window.windowTitle()
    assert not window._overlay.isVisible()
    prompts = [row["prompt"] for row in window.project.value("previews")]
    assert window.project.value("trigger") == "blob", "it stands in front of every caption"
    assert prompts[0] == "blob, number 0, round thing" and len(prompts) == 4, (
        "the newcomer sees pictures while it trains"
    )
    qtbot.waitUntil(lambda: bool(window.planner.plan.problems), timeout=5000)
    assert window.planner.plan.problems[0].field == "base", "a newcomer is told to choose a base model"


def test_more_pictures_are_added_to_the_open_project_or_become_a_new_one(
    window: MainWindow, qtbot: QtBot, tmp_path: Path
) -> None:
    project_with_pictures(window, qtbot, tmp_path)
    other = draw_pictures(tmp_path / "other")
    window.do.take([other])
    assert window.project.value("more_data") == [str(other)] and "other added to" in window.banner.text
    click(window, "banner_action_0", qtbot)
    assert window.project.title == "other" and window.project.value("more_data") == []


def test_a_base_model_a_lora_and_settings_are_recognised(window: MainWindow, qtbot: QtBot, tmp_path: Path) -> None:
    base, file = resources.path("demo", "model"), lora(tmp_path / "l.safetensors")
    window.do.take([base])
    assert "will be the base model of the next project" in window.banner.text
    window.do.take([file])
    assert window.banner.text == "l.safetensors is a LoRA."
    click(window, "banner_action_0", qtbot)
    assert "Open or begin a project" in window.banner.text
    project_with_pictures(window, qtbot, tmp_path)
    window.do.take([base])
    assert window.project.value("base") == str(base)
    click(window, "banner_action_0", qtbot)
    assert window.project.value("base") == "demo"
    window.do.train_further(file)
    assert window.project.value("start_from") == str(file)
    window.do.take([resources.path("demo", "style.toml")])
    assert window.place == "recipe" and window.project.value("trigger") == "nwave style"


def test_what_is_nothing_is_told(window: MainWindow, tmp_path: Path) -> None:
    window.do.take([tmp_path])
    assert "holds no pictures" in window.banner.text


def test_a_problem_leads_to_its_setting(window: MainWindow, qtbot: QtBot, tmp_path: Path) -> None:
    project_with_pictures(window, qtbot, tmp_path)
    window.project.set("rank", 0)
    qtbot.waitUntil(lambda: bool(window.planner.plan.problems), timeout=5000)
    click(window, "plan_problem", qtbot)
    assert window.place == "recipe"
    window.do.mend("data")
    assert window.place == "dataset"


def test_train_again_while_one_runs_queues_it(window: MainWindow, qtbot: QtBot, tmp_path: Path) -> None:
    workers.use(tmp_path, workers.WAITS_FOR_A_WORD)
    project_with_pictures(window, qtbot, tmp_path)
    click(window, "train", qtbot)
    qtbot.waitUntil(lambda: window.queue.current.record.step == 3, timeout=10_000)  # type: ignore[union-attr]
    assert window.windowTitle().startswith("30 %") and window.findChild(QPushButton, "train").text() == "Add to queue"  # type: ignore[union-attr]
    for _ in range(2):
        click(window, "train", qtbot)
    first, second = window.queue.waiting
    queue_list = window.findChild(QueueList)
    assert queue_list is not None and queue_list.isVisibleTo(window) and "2 runs to go" in window.banner.text
    click(window, "queue_down_0", qtbot)
    assert window.queue.waiting == [second, first]
    click(window, "queue_close_1", qtbot)
    assert window.queue.waiting == [second]


def answer(monkeypatch: pytest.MonkeyPatch, text: str) -> list[str]:
    """Clicks the button with this text in the next message box."""
    asked: list[str] = []

    def clicked(box: QMessageBox) -> int:
        asked.append(box.text())
        button = next(b for b in box.buttons() if b.text().replace("&", "") == text)
        button.click()
        return 0

    monkeypatch.setattr(QMessageBox, "exec", clicked)
    return asked


@pytest.mark.parametrize("choice", ["Cancel", "Stop and keep", "Keep training in the background"])
def test_closing_while_a_run_trains_asks(
    choice: str, window: MainWindow, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = tmp_path / "said"
    body = workers.WAITS_FOR_A_WORD.replace(
        "word = heard()", f"word = heard(); open({str(said)!r}, 'a').write(word + chr(10))"
    )
    workers.use(tmp_path, body)
    project_with_pictures(window, qtbot, tmp_path)
    click(window, "train", qtbot)
    qtbot.waitUntil(lambda: window.queue.current.record.step == 3, timeout=10_000)  # type: ignore[union-attr]
    asked = answer(monkeypatch, choice)
    window.close()
    assert asked == ["A run is training."]
    if choice == "Cancel":
        assert window.isVisible() and window.queue.is_running
    elif choice == "Stop and keep":
        assert window.isVisible(), "until the LoRA is saved"
        qtbot.waitUntil(lambda: not window.isVisible(), timeout=10_000)
        assert said.read_text().split() == ["stop"]
    else:
        assert not window.isVisible()
        qtbot.waitUntil(lambda: said.exists() and "detach" in said.read_text(), timeout=5000)
        folder = window.queue.current.folder  # type: ignore[union-attr]
        assert run_queue.left_over()[0] == folder, "the next start finds it"


def test_a_run_that_was_cut_off_is_offered_and_can_be_left_or_resumed(
    window: MainWindow, qtbot: QtBot, tmp_path: Path
) -> None:
    workers.use(tmp_path, workers.RUNS_TO_THE_END)
    project_with_pictures(window, qtbot, tmp_path)
    from trainer import run_folder

    folder = run_folder.create(window.project.settings())
    window.do.offer_left_over(folder, [])
    assert "was cut off before its first checkpoint" in window.banner.text
    (folder.checkpoint(20)).mkdir(parents=True)
    (folder.checkpoint(20) / "state.json").write_text("{}")
    window.do.offer_left_over(folder, [])
    assert "everything up to step 20 is safe" in window.banner.text
    click(window, "banner_action_1", qtbot)
    assert json.loads((places.home() / "queue.json").read_text()) == {"training": "", "waiting": []}
    window.do.offer_left_over(folder, [])
    with qtbot.waitSignal(window.queue.ended, timeout=10_000):
        click(window, "banner_action_0", qtbot)
    assert window.queue.current is not None and window.queue.current.folder == folder


def test_a_run_that_goes_on_in_the_background_is_offered_and_followed(
    window: MainWindow, qtbot: QtBot, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    from trainer import settings_file
    from trainer.settings import TrainingSettings

    folder.settings_path.write_text(settings_file.dumps(TrainingSettings(name="zorb")))
    with folder.locked():
        window.do.offer_left_over(folder, [])
        assert "is still training in the background" in window.banner.text
        click(window, "banner_action_0", qtbot)
        assert window.queue.is_running and window.place == "training"
    qtbot.waitUntil(lambda: not window.queue.is_running, timeout=5000)


def test_a_failed_start_is_told_where_the_run_is_shown(window: MainWindow, qtbot: QtBot, tmp_path: Path) -> None:
    workers.use(
        tmp_path,
        "begin(); tell('failed', message='The disk is full; free 2 GB.', field='', unforeseen=False); sys.exit(1)",
    )
    project_with_pictures(window, qtbot, tmp_path)
    with qtbot.waitSignal(window.queue.ended, timeout=10_000) as signal:
        click(window, "train", qtbot)
    assert signal.args[0].sentence() == "The disk is full; free 2 GB."


def test_dialogs_that_are_cancelled_change_nothing(window: MainWindow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: "")
    monkeypatch.setattr(QFileDialog, "getOpenFileNames", lambda *_: ([], ""))
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: ("", ""))
    monkeypatch.setattr(QInputDialog, "getText", lambda *_: ("x", False))
    for act in (
        window.do.new_project,
        window.do.choose_folder,
        window.do.choose_files,
        window.do.choose_project,
        window.do.rename,
    ):
        act()
    assert not window.project.is_open and window.place == "start"


def test_dialogs_that_are_answered(window: MainWindow, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = draw_pictures(tmp_path / "zorb")
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(folder))
    window.do.new_project()
    assert window.project.title == "zorb" and preferences.get("last_folder", "") == str(tmp_path)
    monkeypatch.setattr(QFileDialog, "getOpenFileNames", lambda *_: ([str(folder / "0.png")], ""))
    window.do.choose_files()
    assert window.project.value("more_data") == [str(folder / "0.png")]
    monkeypatch.setattr(QInputDialog, "getText", lambda *_: ("Better name", True))
    window.do.rename()
    assert window.windowTitle().startswith("Better name")


def test_the_theme_can_be_chosen_and_is_remembered(window: MainWindow) -> None:
    window.do.set_theme("dark")
    assert theme.is_dark() and preferences.get("theme", "") == "dark"
    window.do.set_theme("light")


def test_geometry_is_remembered(window: MainWindow, qtbot: QtBot) -> None:
    window.resize(781, 703)
    window.close()
    again = MainWindow()
    assert (again.width(), again.height()) == (781, 703)
    again.deleteLater()


def test_the_smallest_window_cuts_nothing_off(window: MainWindow, qtbot: QtBot, tmp_path: Path) -> None:
    project_with_pictures(window, qtbot, tmp_path)
    window.resize(1280, 720)
    for place in PLACES:
        window.go(place)
        qtbot.wait(30)
        for button in (window.findChild(QPushButton, "train"), window.findChild(QToolButton, f"rail_{place}")):
            assert button is not None
            corner = button.mapTo(window, QPoint(button.width(), button.height()))
            assert corner.x() <= 1280 and corner.y() <= 720, place


def test_an_error_that_nobody_foresaw_is_a_sentence_and_is_logged(
    window: MainWindow, capsys: pytest.CaptureFixture[str]
) -> None:
    assert errors.sentence(RunError("The disk is full.")) == "The disk is full."
    assert "Something went wrong that should not have (KeyError)" in errors.sentence(KeyError("x"))
    errors.log("a traceback")
    assert "a traceback" in (places.home() / "window.log").read_text() and "a traceback" in capsys.readouterr().err
