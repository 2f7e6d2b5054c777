from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from PySide6.QtCore import Qt, QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import (
    QApplication,
    QFrame,
    QLabel,
    QLineEdit,
    QMenu,
    QMessageBox,
    QProgressBar,
    QPushButton,
    QToolButton,
    QWidget,
)

from app import theme
from app.pages.training import TrainingPage
from app.run_record import RunRecord
from app.widgets.memory_gauge import MemoryGauge
from app.widgets.run_header import figures, state_words
from tests.app import run_fakes
from tests.app.run_fakes import FakeController
from trainer import events as e

if TYPE_CHECKING:
    from pathlib import Path

    from pytestqt.qtbot import QtBot

    from trainer.run_folder import RunFolder


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return run_fakes.make_folder(tmp_path, with_previews=True)


@pytest.fixture
def page(qtbot: QtBot) -> TrainingPage:
    out = TrainingPage()
    qtbot.addWidget(out)
    out.resize(1150, 620)
    out.show()
    return out


def text(page: QWidget, name: str) -> str:
    return page.findChild(QLabel, name).text()


def button(page: QWidget, name: str) -> QPushButton:
    return page.findChild(QPushButton, name)


def click(page: QWidget, qtbot: QtBot, name: str) -> None:
    assert button(page, name).isVisible() and button(page, name).isEnabled()
    qtbot.mouseClick(button(page, name), Qt.MouseButton.LeftButton)


def visible_buttons(page: QWidget) -> list[str]:
    names = ("run_pause", "run_save", "run_sample", "run_stop", "run_kill")
    return [name for name in names if button(page, name).isVisible()]


def training(folder: RunFolder, step: int = 30) -> FakeController:
    return FakeController(run_fakes.record_until(folder, step=step))


# ---- states


def test_without_a_run_it_says_what_will_be_here(page: TrainingPage) -> None:
    empty = page.findChild(QWidget, "training_empty")
    assert empty.isVisible() and page.controller is None
    assert "Press Train below, and watch your LoRA learn here." in [
        label.text() for label in empty.findChildren(QLabel)
    ]


def test_while_it_prepares_the_phase_is_counted(page: TrainingPage, folder: RunFolder, qtbot: QtBot) -> None:
    controller = FakeController(RunRecord(folder))
    page.show_run(controller)  # type: ignore[arg-type]
    assert text(page, "run_title") == "zorblin" and text(page, "run_state") == "Starting…"
    controller.take(e.Hello(1, "test", ""))
    controller.take(e.Phase("Encoding pictures", 12, 24))
    qtbot.waitUntil(lambda: text(page, "run_state") == "Preparing: encoding pictures, 12 of 24")
    bar = page.findChild(QProgressBar)
    assert (bar.value(), bar.maximum()) == (12, 24)
    assert not button(page, "run_pause").isEnabled() and button(page, "run_stop").isEnabled()


def test_a_running_run_shows_its_figures_its_curve_and_its_pictures(
    page: TrainingPage, folder: RunFolder, qtbot: QtBot
) -> None:
    page.show_run(training(folder))  # type: ignore[arg-type]
    assert text(page, "run_state") == "Training" and text(page, "run_figures").startswith("Step 30 of 60  ·  ")
    assert "left" in text(page, "run_figures") and "epoch 2 of 4" in text(page, "run_figures")
    assert visible_buttons(page) == ["run_pause", "run_save", "run_sample", "run_stop"]
    qtbot.waitUntil(lambda: page.plot.point_count == 30)
    assert page.timeline.steps == [0, 20] and not page.end_card.isVisible()
    assert page.findChild(MemoryGauge).isVisible()


def test_events_come_in_and_are_shown(page: TrainingPage, folder: RunFolder, qtbot: QtBot) -> None:
    controller = training(folder)
    page.show_run(controller)  # type: ignore[arg-type]
    started = False
    for event in run_fakes.recorded():
        started = started or (isinstance(event, e.StepDone) and event.step > 30)
        if started:
            controller.take(event)
    controller.end("finished")
    qtbot.waitUntil(lambda: page.plot.point_count == 60 and page.timeline.steps == [0, 20, 40, 60])
    assert text(page, "run_state") == "Finished" and page.findChild(QProgressBar).value() == 1000


