"""The program itself on Stable Diffusion in true size with random weights: memory by phase, time to the first step, later steps.

    OMP_WAIT_POLICY=PASSIVE nice -n 10 python -m tests.benchmarks.true_size [--family sdxl] [--resolution 512] [--steps 2]
        [--pictures 12] [--base FILE] [--once] [SETTING=VALUE ...]

Writes a single file to a temporary folder (SD 1.5: 2.1 GB, SDXL: 6.9 GB; removed at the end) and trains from it twice: first
with an empty cache, then with all pictures and captions cached. For each phase: when it began and how many CPU seconds it took,
resident memory (10^9 bytes) at its end, and the peak in it, which Linux counts without gaps (VmHWM, reset at each phase).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
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


@dataclass
class Measured:
    """What a worker needed. Seconds are of the wall from its start, and of its processor; memory is in 10^9 bytes."""

    peak_gb: float = 0.0
    first_step_seconds: float = 0.0
    first_step_cpu_seconds: float = 0.0
    step_cpu_seconds: list[float] = field(default_factory=list)
    packed: bool = False
    message: str = ""


class Watched:
    """A worker process, watched from outside phase by phase."""

    def __init__(self, run: Path) -> None:
        self.begin = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app", "worker", str(run)], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
        )
        self.measured = Measured()
        self._phase, self._began, self._cpu = "Starting", 0.0, 0.0
        print(f"  {'begins':>8} {'CPU-s':>7} {'at its end':>10} {'peak':>8}  phase", flush=True)

    def enter(self, phase: str) -> None:
        """Ends the phase before, and prints it."""
        now, cpu = time.perf_counter() - self.begin, self.cpu_seconds()
        resident, peak = self._memory()
        self.measured.peak_gb = max(self.measured.peak_gb, peak)
        print(
            f"  {self._began:6.1f} s {cpu - self._cpu:7.1f} {resident:7.2f} GB {peak:5.2f} GB  {self._phase}",
            flush=True,
        )
        self._phase, self._began, self._cpu = phase, now, cpu

    def cpu_seconds(self) -> float:
        """Of the process, so far."""
        words = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def _memory(self) -> tuple[float, float]:
        """Resident now, and the largest since the last call."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB", status, re.MULTILINE))
        with contextlib.suppress(OSError):  # without the right to reset it, the peak is that of all phases so far
            Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        return int(found["VmRSS"]) * 1024 / 1e9, int(found["VmHWM"]) * 1024 / 1e9


def measure(title: str, run: Path) -> Measured:
    """Trains a run in a worker process, and prints what each phase needed."""
    print(title)
    watched = Watched(run)
    measured, phase, steps_cpu = watched.measured, "", 0.0
    assert watched.process.stdout is not None
    for line in watched.process.stdout:
        event = json.loads(line)
        if event["type"] == "phase" and event["title"] != phase:
            phase = event["title"]
            watched.enter(phase)
        elif event["type"] == "started":
            measured.packed, steps_cpu = event["packed"], watched.cpu_seconds()
            watched.enter("Step 1")
        elif event["type"] == "step_done":
            cpu = watched.cpu_seconds()
            if event["step"] == 1:
                measured.first_step_seconds, measured.first_step_cpu_seconds = time.perf_counter() - watched.begin, cpu
            else:
                measured.step_cpu_seconds.append(cpu - steps_cpu)
            steps_cpu = cpu
            watched.enter(f"After step {event['step']}")
        elif event["type"] in ("warned", "failed"):
            print(f"  {event['message']}")
            measured.message = event["message"]
        elif event["type"] == "finished":
            watched.enter("End")
    watched.process.wait()
    steps = ", ".join(f"{seconds:.1f}" for seconds in measured.step_cpu_seconds)
    print(
        f"  peak {measured.peak_gb:.2f} GB, weights {'packed' if measured.packed else 'not packed'}; first step done after "
        f"{measured.first_step_seconds:.1f} s and {measured.first_step_cpu_seconds:.1f} CPU-s; later steps {steps or 'none'} CPU-s",
        flush=True,
    )
    return measured


def values(arguments: argparse.Namespace, folder: Path) -> dict[str, object]:
    """The settings of the runs."""
    base = arguments.base
    if base is None:
        base = folder / f"{arguments.family}.safetensors"
        write_random(arguments.family, base)
    pictures = draw(folder / "pictures", arguments.pictures, arguments.resolution)
    return {
        "base": str(base), "data": str(pictures), "resolution": arguments.resolution, "steps": arguments.steps, "rank": 16, "precision": "bf16",
        "preview_every_steps": 0, "save_every_steps": 0, "runs_folder": str(folder / "runs"), "cache_folder": str(folder / "cache"),
        "trigger": "noise", "device": "cpu",
    } | dict(change.split("=", 1) for change in arguments.changes)  # fmt: skip


def main() -> None:
    """Trains and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", default="sd1")
    parser.add_argument("--resolution", type=int, default=512)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--pictures", type=int, default=12)
    parser.add_argument("--base", type=Path, help="a file that is there already")
    parser.add_argument("--once", action="store_true", help="no second run")
    parser.add_argument("changes", nargs="*", metavar="SETTING=VALUE")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="true_size_") as temporary:
        made = values(arguments, Path(temporary))
        for title in ("First run",) if arguments.once else ("First run", "Again, all cached"):
            measure(title, run_folder.create(settings_file.from_dict(made)).path)


if __name__ == "__main__":
    main()
