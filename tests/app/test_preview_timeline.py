from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication, QComboBox, QLabel, QPushButton, QToolButton

from app.run_record import RunRecord
from app.widgets.compare_dialog import CompareDialog
from app.widgets.picture_dialog import PictureDialog
from app.widgets.picture_loader import PictureLoader
from app.widgets.preview_table import ANY, PreviewModel
from app.widgets.preview_timeline import PreviewTimeline
from app.widgets.previews import Previews, step_name
from tests.app import run_fakes
from trainer import events as e

if TYPE_CHECKING:
    from pathlib import Path

    from pytestqt.modeltest import ModelTester
    from pytestqt.qtbot import QtBot


@pytest.fixture
def record(tmp_path: Path) -> RunRecord:
    """A run of 60 steps with previews of two prompts at 0, 20, 40 and 60."""
    return run_fakes.record_until(run_fakes.make_folder(tmp_path, with_previews=True))


@pytest.fixture
def timeline(qtbot: QtBot, record: RunRecord) -> PreviewTimeline:
    out = PreviewTimeline()
    qtbot.addWidget(out)
    out.resize(640, 480)
    out.set_record(record, list(run_fakes.PROMPTS))
    out.show()
    return out


def draw_more(record: RunRecord, step: int) -> None:
    for prompt in range(2):
        event = e.PreviewDrawn(step, prompt, 1, f"samples/{step:06d}_p{prompt}_s1.png")
        run_fakes.draw(record.folder, event)
        record.take(event)


def title(timeline: PreviewTimeline) -> str:
    return timeline.findChild(QLabel, "previews_title").text()


def steps_shown(timeline: PreviewTimeline) -> list[int]:
    return [int(path.name[:6]) for path in timeline.stage.shown() if path is not None]


# ---- what is there


def test_steps_have_names() -> None:
    assert step_name(0) == "before" and step_name(1200) == "step 1,200"


def test_a_prompt_that_was_not_drawn_at_a_step_shows_its_last_picture(tmp_path: Path) -> None:
    previews = Previews(["a"], {0: {0: tmp_path / "a", 20: tmp_path / "b"}, 2: {20: tmp_path / "c"}})
    assert previews.rows == 3 and previews.prompt(0) == "a" and previews.prompt(2) == "Prompt 3"
    assert previews.latest(0, 19) == (0, tmp_path / "a") and previews.latest(0, 99) == (20, tmp_path / "b")
    assert previews.latest(2, 19) is None and previews.path(1, 0) is None


def test_the_model_is_a_proper_one(qtbot: QtBot, qtmodeltester: ModelTester, record: RunRecord) -> None:
    loader = PictureLoader()
    model = PreviewModel(loader)
    qtmodeltester.check(model)
    files = {row: dict(by_step) for row, by_step in record.previews.items()}
    model.refresh(Previews(list(run_fakes.PROMPTS), files))
    assert (model.rowCount(), model.columnCount()) == (2, 4)
    files[0][80] = record.folder.sample(60, 0, 1)
    with qtbot.waitSignal(model.columnsInserted):
        model.refresh(Previews(list(run_fakes.PROMPTS), {row: dict(by_step) for row, by_step in files.items()}))
    files[1][10] = record.folder.sample(60, 1, 3)
    with qtbot.waitSignal(model.modelReset):
        model.refresh(Previews(list(run_fakes.PROMPTS), files))
    across, down = Qt.Orientation.Horizontal, Qt.Orientation.Vertical
    assert [model.headerData(i, across) for i in range(6)] == ["before", "10", "20", "40", "60", "80"]
    assert model.headerData(1, down) == "zorblin, plain background"
    assert model.index(0, 1).data(ANY) is None and model.index(1, 1).data(Qt.ItemDataRole.AccessibleTextRole)
    qtmodeltester.check(model)


# ---- the timeline


def test_before_the_first_preview_there_is_a_sentence(qtbot: QtBot, tmp_path: Path) -> None:
    timeline = PreviewTimeline()
    qtbot.addWidget(timeline)
    timeline.set_record(RunRecord(run_fakes.make_folder(tmp_path)), list(run_fakes.PROMPTS))
    timeline.show()
    empty = timeline.findChild(QLabel, "previews_empty")
    assert empty.isVisible() and empty.text() == "The first previews appear here before the first step"
    timeline.set_record(RunRecord(run_fakes.make_folder(tmp_path)), [])
    assert empty.text().startswith("This run draws no previews. Add preview prompts")