def test_while_another_page_is_shown_nothing_is_drawn(page: TrainingPage, folder: RunFolder, qtbot: QtBot) -> None:
    controller = training(folder)
    page.show_run(controller)  # type: ignore[arg-type]
    qtbot.waitUntil(lambda: page.plot.point_count == 30)
    page.hide()
    controller.take(e.StepDone(31, 0.1, {"unet": 1e-3}, 0.1, 1.0))
    qtbot.wait(300)
    assert page.plot.point_count == 30
    page.show()
    qtbot.waitUntil(lambda: page.plot.point_count == 31 and text(page, "run_figures").startswith("Step 31"))


def test_pause_and_resume(page: TrainingPage, folder: RunFolder, qtbot: QtBot) -> None:
    controller = training(folder)
    page.show_run(controller)  # type: ignore[arg-type]
    click(page, qtbot, "run_pause")
    assert controller.told == ["pause"] and text(page, "run_state") == "Pausing after this step…"
    assert not button(page, "run_pause").isEnabled(), "it has been heard"
    controller.take(e.Paused(30))
    assert text(page, "run_state") == "Paused" and button(page, "run_pause").text() == "Resume"
    assert not button(page, "run_save").isEnabled()
    click(page, qtbot, "run_pause")
    controller.take(e.Resumed(30))
    assert controller.told == ["pause", "resume"] and button(page, "run_pause").text() == "Pause"


def test_save_now_and_sample_now_are_heard_once_until_they_are_done(
    page: TrainingPage, folder: RunFolder, qtbot: QtBot
) -> None:
    controller = training(folder)
    page.show_run(controller)  # type: ignore[arg-type]
    click(page, qtbot, "run_save")
    assert (
        text(page, "run_state") == "A checkpoint is written after this step…"
        and not button(page, "run_save").isEnabled()
    )
    controller.take(e.CheckpointSaved(31, "checkpoints/000031"))
    click(page, qtbot, "run_sample")
    assert text(page, "run_state") == "Previews are drawn after this step…"
    event = e.PreviewDrawn(31, 0, 1, "samples/000031_p0_s1.png")
    run_fakes.draw(folder, event)
    controller.take(event)
    assert button(page, "run_save").isEnabled() and button(page, "run_sample").isEnabled()
    assert controller.told == ["save", "sample"]
    qtbot.waitUntil(lambda: page.timeline.steps == [0, 20, 31] and text(page, "run_state") == "Training")


@pytest.mark.parametrize(("action", "told"), [("run_stop_keep", "stop and keep"), ("run_stop_only", "stop")])
def test_stop(page: TrainingPage, folder: RunFolder, qtbot: QtBot, action: str, told: str) -> None:
    controller = training(folder)
    page.show_run(controller)  # type: ignore[arg-type]
    menu = button(page, "run_stop").findChild(QMenu)
    assert menu.defaultAction().objectName() == "run_stop_keep"
    next(a for a in menu.actions() if a.objectName() == action).trigger()
    assert controller.told == [told] and text(page, "run_state").startswith("Stopping: what was learned is being saved")
    assert visible_buttons(page) == [] and page.header._patience.isActive()
    controller.take(e.Finished(30, completed=False))
    controller.end("stopped")
    assert text(page, "end_heading") == "Stopped at step 30" and not page.header._patience.isActive()
    assert text(page, "end_sentence").startswith("What was learned so far is saved.")


def test_a_stop_that_takes_long_can_be_cut_short(
    page: TrainingPage, folder: RunFolder, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes]

    def ask(_parent: QWidget, _title: str, question: str) -> QMessageBox.StandardButton:
        assert "since the last checkpoint is lost" in question
        return answers.pop(0)

    monkeypatch.setattr(QMessageBox, "question", ask)
    page.header._patience.setInterval(30)
    controller = training(folder)
    page.show_run(controller)  # type: ignore[arg-type]
    controller.stop(keep=True)
    assert visible_buttons(page) == []
    qtbot.waitUntil(lambda: visible_buttons(page) == ["run_kill"])
    click(page, qtbot, "run_kill")
    assert "kill" not in controller.told
    click(page, qtbot, "run_kill")
    assert "kill" in controller.told


def test_a_worker_that_is_only_followed_cannot_be_ended_at_once(
    page: TrainingPage, folder: RunFolder, qtbot: QtBot
) -> None:
    page.header._patience.setInterval(0)
    controller = training(folder)
    controller.can_kill = False
    page.show_run(controller)  # type: ignore[arg-type]
    controller.stop(keep=True)
    qtbot.waitUntil(lambda: not page.header._patience.isActive())
    assert visible_buttons(page) == []


