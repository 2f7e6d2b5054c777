"""A newcomer's first minutes, with the real worker: the demo, Train, watch, Stop, Export, and the file in diffusers."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QPushButton

import resources
from trainer import lora_file

if TYPE_CHECKING:
    from pathlib import Path

    from pytestqt.qtbot import QtBot

    from app.main_window import MainWindow

LOAD = """
import sys, torch
from diffusers import StableDiffusionPipeline
pipe = StableDiffusionPipeline.from_pretrained(sys.argv[1], safety_checker=None, requires_safety_checker=False)
before = [p.clone() for p in pipe.unet.parameters()]
pipe.load_lora_weights(sys.argv[2])
pipe.fuse_lora()
moved = sum(float((a - b).abs().sum()) for a, b in zip(before, [p for n, p in pipe.unet.named_parameters() if "lora" not in n]))
print(len(pipe.get_list_adapters()["unet"]), moved > 0)
"""


def click(window: MainWindow, name: str, qtbot: QtBot) -> None:
    button = window.findChild(QPushButton, name)
    assert button is not None and button.isEnabled(), name
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def test_the_demo_is_trained_watched_stopped_and_exported(window: MainWindow, qtbot: QtBot, home: Path) -> None:
    click(window, "try_demo", qtbot)
    window.project.set_many(
        {
            "steps": 400,
            "batch_size": 1,
            "preview_every_steps": 5,
            "save_every_steps": 5,
            "previews": [window.project.value("previews")[0] | {"steps": 4}],
        }
    )
    qtbot.waitUntil(
        lambda: window.planner.is_current and window.planner.plan.is_ready and window.planner.plan.total_steps == 400,
        timeout=20_000,
    )
    click(window, "train", qtbot)
    controller = window.queue.current
    assert controller is not None
    record = controller.record
    qtbot.waitUntil(
        lambda: record.step >= 20 and bool(controller.record.preview_steps) and record.preview_steps[-1] >= 20,
        timeout=180_000,
    )
    training = window.training
    qtbot.waitUntil(lambda: training.plot.point_count >= 20, timeout=5000)
    qtbot.waitUntil(lambda: len(training.timeline.steps) >= 4, timeout=10_000)
    with qtbot.waitSignal(window.queue.ended, timeout=120_000):
        stop = training.findChild(QAction, "run_stop_keep")
        assert stop is not None and stop.isEnabled()
        stop.trigger()
    assert controller.state == "stopped" and record.exported, controller.sentence()

    window.do.show_results(controller.folder)
    results = window.results
    qtbot.waitUntil(lambda: len(results.grid.steps()) >= 2, timeout=10_000)
    with qtbot.waitSignal(results.exported, timeout=120_000) as signal:
        click(window, "export_button", qtbot)
    path: Path = signal.args[0]
    assert path.is_relative_to(home) and lora_file.read_header(path).metadata["modelspec.title"] == "zorblin"
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(resources.path("demo", "model")), str(path)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.split() == ["1", "True"], done.stderr
