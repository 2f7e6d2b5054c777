"""One training step on SD 1.5 in true size with random weights, from a single file, through the program itself.

    OMP_WAIT_POLICY=PASSIVE nice -n 10 python -m tests.benchmarks.true_size [resolution] [steps] [SETTING=VALUE ...]

Writes to a temporary folder (2.1 GB, removed at the end). Prints the phases as they come, time from the start of the process to
the end of the first step, the later steps' CPU seconds, and the largest resident size of the worker.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy
from PIL import Image

from tests.benchmarks.single_file import write_random
from trainer import run_folder, settings_file


def draw(folder: Path, count: int, side: int) -> Path:
    """Pictures of noise with captions."""
    folder.mkdir()
    rng = numpy.random.default_rng(1)
    for i in range(count):
        Image.fromarray(rng.integers(0, 255, (side, side, 3), dtype=numpy.uint8)).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text("a picture of noise")
    return folder


def main(resolution: int, steps: int, changes: list[str]) -> None:
    """Trains and prints."""
    with tempfile.TemporaryDirectory(prefix="true_size_") as temporary:
        folder = Path(temporary)
        base = folder / "sd1.safetensors"
        write_random("sd1", base)
        values = {
            "base": str(base), "data": str(draw(folder / "pictures", 3, resolution)), "resolution": resolution, "steps": steps, "rank": 16, "precision": "bf16",
            "preview_every_steps": 0, "save_every_steps": 0, "runs_folder": str(folder / "runs"), "cache_folder": str(folder / "cache"),
            "trigger": "noise", "device": "cpu",
        } | dict(change.split("=", 1) for change in changes)  # fmt: skip
        for title in ("first run", "again, all cached"):
            measure(title, run_folder.create(settings_file.from_dict(values)).path)


def measure(title: str, run: Path) -> None:
    """One run of the worker."""
    print(title)
    begin = time.perf_counter()
    worker = subprocess.Popen(
        [sys.executable, "-m", "app", "worker", str(run)], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    phase = ""
    for line in worker.stdout:
        event = json.loads(line)
        if event["type"] == "phase" and event["title"] != phase:
            phase = event["title"]
            print(f"  {time.perf_counter() - begin:6.1f} s  {phase}", flush=True)
        if event["type"] in ("step_done", "started", "exported", "failed"):
            shown = {k: v for k, v in event.items() if k in ("step", "loss", "seconds", "memory_gb", "packed", "message", "proof")}  # fmt: skip
            print(f"  {time.perf_counter() - begin:6.1f} s  {event['type']} {shown}", flush=True)
    worker.wait()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"  largest resident size of any worker so far {used.ru_maxrss * 1024 / 1e9:.2f} GB, {used.ru_utime + used.ru_stime:.0f} CPU-s in all")  # fmt: skip


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:3] if word.isdecimal()]
    main(*(numbers + [512, 2][len(numbers) :]), [word for word in sys.argv[1:] if "=" in word])  # type: ignore[arg-type]