# ---- ends


def test_a_finished_run_leads_to_the_results(page: TrainingPage, folder: RunFolder, qtbot: QtBot) -> None:
    page.show_run(FakeController(run_fakes.record_until(folder), running=False))  # type: ignore[arg-type]
    assert text(page, "end_heading") == "Done. Your LoRA is ready."
    assert text(page, "end_sentence").startswith("It is in the file zorblin.safetensors.")
    assert not button(page, "end_resume").isVisible() and visible_buttons(page) == []
    with qtbot.waitSignal(page.resultsWanted) as wanted:
        click(page, qtbot, "end_results")
    assert wanted.args == [folder]


def test_a_failed_run_says_why_and_what_to_do(page: TrainingPage, folder: RunFolder, qtbot: QtBot) -> None:
    controller = training(folder)
    page.show_run(controller)  # type: ignore[arg-type]
    controller.take(e.Failed("Memory is full. Lower the batch size; then resume the run."))
    controller.end("failed", "Memory is full. Lower the batch size; then resume the run.")
    assert page.end_card.isVisible() and text(page, "end_heading") == "The run could not go on"
    assert text(page, "end_sentence") == "Memory is full. Lower the batch size; then resume the run."
    assert button(page, "end_resume").text() == "Resume from step 20" and not page.end_card._tail.isVisible()
    qtbot.mouseClick(page.findChild(QToolButton, "end_tail_head"), Qt.MouseButton.LeftButton)
    assert page.end_card._tail.isVisible() and "RuntimeError: out of memory" in page.end_card._tail.toPlainText()
    with qtbot.waitSignal(page.resumeRequested) as wanted:
        click(page, qtbot, "end_resume")
    assert wanted.args == [controller]
    folder.log_path.write_text("all of it\n")
    click(page, qtbot, "end_log")
    assert page.log.is_open and page.log.text() == "all of it\n"


def test_a_run_that_ended_before_its_first_checkpoint_can_be_started_again(
    page: TrainingPage, folder: RunFolder
) -> None:
    record = RunRecord(folder)
    record.take(e.Hello(1, "test", ""))
    controller = FakeController(record)
    page.show_run(controller)  # type: ignore[arg-type]
    controller.end("lost", "The worker ended with status 3 before the run was finished. Press Start again.")
    assert text(page, "end_heading") == "The run ended early" and button(page, "end_resume").text() == "Start again"
    assert text(page, "run_state") == "Ended early" and not button(page, "end_results").isVisible()


def test_a_run_that_goes_on_after_a_failure_puts_the_card_away(page: TrainingPage, folder: RunFolder) -> None:
    controller = training(folder)
    page.show_run(controller)  # type: ignore[arg-type]
    controller.end("lost", "It went away.")
    controller.is_running = True
    controller.take(e.Hello(1, "test", ""))
    assert not page.end_card.isVisible() and text(page, "run_state") == "Preparing…"


