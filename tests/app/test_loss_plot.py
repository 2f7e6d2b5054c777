from __future__ import annotations

import csv
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QImage, QMouseEvent
from PySide6.QtWidgets import QApplication, QFileDialog, QMenu, QMessageBox, QToolButton

from app import run_record
from app.widgets import loss_series
from app.widgets.loss_plot import LossPlot
from app.widgets.loss_series import LossSeries
from tests.app import run_fakes
from trainer import events as e
from trainer.run_folder import RunFolder

if TYPE_CHECKING:
    from pathlib import Path

    from pytestqt.qtbot import QtBot


def long_record(tmp_path: Path, count: int, total: int | None = None) -> run_record.RunRecord:
    record = run_record.RunRecord(RunFolder(tmp_path))
    record.take(e.Started(0, total or count, 4, 2, 9, "cpu", "fp32"))
    for step in range(1, count + 1):
        record.take(e.StepDone(step, 0.1 + 0.05 * math.sin(step), {"unet": 1e-3 * (1 - step / count)}, 0.1, 1.0))
    return record


@pytest.fixture
def plot(qtbot: QtBot) -> LossPlot:
    out = LossPlot()
    qtbot.addWidget(out)
    out.resize(460, 360)
    out.show()
    return out


def shown(qtbot: QtBot, plot: LossPlot, count: int) -> None:
    qtbot.waitUntil(lambda: plot.point_count == count and plot.canvas._drawn[0] == plot.series.steps[-1])


# ---- figures


@pytest.mark.parametrize("weight", [0.0, 0.5, 0.98])
def test_smoothing_in_blocks_is_the_record_s_own_average(weight: float, tmp_path: Path) -> None:
    record = long_record(tmp_path, 700)
    record.losses[0] = record.losses[300] = record.losses[301] = math.nan
    series = LossSeries(weight)
    series.take(record)
    np.testing.assert_allclose(series.smoothed, np.array(record.smoothed(weight)), rtol=1e-9)


def test_smoothing_step_by_step_is_the_same_as_at_once(tmp_path: Path) -> None:
    record, whole = long_record(tmp_path, 300), LossSeries()
    whole.take(record)
    growing, piece = LossSeries(), run_record.RunRecord(RunFolder(tmp_path))
    for step, loss in zip(record.steps, record.losses, strict=True):
        piece.take(e.StepDone(step, loss, {"unet": 1e-3}, 0.1, 1.0))
        assert growing.take(piece)
    np.testing.assert_allclose(growing.smoothed, whole.smoothed, rtol=1e-9)
    assert not growing.take(piece), "nothing new"


def test_a_run_that_goes_back_to_a_checkpoint_is_taken_anew(tmp_path: Path) -> None:
    record, series = long_record(tmp_path, 50), LossSeries()
    series.take(record)
    record.take(e.Started(20, 50, 4, 2, 9, "cpu", "fp32"))
    assert series.take(record) and len(series) == 20
    for step in range(21, 51):
        record.take(e.StepDone(step, 9.0, {"unet": 1e-3}, 0.1, 1.0))
    series.take(record)
    assert len(series) == 50 and series.losses[-1] == 9.0 and series.losses[10] < 1


def test_thinning_keeps_the_lowest_and_the_highest() -> None:
    steps, values = np.arange(100_000.0), np.random.default_rng(0).normal(size=100_000)
    values[43_210], values[77_777] = 50, -50
    at, thin = loss_series.thinned(steps, values, 200)
    assert len(at) <= 3 * 200 + 1 and thin.max() == 50 and thin.min() == -50 and (np.diff(at) > 0).all()
    same, _ = loss_series.thinned(steps[:300], values[:300], 200)
    assert len(same) == 300, "few points are left as they are"


def test_sampled_points_stay_the_same_when_the_view_moves() -> None:
    steps = np.arange(10_000.0)
    first, _ = loss_series.sampled(steps[1000:9000], steps[1000:9000], 1000, 1000)
    second, _ = loss_series.sampled(steps[1003:9003], steps[1003:9003], 1000, 1003)
    assert len(first) <= 1000 and set(second[:-1]) <= set(first) | {9000.0}


