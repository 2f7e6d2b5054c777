"""How long events block the window: 50 a second for 20 s, twice, into the training page, which holds 100,000 steps already.

    python -m tests.benchmarks.window_events [--seconds 20] [--points 100000]

A heartbeat wants to beat every 4 ms; what it comes late is how long the main thread was blocked. On a machine that is busy with
other work the scheduler adds to this, so the time that the main thread itself computed between two beats is given as well.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import tempfile
import threading
import time
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
from PIL import Image
from PySide6.QtCore import QEventLoop, Qt, QTimer
from PySide6.QtWidgets import QApplication

import resources
from app import theme
from app.pages.training import TrainingPage
from app.run_controller import RunController
from trainer import events as e
from trainer import run_folder, settings_file

BEAT_MS = 4
EVENTS_A_SECOND = 50


class Heart:
    """Measures the main thread: wall time beyond the beat, and its own computing between two beats."""

    def __init__(self) -> None:
        self.late_ms: list[float] = []
        self.busy_ms: list[float] = []
        self._wall, self._busy = time.perf_counter(), time.thread_time()
        self._timer = QTimer(interval=BEAT_MS, timerType=Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._beat)
        self._timer.start()

    def _beat(self) -> None:
        wall, busy = time.perf_counter(), time.thread_time()
        self.late_ms.append(max(0.0, (wall - self._wall) * 1000 - BEAT_MS))
        self.busy_ms.append((busy - self._busy) * 1000)
        self._wall, self._busy = wall, busy

    def stop(self) -> None:
        self._timer.stop()


def step_done(step: int, total: int) -> e.StepDone:
    loss = 0.05 + 0.15 * math.exp(-4 * step / total) + random.expovariate(12) * 0.3
    return e.StepDone(step, loss, {"unet": 1e-3 * (1 - step / total)}, 0.02, 3.2)


def make_controller(runs: Path, points: int, total: int) -> RunController:
    values = settings_file.read_dict(resources.path("demo", "character.toml")) | {
        "runs_folder": str(runs),
        "steps": total,
    }
    folder = run_folder.create(settings_file.from_dict(values))
    controller = RunController(folder)
    record = controller.record
    record.take(e.Started(0, total, 16, 2, 380_928, "cpu", "fp32"))
    for step in range(1, points + 1):
        record.take(step_done(step, total))
    for step in range(0, points + 1, max(1, points // 100)):
        record.take(e.Validated(step, 0.1))
        record.checkpoints.append(step)
    for step in range(0, points + 1, max(1, points // 20)):
        for prompt in range(4):
            record.take(draw_preview(controller, step, prompt))
    return controller


def draw_preview(controller: RunController, step: int, prompt: int) -> e.PreviewDrawn:
    path = controller.folder.sample(step, prompt, prompt)
    path.parent.mkdir(exist_ok=True)
    Image.effect_noise((512, 512), 60).convert("RGB").save(path)
    return e.PreviewDrawn(step, prompt, prompt, controller.folder.relative(path))


def feed(controller: RunController, first: int, total: int, seconds: float) -> None:
    """As the reading thread does it: lines are decoded, then handed over."""
    start = time.perf_counter()
    for number in range(int(seconds * EVENTS_A_SECOND)):
        time.sleep(max(0.0, start + number / EVENTS_A_SECOND - time.perf_counter()))
        event = e.decode(e.encode(step_done(first + number, total)))
        assert isinstance(event, e.Event)
        controller._hand_over(event)
        if number % 250 == 249:
            for prompt in range(4):
                controller._hand_over(draw_preview(controller, first + number, prompt))


def measure(name: str, controller: RunController, total: int, seconds: float) -> None:
    heart = Heart()
    feeder = threading.Thread(target=feed, args=(controller, controller.record.step + 1, total, seconds))
    feeder.start()
    settle(seconds)
    heart.stop()
    feeder.join()
    settle(0.5)
    report(f"{name}: late by", heart.late_ms)
    report(f"{name}: computed for", heart.busy_ms)


def report(name: str, values: list[float]) -> float:
    p50, p99 = np.percentile(values, (50, 99))
    over = sum(v > 16 for v in values)
    print(
        f"{name:<36} median {p50:6.2f} ms   p99 {p99:6.2f} ms   longest {max(values):7.2f} ms   over 16 ms: {over} of {len(values)}"
    )
    return float(p99)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--points", type=int, default=100_000)
    options = parser.parse_args()
    app = QApplication([])
    theme.apply(app, "light")
    with tempfile.TemporaryDirectory() as temporary:
        total = options.points * 2
        controller = make_controller(Path(temporary), options.points, total)
        page = TrainingPage()
        page.resize(1150, 620)
        page.show_run(controller)
        page.show()
        settle(3)
        quiet = Heart()
        settle(options.seconds / 4)
        quiet.stop()
        print(
            f"{options.points:,} steps there, {EVENTS_A_SECOND} events a second for {options.seconds:g} s; load {os.getloadavg()[0]:.1f}"
        )
        report("nothing comes in: late by", quiet.late_ms)
        measure("whole run in view", controller, total, options.seconds)
        page.plot.canvas._move_to(options.points - 1000, options.points + 1100)
        measure("zoomed to 2,000 steps", controller, total, options.seconds)
        print(
            f"taken: {len(controller.record.steps) - options.points} steps; drawn: {page.plot.point_count - options.points}"
        )
        page.close()
        page.deleteLater()
        settle(0.1)


def settle(seconds: float) -> None:
    loop = QEventLoop()
    QTimer.singleShot(int(seconds * 1000), loop.quit)
    loop.exec()


if __name__ == "__main__":
    main()