def test_the_folder_is_opened_or_its_place_told(
    page: TrainingPage, folder: RunFolder, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls: list[str] = []

    def open_url(url: QUrl) -> bool:
        urls.append(url.toLocalFile())
        return False

    monkeypatch.setattr(QDesktopServices, "openUrl", open_url)
    page.show_run(FakeController(run_fakes.record_until(folder), running=False))  # type: ignore[arg-type]
    click(page, qtbot, "end_folder")
    assert urls == [str(folder.path)] and text(page, "run_state") == f"The folder cannot be opened; it is {folder.path}"


# ---- the rest


def test_hints_can_be_put_away_and_come_again_with_another_run(
    page: TrainingPage, folder: RunFolder, qtbot: QtBot
) -> None:
    controller = training(folder)
    page.show_run(controller)  # type: ignore[arg-type]
    controller.take(e.Warned("3 pictures are small."))
    qtbot.waitUntil(page.hints.isVisible)
    assert "3 pictures are small." in [label.text() for label in page.hints.findChildren(QLabel)]
    with qtbot.waitSignal(page.hints.dismissed):
        qtbot.mouseClick(page.hints.findChild(QToolButton, "hint_close"), Qt.MouseButton.LeftButton)
    assert not page.hints.isVisible()
    page.show_run(None)
    page.show_run(controller)  # type: ignore[arg-type]
    assert page.hints.isVisible()


def test_another_run_takes_over_and_the_old_one_is_not_heard_any_more(
    page: TrainingPage, tmp_path: Path, qtbot: QtBot
) -> None:
    old, new = training(run_fakes.make_folder(tmp_path)), training(run_fakes.make_folder(tmp_path), step=10)
    page.show_run(old)  # type: ignore[arg-type]
    page.show_run(new)  # type: ignore[arg-type]
    old.end("failed", "Not of interest.")
    assert not page.end_card.isVisible() and text(page, "run_figures").startswith("Step 10 of 60")
    page.show_run(new)  # type: ignore[arg-type]
    new.end("failed", "Of interest.")
    assert text(page, "end_sentence") == "Of interest."
    page.show_run(None)
    assert page.findChild(QWidget, "training_empty").isVisible()


def test_a_run_whose_settings_are_gone_is_named_by_its_folder(page: TrainingPage, folder: RunFolder) -> None:
    controller = training(folder)
    folder.settings_path.unlink()
    page.show_run(controller)  # type: ignore[arg-type]
    assert text(page, "run_title") == folder.path.name


def test_the_queue_takes_no_room_while_it_is_empty(page: TrainingPage, folder: RunFolder, qtbot: QtBot) -> None:
    page.show_run(training(folder))  # type: ignore[arg-type]
    queue = QFrame()
    queue.setMinimumHeight(50)
    page.queue_box.layout().addWidget(queue)
    qtbot.waitUntil(lambda: page.queue_box.height() > 50)
    queue.hide()
    qtbot.waitUntil(lambda: page.queue_box.height() == 0)


@pytest.mark.parametrize("size", [(1150, 620), (900, 560)])
def test_nothing_is_cut_off(page: TrainingPage, folder: RunFolder, size: tuple[int, int], qapp: QApplication) -> None:
    page.resize(*size)
    controller = training(folder)
    page.show_run(controller)  # type: ignore[arg-type]
    controller.end("failed", "Memory is full. " * 12)
    qapp.processEvents()
    assert (page.width(), page.height()) == size
    for child in page.findChildren(QPushButton):
        if child.isVisible():
            assert page.rect().contains(child.rect().translated(child.mapTo(page, child.rect().topLeft()))), (
                child.objectName()
            )
            assert child.width() >= child.sizeHint().width(), child.objectName()


def test_another_theme_is_taken_on(page: TrainingPage, folder: RunFolder, qapp: QApplication) -> None:
    page.show_run(training(folder))  # type: ignore[arg-type]
    theme.apply(qapp, "dark")
    page.grab()
    assert page.grab().toImage().pixelColor(5, 5).lightness() < 60


def test_everything_that_can_be_clicked_has_a_name(page: TrainingPage, folder: RunFolder) -> None:
    page.show_run(training(folder))  # type: ignore[arg-type]
    for child in [*page.findChildren(QPushButton), *page.findChildren(QToolButton)]:
        if child.objectName().startswith("qt_") or isinstance(child.parent(), QLineEdit):
            continue  # Qt's own
        assert child.objectName() and (child.text() or child.accessibleName()), child


@pytest.mark.parametrize(
    ("state", "phase", "words"),
    [
        ("training", e.Phase("Drawing previews", 0, 4), "Training · drawing previews, 1 of 4"),
        ("training", e.Phase("Drawing previews", 3, 4), "Training · drawing previews, 4 of 4"),
        ("preparing", e.Phase("Loading the base model"), "Preparing: loading the base model"),
        ("paused", None, "Paused"),
        ("stopped", None, "Stopped"),
    ],
)
def test_states_in_words(state: str, phase: e.Phase | None, words: str, folder: RunFolder) -> None:
    assert state_words(RunRecord(folder, state=state, phase=phase), is_running=True) == words


def test_a_run_that_waits_is_not_called_starting(folder: RunFolder) -> None:
    assert state_words(RunRecord(folder), is_running=False) == "Not started yet"


def test_figures_of_a_fast_and_of_a_slow_run(folder: RunFolder) -> None:
    record = RunRecord(folder)
    assert figures(record) == ""
    record.take(e.Started(0, 1600, 16, 100, 9, "cuda", "bf16"))
    assert figures(record) == "Step 0 of 1,600  ·  epoch 1 of 16"
    for step in range(1, 4):
        record.take(e.StepDone(step, 0.1, {"unet": 1e-4}, 0.05, 3.2))
    assert figures(record) == "Step 3 of 1,600  ·  1 min left  ·  20 steps a second  ·  epoch 1 of 16"