def test_the_newest_pictures_are_large_at_once(timeline: PreviewTimeline, qtbot: QtBot) -> None:
    assert title(timeline) == "Step 60 (newest)" and steps_shown(timeline) == [60, 60]
    qtbot.waitUntil(
        lambda: (
            timeline.stage.grab().toImage().pixelColor(timeline.stage.cell(0).center().toPoint()).name() == "#f0c83c"
        )
    )


def test_new_pictures_take_over_unless_the_user_looks_back(
    timeline: PreviewTimeline, record: RunRecord, qtbot: QtBot
) -> None:
    draw_more(record, 80)
    timeline.refresh()
    assert timeline.step == 80 and steps_shown(timeline) == [80, 80]
    qtbot.keyClick(timeline.slider, Qt.Key.Key_Left)
    qtbot.keyClick(timeline.slider, Qt.Key.Key_Left)
    assert timeline.step == 40 and title(timeline) == "Step 40"
    draw_more(record, 100)
    timeline.refresh()
    assert timeline.step == 40 and timeline.slider.maximum() == 5


def test_the_table_stays_at_the_newest_column_unless_scrolled_back(
    timeline: PreviewTimeline, record: RunRecord, qtbot: QtBot
) -> None:
    for step in range(80, 400, 20):
        draw_more(record, step)
    timeline.refresh()
    bar = timeline.table.horizontalScrollBar()
    qtbot.waitUntil(lambda: bar.maximum() > 0 and bar.value() == bar.maximum())
    bar.setValue(0)
    draw_more(record, 400)
    timeline.refresh()
    QApplication.processEvents()
    assert bar.value() == 0
    timeline.show_step(380)
    timeline.show_step(400)
    assert bar.value() == bar.maximum()


def test_a_picture_that_is_drawn_anew_is_read_again(timeline: PreviewTimeline, record: RunRecord, qtbot: QtBot) -> None:
    def middle() -> str:
        return timeline.stage.grab().toImage().pixelColor(timeline.stage.cell(0).center().toPoint()).name()

    qtbot.waitUntil(lambda: middle() == "#f0c83c")
    event = next(
        ev for ev in run_fakes.recorded() if isinstance(ev, e.PreviewDrawn) and ev.step == 60 and ev.prompt == 0
    )
    run_fakes.draw(record.folder, event, (255, 0, 255))
    timeline.loader.forget(record.folder.path / event.path)
    timeline.refresh()
    qtbot.waitUntil(lambda: middle() == "#ff00ff")


def test_a_picture_that_cannot_be_read_does_no_harm(qtbot: QtBot, tmp_path: Path) -> None:
    record = run_fakes.record_until(run_fakes.make_folder(tmp_path))  # no files
    timeline = PreviewTimeline()
    qtbot.addWidget(timeline)
    timeline.set_record(record, list(run_fakes.PROMPTS))
    timeline.show()
    newest = record.previews[0][60]
    qtbot.waitUntil(lambda: timeline.loader.is_broken(newest))
    timeline.grab()


def test_play_goes_from_the_first_step_to_the_last_and_stops(timeline: PreviewTimeline, qtbot: QtBot) -> None:
    timeline._player.setInterval(1)
    seen: list[int] = []
    timeline.stepShown.connect(seen.append)
    play = timeline.findChild(QToolButton, "previews_play")
    qtbot.mouseClick(play, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not play.isChecked())
    assert seen == [0, 20, 40, 60] and not timeline._player.isActive()


def test_the_keyboard_in_the_table_chooses_the_step(timeline: PreviewTimeline, qtbot: QtBot) -> None:
    timeline.activateWindow()
    timeline.table.setFocus()
    qtbot.waitUntil(timeline.table.hasFocus)
    timeline.table.setCurrentIndex(timeline.table.previews_model.index(0, 2))
    assert timeline.step == 40
    qtbot.keyClick(timeline.table, Qt.Key.Key_Left)
    assert timeline.step == 20


# ---- enlarging


def opened(kind: type[PictureDialog] | type[CompareDialog]) -> PictureDialog | CompareDialog:
    return next(w for w in QApplication.topLevelWidgets() if isinstance(w, kind) and w.isVisible())


def test_a_click_on_a_large_picture_enlarges_it(timeline: PreviewTimeline, qtbot: QtBot) -> None:
    qtbot.mouseClick(timeline.stage, Qt.MouseButton.LeftButton, pos=timeline.stage.cell(1).center().toPoint())
    dialog = opened(PictureDialog)
    assert isinstance(dialog, PictureDialog) and dialog.shown == (1, 60)
    dialog.close()