def test_single_outliers_do_not_press_the_line_flat() -> None:
    losses = np.full(1000, 0.1) + np.linspace(0, 0.01, 1000)
    losses[3] = 40.0
    span = loss_series.fitting_range(losses, losses[10:])
    assert span is not None and span[1] < 0.2
    assert loss_series.fitting_range(np.array([np.nan]), np.array([])) is None


# ---- the widget


def test_before_the_first_step_there_is_a_sentence(plot: LossPlot, tmp_path: Path) -> None:
    plot.set_record(run_record.RunRecord(RunFolder(tmp_path)))
    assert plot._empty.isVisible() and "after the first step" in plot._empty.text()
    assert not plot.findChild(QToolButton, "loss_export").isEnabled()


def test_a_recorded_run_is_drawn_with_its_marks(plot: LossPlot, qtbot: QtBot, tmp_path: Path) -> None:
    record = run_fakes.record_until(RunFolder(tmp_path))
    plot.set_record(record)
    shown(qtbot, plot, 60)
    canvas = plot.canvas
    assert len(canvas._line.getData()[0]) == 60 and len(canvas._rate_line.getData()[0]) == 60
    assert list(canvas._held_out.getData()[0]) == [0, 20, 40, 60]
    assert list(canvas._marks[0].getData()[0]) == [20, 40, 60] and list(canvas._marks[1].getData()[0]) == [
        0,
        20,
        40,
        60,
    ]


def test_a_hundred_thousand_steps_are_thinned(plot: LossPlot, qtbot: QtBot, tmp_path: Path) -> None:
    plot.set_record(long_record(tmp_path, 100_000))
    shown(qtbot, plot, 100_000)
    assert len(plot.canvas._line.getData()[0]) < 1_000 and plot.canvas._points._polygon.size() < 3_000


def test_new_steps_are_drawn_and_followed(plot: LossPlot, qtbot: QtBot, tmp_path: Path) -> None:
    record = long_record(tmp_path, 100)
    plot.set_record(record)
    shown(qtbot, plot, 100)
    for step in range(101, 161):
        record.take(e.StepDone(step, 0.1, {"unet": 1e-3}, 0.1, 1.0))
        plot.refresh()
    shown(qtbot, plot, 160)
    assert plot.canvas.steps_in_view()[1] >= 160


def test_zooming_away_from_the_newest_step_ends_following_and_the_button_brings_it_back(
    plot: LossPlot, qtbot: QtBot, tmp_path: Path
) -> None:
    plot.set_record(long_record(tmp_path, 500))
    shown(qtbot, plot, 500)
    follow = plot.findChild(QToolButton, "loss_follow")
    for key in (Qt.Key.Key_Plus, Qt.Key.Key_Plus, Qt.Key.Key_Left):
        qtbot.keyClick(plot.canvas, key)
    first, last = plot.canvas.steps_in_view()
    assert last - first < 300 and last < 500 and not follow.isChecked()
    qtbot.mouseClick(follow, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: plot.canvas.steps_in_view()[1] >= 500)
    assert plot.canvas.steps_in_view()[1] - plot.canvas.steps_in_view()[0] == pytest.approx(last - first)
    qtbot.mouseClick(plot.findChild(QToolButton, "loss_reset"), Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: plot.canvas.steps_in_view()[0] <= 0)


def test_the_other_keys_move_and_zoom_too(plot: LossPlot, qtbot: QtBot, tmp_path: Path) -> None:
    plot.set_record(long_record(tmp_path, 500))
    shown(qtbot, plot, 500)
    qtbot.keyClick(plot.canvas, Qt.Key.Key_Plus)
    narrow = plot.canvas.steps_in_view()
    qtbot.keyClick(plot.canvas, Qt.Key.Key_Right)
    assert plot.canvas.steps_in_view()[0] > narrow[0]
    qtbot.keyClick(plot.canvas, Qt.Key.Key_Minus)
    assert plot.canvas.steps_in_view()[1] - plot.canvas.steps_in_view()[0] > narrow[1] - narrow[0]
    qtbot.keyClick(plot.canvas, Qt.Key.Key_Home)
    qtbot.waitUntil(lambda: plot.canvas.steps_in_view()[0] <= 0)


