"""Measures the data set's grid with thousands of pictures: longest block of the main thread, memory, time to scan.

    python -m tests.benchmarks.window_pictures [--count 5000] [--seconds 25] [--keep FOLDER]

The pictures are 2 MP JPEGs, made in a temporary folder (about 0.2 MB each); thumbnails start from an empty cache. Limits of
issue 3: no block of 50 ms or more, less than 400 MB. A block is how late a 5 ms timer is. So that a busy machine can measure
too, two bounds are given besides the clock's figure: `main` counts only the processor time of the main thread; `all` that of
all our threads together. On a machine with free cores a block lies between them, as the main thread waits for nothing but
its own work and for threads of ours that hold Python's lock.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import psutil
from PIL import Image, ImageDraw, ImageFilter
from PySide6.QtCore import QObject, Qt, QTimer
from PySide6.QtWidgets import QApplication

from app import theme
from app.pictures import Pictures
from app.project import Project
from app.thumbnails import Thumbnails
from app.widgets.thumbnail_grid import ThumbnailGrid

SIZES = ((1632, 1224), (1224, 1632), (1416, 1416), (1920, 1080))
BEAT_MS = 5
FRAME_MS = 16


def make_pictures(folder: Path, count: int) -> None:
    """Distinct files: each differs from the few drawn ones by a comment, and has a caption of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [_draw(number, SIZES[number % len(SIZES)]) for number in range(8)]
    words = [f"tag{number}" for number in range(400)]
    for number in range(count):
        data = drawn[number % len(drawn)]
        comment = f"picture {number}".encode()
        segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
        (folder / f"{number:05d}.jpg").write_bytes(data[:2] + segment + data[2:])
        caption = ", ".join(random.Random(number).sample(words, 12))
        (folder / f"{number:05d}.txt").write_text(f"person, {caption}", encoding="utf-8")


def _draw(seed: int, size: tuple[int, int]) -> bytes:
    rng = random.Random(seed)
    picture = Image.effect_noise(size, 60).convert("RGB").filter(ImageFilter.GaussianBlur(3))
    draw = ImageDraw.Draw(picture, "RGBA")
    for _ in range(60):
        x, y, r = rng.randrange(size[0]), rng.randrange(size[1]), rng.randrange(20, 300)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=(*(rng.randrange(256) for _ in range(3)), 140))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=88)
    return out.getvalue()


class Heart(QObject):
    """Beats in the main thread and remembers how late each beat was, and how much of that can be our own doing."""

    def __init__(self) -> None:
        super().__init__()
        self.late_ms: list[float] = []
        self.main_ms: list[float] = []
        self.all_ms: list[float] = []
        self.worst_bytes = 0
        self._process = psutil.Process()
        self._timer = QTimer(self, interval=BEAT_MS, timerType=Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._on_beat)
        self.begin()
        self._timer.start()

    def begin(self) -> None:
        """Forgets the beats so far."""
        self.late_ms, self.main_ms, self.all_ms = [], [], []
        self._last, self._main, self._all = time.perf_counter(), time.thread_time(), time.process_time()

    def report(self, what: str) -> None:
        """Prints the longest block and how rare it is."""
        figures = (("clock", self.late_ms), ("main", self.main_ms), ("all", self.all_ms))
        print(f"{what:<36}", *(f"{name}: {_figures(late)}" for name, late in figures), sep="   ", flush=True)

    def _on_beat(self) -> None:
        now, main, everything = time.perf_counter(), time.thread_time(), time.process_time()
        late = now - self._last - BEAT_MS / 1000
        self.late_ms.append(late * 1000)
        self.main_ms.append((main - self._main) * 1000)
        self.all_ms.append(min(late, everything - self._all) * 1000)
        self._last, self._main, self._all = now, main, everything
        if len(self.late_ms) % 40 == 0:
            self.worst_bytes = max(self.worst_bytes, self._process.memory_info().rss)


def _figures(late_ms: list[float]) -> str:
    late = sorted(late_ms) or [0.0]
    return f"longest {late[-1]:6.1f} ms, 99 % {late[len(late) * 99 // 100]:5.1f} ms"


def measure(folder: Path, seconds: float) -> None:
    """Opens a project on the folder, scrolls to the end and back, and prints figures."""
    app = QApplication.instance() or QApplication(sys.argv[:1])
    assert isinstance(app, QApplication)
    theme.apply(app, "light")
    project, heart = Project(), Heart()
    pictures, thumbnails = Pictures(project), Thumbnails()
    grid = ThumbnailGrid(pictures, thumbnails)
    grid.resize(1000, 620)
    grid.show()
    _spin(app, 3)
    heart.report("nothing to do")
    heart.begin()
    begun = time.perf_counter()
    project.create("benchmark", {"data": str(folder)})
    while pictures.scanning:
        app.processEvents()
    print(f"{len(pictures.items)} pictures scanned in {time.perf_counter() - begun:.1f} s")
    heart.report("opened and scanned")
    heart.begin()
    _scroll(app, grid, seconds)
    heart.report("scrolled through, no thumbnails yet")
    while thumbnails.waiting_count:
        app.processEvents()
    heart.begin()
    _scroll(app, grid, seconds / 2)
    heart.report("scrolled through again")
    heart.begin()
    grid.selectAll()
    pictures.add_tags(grid.selected(), [f"benchmark {time.time_ns()}"], front=False)
    pictures.tag_counts()
    _spin(app, 0.1)
    heart.report("a tag added to all captions")
    heart.begin()
    while not pictures.finish_writing(0):
        _spin(app, 0.2)
    heart.report("while the captions are written")
    print(
        f"memory at most {heart.worst_bytes / 1e6:.0f} MB, of which thumbnails {thumbnails.memory_bytes / 1e6:.0f} MB"
    )
    pictures.undo()
    pictures.finish_writing()
    thumbnails.close()
    grid.close()


def _spin(app: QApplication, seconds: float) -> None:
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        app.processEvents()
        time.sleep(0.001)


def _scroll(app: QApplication, grid: ThumbnailGrid, seconds: float) -> None:
    """From the top to the end in equal steps, a frame each, with two rests in which thumbnails arrive."""
    bar = grid.verticalScrollBar()
    frames = round(seconds * 1000 / FRAME_MS)
    for frame in range(frames + 1):
        bar.setValue(round(bar.maximum() * frame / frames))
        _spin(app, FRAME_MS / 1000)
        if frame in (frames // 3, frames * 2 // 3):
            _spin(app, 2)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=25, help="time for the first scroll through all")
    parser.add_argument("--keep", type=Path, help="make the pictures here, or use those that are here")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="window_pictures_") as temporary:
        os.environ["LORA_ATELIER_HOME"] = str(Path(temporary, "home"))
        folder = given.keep or Path(temporary, "pictures")
        if not folder.is_dir() or not any(folder.iterdir()):
            make_pictures(folder, given.count)
        measure(folder, given.seconds)


if __name__ == "__main__":
    main()
