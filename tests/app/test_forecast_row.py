"""The forecast under Train: the verdict, the figures, and changes that are one click each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QPushButton, QToolButton

from app import forecast_words, plan
from app.main_window import MainWindow
from app.widgets.forecast_row import ForecastRow
from app.widgets.train_bar import TrainBar
from tests.conftest import draw_pictures
from trainer import dataset, forecast_run, machine
from trainer.machine import Memory
from trainer.settings import TrainingSettings

if TYPE_CHECKING:
    from pathlib import Path

    from pytestqt.qtbot import QtBot

    from trainer.forecast_run import Forecast

HEAVY: dict[str, Any] = {"trigger": "zorb", "resolution": 512, "batch_size": 8, "device": "cpu", "precision": "bf16"}


def limit(monkeypatch: pytest.MonkeyPatch, free_gb: float) -> None:
    """So much memory is free from now on."""
    monkeypatch.setattr(machine, "own_memory", lambda: Memory(64 * 10**9, round(free_gb * 1e9)))


@pytest.fixture
def pictures(tmp_path: Path) -> dataset.DataSet:
    return dataset.scan(draw_pictures(tmp_path / "pictures"))


def told(pictures: dataset.DataSet, **changes: Any) -> Forecast:
    return forecast_run.foretell(TrainingSettings(**(HEAVY | changes)), pictures, None, [])


def text(bar: TrainBar, name: str) -> str:
    label = bar.findChild(QLabel, name)
    assert isinstance(label, QLabel)
    return "" if label.isHidden() else label.text()


def test_the_bar_says_what_a_run_needs_in_a_word_and_a_line(
    qtbot: QtBot, pictures: dataset.DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    bar = TrainBar()
    qtbot.addWidget(bar)
    need = told(pictures, packed_weights="off").memory.bytes / 1e9
    for factor, word, role in ((3.0, "Fits", "good"), (1.05, "Tight", "warn"), (0.8, "Does not fit", "bad")):
        limit(monkeypatch, need * factor)
        made = plan.make(HEAVY | {"packed_weights": "off"}, pictures.pictures)
        bar.set_plan(made)
        assert text(bar, "plan_verdict") == word
        assert bar.findChild(QLabel, "plan_verdict").property("role") == role  # type: ignore[union-attr]
        assert f"About {need:.1f} GB memory, {need * factor:.1f} GB free" in text(bar, "plan_needs")
        assert "LoRA file" in text(bar, "plan_needs")
        assert "Encoding the pictures" in bar.findChild(QLabel, "plan_needs").toolTip()  # type: ignore[union-attr]
        assert made.is_ready  # a forecast forbids nothing


def test_problems_and_looking_take_the_forecasts_place(qtbot: QtBot, pictures: dataset.DataSet) -> None:
    bar = TrainBar()
    qtbot.addWidget(bar)
    good = plan.make(HEAVY, pictures.pictures)
    bar.set_plan(good)
    assert text(bar, "plan_needs")
    bar.set_plan(good, busy="Looking…")
    assert not text(bar, "plan_needs") and not text(bar, "plan_verdict")
    bar.set_plan(plan.make(HEAVY | {"rank": 0}, pictures.pictures))
    assert not text(bar, "plan_needs")
    bar.set_plan(None)
    assert not text(bar, "plan_needs")


def test_the_strip_offers_changes_and_can_be_closed(
    qtbot: QtBot, pictures: dataset.DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = ForecastRow()
    qtbot.addWidget(row)
    limit(monkeypatch, 100)
    row.set_outlook(told(pictures).memory)
    assert row.isHidden()
    limit(monkeypatch, told(pictures, packed_weights="off").memory.bytes * 0.8 / 1e9)
    found = told(pictures, packed_weights="off").memory
    row.set_outlook(found)
    assert not row.isHidden()
    sentence = row.findChild(QLabel, "forecast_text").text()  # type: ignore[union-attr]
    assert (
        sentence.startswith("It does not fit: training needs about")
        and "Most of it is intermediate results" in sentence
    )
    button = row.findChild(QPushButton, "forecast_mend_0")
    assert isinstance(button, QPushButton) and "instead of" in button.text()
    with qtbot.waitSignal(row.mendChosen) as signal:
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert signal.args == [dict(found.mends[0].changes)]
    qtbot.mouseClick(row.findChild(QToolButton, "forecast_close"), Qt.MouseButton.LeftButton)
    assert row.isHidden()
    row.set_outlook(found)
    assert row.isHidden()  # closed stays closed
    limit(monkeypatch, 100)
    row.set_outlook(told(pictures).memory)
    limit(monkeypatch, found.bytes * 0.8 / 1e9)
    row.set_outlook(told(pictures, packed_weights="off").memory)
    assert not row.isHidden()  # until it has fitted again
    row.set_outlook(None)
    assert row.isHidden()


def test_one_click_changes_the_recipe_and_undo_takes_it_back(
    qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = draw_pictures(tmp_path / "pictures")
    need = told(dataset.scan(folder), packed_weights="off").memory.bytes / 1e9
    limit(monkeypatch, need * 0.8)
    window = MainWindow()
    qtbot.addWidget(window)
    window.show()
    window.project.create("x", HEAVY | {"packed_weights": "off", "data": str(folder)})
    qtbot.waitUntil(lambda: not window.forecast.isHidden(), timeout=20_000)
    before = window.project.values
    button = window.forecast.findChild(QPushButton, "forecast_mend_0")
    changes = dict(window.planner.plan.forecast.memory.mends[0].changes)  # type: ignore[union-attr]
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert window.project.values == before | changes
    assert window.banner.text.startswith("Changed in the recipe:")
    qtbot.waitUntil(lambda: window.forecast.isHidden() or "tight" in window.forecast._text.text(), timeout=20_000)
    qtbot.mouseClick(window.banner.findChild(QPushButton, "banner_action_0"), Qt.MouseButton.LeftButton)
    assert window.project.values == before
    qtbot.waitUntil(lambda: not window.forecast.isHidden(), timeout=20_000)
    window.close()


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (1.0, "about as quick"), (1.1, "about a tenth slower"), (1.2, "about a quarter slower"),
        (1.35, "about a third slower"), (1.5, "about half slower"), (2.5, "about 2.5 times as long"),
    ],
)  # fmt: skip
def test_slower_in_words(factor: float, words: str) -> None:
    assert forecast_words.slower(factor) == words


def test_every_change_has_words() -> None:
    changes: list[tuple[str, object]] = [
        ("packed_weights", "off"), ("gradient_checkpointing", "some"), ("gradient_checkpointing", "all"), ("micro_batch", 2),
        ("quantization", "int8"), ("quantization", "nf4"), ("offload", True), ("resolution", 384),
    ]  # fmt: skip
    words = [forecast_words._change(name, value) for name, value in changes]
    assert len(set(words)) == len(words) and not any("_" in word for word in words)


def test_where_no_memory_can_be_asked_only_the_need_is_told(
    qtbot: QtBot, pictures: dataset.DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "gpu_memory", lambda _index=0: None)
    found = told(pictures, device="cuda")
    assert forecast_words.line(found).startswith("About ") and "free" not in forecast_words.line(found)
    assert forecast_words.problem(found.memory) == "" and forecast_words.verdict(found.memory.verdict) == ""
    bar = TrainBar()
    qtbot.addWidget(bar)
    bar.set_plan(plan.make(HEAVY | {"device": "cuda"}, pictures.pictures))
    assert not text(bar, "plan_verdict") and "GPU memory" in text(bar, "plan_needs")