def test_the_wheel_zooms_and_a_double_click_shows_all(plot: LossPlot, qtbot: QtBot, tmp_path: Path) -> None:
    plot.set_record(long_record(tmp_path, 500))
    shown(qtbot, plot, 500)
    plot.canvas._box.scaleBy((0.2, 1), center=(100, 0))
    plot.canvas._box.sigRangeChangedManually.emit([True, False])
    assert plot.canvas.steps_in_view()[1] < 250 and not plot.findChild(QToolButton, "loss_follow").isChecked()
    centre = plot.canvas.viewport().rect().center()
    qtbot.mouseClick(plot.canvas.viewport(), Qt.MouseButton.LeftButton, pos=centre)
    qtbot.mouseDClick(plot.canvas.viewport(), Qt.MouseButton.LeftButton, pos=centre)
    qtbot.mouseRelease(plot.canvas.viewport(), Qt.MouseButton.LeftButton, pos=centre)
    qtbot.waitUntil(lambda: plot.canvas.steps_in_view()[1] >= 500)


def test_dragging_moves_along_the_steps(plot: LossPlot, qtbot: QtBot, tmp_path: Path) -> None:
    plot.set_record(long_record(tmp_path, 500))
    shown(qtbot, plot, 500)
    viewport = plot.canvas.viewport()
    centre = viewport.rect().center()
    before = plot.canvas.viewRange()
    qtbot.mousePress(viewport, Qt.MouseButton.LeftButton, pos=centre)
    for way in (20, 40, 60, 80):
        qtbot.wait(30)  # the plot takes mouse movements at a limited rate
        move = QMouseEvent(
            QEvent.Type.MouseMove, QPointF(centre + QPoint(way, 30)), viewport.mapToGlobal(centre + QPoint(way, 30)).toPointF(),
            Qt.MouseButton.NoButton, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier,
        )  # fmt: skip
        QApplication.sendEvent(viewport, move)
    qtbot.mouseRelease(viewport, Qt.MouseButton.LeftButton, pos=centre + QPoint(80, 30))
    after = plot.canvas.viewRange()
    assert after[0][0] < before[0][0] - 50 and after[1] == before[1]


def test_the_logarithmic_scale_can_be_switched_on_and_off(plot: LossPlot, qtbot: QtBot, tmp_path: Path) -> None:
    plot.set_record(long_record(tmp_path, 200))
    shown(qtbot, plot, 200)
    button = plot.findChild(QToolButton, "loss_log")
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: plot.canvas._line.getData()[1].max() < 0)
    assert 10 ** plot.canvas._line.getData()[1][-1] == pytest.approx(plot.series.smoothed[-1])
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: plot.canvas._line.getData()[1].min() > 0)


def test_the_slider_smooths(plot: LossPlot, qtbot: QtBot, tmp_path: Path) -> None:
    plot.set_record(long_record(tmp_path, 200))
    shown(qtbot, plot, 200)
    plot._smoothing.setValue(0)
    np.testing.assert_allclose(plot.series.smoothed, plot.series.losses)
    plot._smoothing.setValue(100)
    assert np.ptp(plot.series.smoothed[100:]) < 0.01


def test_the_figures_under_the_mouse_stand_in_place_of_the_legend(plot: LossPlot, qtbot: QtBot, tmp_path: Path) -> None:
    plot.set_record(long_record(tmp_path, 200))
    shown(qtbot, plot, 200)
    assert "smoothed" in plot._legend.text() and "Step" not in plot._legend.text()
    at = plot.canvas._box.mapViewToScene(QPointF(100, 0.1))
    plot.canvas.scene().sigMouseMoved.emit(at)
    assert plot._legend.text().startswith("Step 100 · loss 0.0") and plot.canvas._cross.isVisible()
    plot.canvas.scene().sigMouseMoved.emit(QPointF(-50, -50))
    assert "Step" not in plot._legend.text() and not plot.canvas._cross.isVisible()


def test_another_theme_repaints(plot: LossPlot, qtbot: QtBot, tmp_path: Path, qapp: object) -> None:
    from app import theme

    plot.set_record(long_record(tmp_path, 50))
    shown(qtbot, plot, 50)
    theme.apply(qapp, "dark")  # type: ignore[arg-type]
    background = plot.canvas.grab().toImage().pixelColor(QPoint(60, 20))
    assert background.lightness() < 100