def test_a_click_in_the_table_enlarges_and_arrow_keys_go_on(timeline: PreviewTimeline, qtbot: QtBot) -> None:
    table = timeline.table
    at = table.visualRect(table.previews_model.index(0, 1)).center()
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=at)
    dialog = opened(PictureDialog)
    assert isinstance(dialog, PictureDialog) and dialog.shown == (0, 20)
    assert timeline.step == 60, "the large pictures stay with the newest step"
    for key, shown in (
        (Qt.Key.Key_Right, (0, 40)), (Qt.Key.Key_Right, (0, 60)), (Qt.Key.Key_Right, (0, 60)), (Qt.Key.Key_Down, (1, 60)),
        (Qt.Key.Key_Down, (1, 60)), (Qt.Key.Key_Left, (1, 40)), (Qt.Key.Key_Up, (0, 40)),
    ):  # fmt: skip
        qtbot.keyClick(dialog, key)
        assert dialog.shown == shown
    qtbot.mouseClick(dialog.findChild(QToolButton, "picture_earlier"), Qt.MouseButton.LeftButton)
    assert dialog.shown == (0, 20) and dialog.findChild(QLabel, "picture_title").text() == "Step 20"
    qtbot.keyClick(dialog, Qt.Key.Key_Escape)
    qtbot.waitUntil(
        lambda: not any(isinstance(w, PictureDialog) and w.isVisible() for w in QApplication.topLevelWidgets())
    )


def test_the_parameters_in_the_file_can_be_copied(timeline: PreviewTimeline, qtbot: QtBot) -> None:
    dialog = timeline.enlarge(0, 60)
    copy = dialog.findChild(QPushButton, "picture_copy")
    qtbot.waitUntil(copy.isEnabled)
    qtbot.mouseClick(copy, Qt.MouseButton.LeftButton)
    assert QGuiApplication.clipboard().text().startswith("prompt 0\nSteps: 20, Seed: ")
    dialog.close()


# ---- comparing


def test_compare_shows_before_and_now(timeline: PreviewTimeline, qtbot: QtBot) -> None:
    qtbot.mouseClick(timeline.findChild(QPushButton, "previews_compare"), Qt.MouseButton.LeftButton)
    dialog = opened(CompareDialog)
    assert isinstance(dialog, CompareDialog) and dialog.chosen == ((0, 0), (0, 60))
    qtbot.waitUntil(lambda: dialog.view.accessibleDescription() == "before at the left, step 60 at the right")
    dialog.findChild(QComboBox, "compare_right_step").setCurrentIndex(1)
    dialog.findChild(QComboBox, "compare_right_prompt").setCurrentIndex(1)
    assert (
        dialog.chosen == ((0, 0), (1, 20))
        and "zorblin, plain background, step 20" in dialog.view.accessibleDescription()
    )
    qtbot.mouseClick(dialog.findChild(QPushButton, "compare_swap"), Qt.MouseButton.LeftButton)
    assert dialog.chosen == ((1, 20), (0, 0))
    dialog.close()


def test_two_marked_pictures_are_compared(timeline: PreviewTimeline, qtbot: QtBot) -> None:
    table = timeline.table
    for column in (3, 1):
        at = table.visualRect(table.previews_model.index(0, column)).center()
        qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.ControlModifier, QPoint(at))
        assert not [w for w in QApplication.topLevelWidgets() if isinstance(w, PictureDialog)]
    qtbot.mouseClick(timeline.findChild(QPushButton, "previews_compare"), Qt.MouseButton.LeftButton)
    dialog = opened(CompareDialog)
    assert isinstance(dialog, CompareDialog) and dialog.chosen == ((0, 20), (0, 60))
    dialog.close()


def test_an_enlarged_picture_is_compared_with_the_one_before_training(timeline: PreviewTimeline, qtbot: QtBot) -> None:
    dialog = timeline.enlarge(1, 40)
    qtbot.mouseClick(dialog.findChild(QPushButton, "picture_compare"), Qt.MouseButton.LeftButton)
    compare = opened(CompareDialog)
    assert isinstance(compare, CompareDialog) and compare.chosen == ((1, 0), (1, 40))
    compare.close()


# ---- the loader


def test_the_loader_keeps_within_its_room(qtbot: QtBot, record: RunRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.widgets.picture_loader.MAX_BYTES", 64 * 64 * 4 * 3)
    loader = PictureLoader()
    paths = [path for by_step in record.previews.values() for path in by_step.values()]
    for path in paths:
        with qtbot.waitSignal(loader.loaded):
            assert loader.get(path, 100) is None
        assert loader.get(path, 100) is not None
    assert len(loader._kept) == 3 and loader.get(paths[-1], 100) is not None


def test_a_loader_that_is_gone_hears_no_late_picture(record: RunRecord, qapp: QApplication) -> None:
    loader = PictureLoader()
    loader.get(record.previews[0][0], 100)
    del loader
    qapp.processEvents()