def test_while_hidden_nothing_is_drawn_and_all_is_there_afterwards(
    plot: LossPlot, qtbot: QtBot, tmp_path: Path
) -> None:
    record = long_record(tmp_path, 50, 100)
    plot.set_record(record)
    shown(qtbot, plot, 50)
    plot.hide()
    record.take(e.StepDone(51, 0.1, {"unet": 1e-3}, 0.1, 1.0))
    plot.refresh()
    qtbot.wait(150)
    assert plot.point_count == 50
    plot.show()
    shown(qtbot, plot, 51)


# ---- export


def click_export(plot: LossPlot, name: str) -> None:
    menu = plot.findChild(QMenu)
    next(action for action in menu.actions() if action.objectName() == name).trigger()


def answer(monkeypatch: pytest.MonkeyPatch, path: Path | str) -> list[str]:
    asked: list[str] = []

    def ask(_parent: object, title: str, suggestion: str, _kinds: str) -> tuple[str, str]:
        asked.append(suggestion)
        return str(path), ""

    monkeypatch.setattr(QFileDialog, "getSaveFileName", ask)
    return asked


def test_the_table_holds_a_row_a_step(
    plot: LossPlot, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plot.set_record(run_fakes.record_until(RunFolder(tmp_path)), "zorblin")
    asked = answer(monkeypatch, tmp_path / "out" / "figures")
    (tmp_path / "out").mkdir()
    with qtbot.waitSignal(plot.export.saved) as told:
        click_export(plot, "loss_export_csv")
    assert asked[0].endswith("zorblin loss.csv") and told.args == [f"Saved as {tmp_path / 'out' / 'figures.csv'}"]
    rows = list(csv.DictReader((tmp_path / "out" / "figures.csv").read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 61 and rows[0]["step"] == "0" and rows[0]["loss"] == "" and float(rows[0]["held_out_loss"]) > 0
    assert rows[20]["step"] == "20" and float(rows[20]["loss"]) == pytest.approx(plot.series.losses[19], rel=1e-6)
    assert rows[20]["held_out_loss"] and not rows[19]["held_out_loss"]


def test_the_picture_is_a_png_of_twice_the_size(
    plot: LossPlot, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plot.set_record(run_fakes.record_until(RunFolder(tmp_path)), "zorblin")
    shown(qtbot, plot, 60)
    answer(monkeypatch, tmp_path / "plot.png")
    with qtbot.waitSignal(plot.export.saved):
        click_export(plot, "loss_export_png")
    image = QImage(str(tmp_path / "plot.png"))
    assert image.width() == 2 * plot.canvas.width() and "plot.png" in plot._legend.text()


def test_cancel_writes_nothing(plot: LossPlot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plot.set_record(run_fakes.record_until(RunFolder(tmp_path / "run")))
    answer(monkeypatch, "")
    click_export(plot, "loss_export_csv")
    click_export(plot, "loss_export_png")
    plot.export.wait()
    assert list(tmp_path.glob("*.*")) == []


def test_a_file_that_the_dialog_did_not_ask_about_is_asked_about(
    plot: LossPlot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plot.set_record(run_fakes.record_until(RunFolder(tmp_path)))
    (tmp_path / "mine.csv").write_text("precious")
    answer(monkeypatch, tmp_path / "mine")
    questions: list[str] = []

    def no(_parent: object, _title: str, text: str) -> QMessageBox.StandardButton:
        questions.append(text)
        return QMessageBox.StandardButton.No

    monkeypatch.setattr(QMessageBox, "question", no)
    click_export(plot, "loss_export_csv")
    plot.export.wait()
    assert questions == ["mine.csv exists already. Replace it?"] and (tmp_path / "mine.csv").read_text() == "precious"


def test_a_place_that_cannot_be_written_is_told_in_a_sentence(
    plot: LossPlot, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plot.set_record(run_fakes.record_until(RunFolder(tmp_path)))
    (tmp_path / "file").write_text("")
    answer(monkeypatch, tmp_path / "file" / "plot.csv")
    with qtbot.waitSignal(plot.export.saved) as told:
        click_export(plot, "loss_export_csv")
    assert told.args[0].startswith("plot.csv could not be saved: ")
