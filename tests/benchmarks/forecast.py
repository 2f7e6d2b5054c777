"""Predicted against measured peak memory, over a matrix of runs: tiny models, the demo, and models of true size.

    OMP_WAIT_POLICY=PASSIVE nice -n 10 python -m tests.benchmarks.forecast [--true-size] [--only WORDS ...] [--save]

Each row is a worker process of 2 steps; the plain ones write their file, the others are stopped. Its peak is the largest resident size that Linux saw, which is also
told for each phase (the counter is set back where a phase begins). --true-size adds models with random weights of 2 to 7 GB,
written to a temporary folder and removed, one process at a time under the lock /tmp/true_size.lock. --save writes the rows to
tests/data/forecast.json, which tests/test_memory_model.py compares with the model.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy
from PIL import Image

from tests import tiny_models
from tests.benchmarks.single_file import write_random
from trainer import run_folder, settings_file

DATA = Path(__file__).parents[1] / "data" / "forecast.json"
LOCK = Path("/tmp/true_size.lock")
GB = 1e9

LEAN: dict[str, Any] = {"packed_weights": "off"}
PREVIEW = [{"prompt": "a picture", "steps": 2}]
TINY = {f"{family} {side} px {name}": (family, {"resolution": side, **changes}) for family, side, name, changes in (
    ("demo", 128, "as shipped", {}),
    ("demo", 128, "fp32", {"precision": "fp32"}),
    ("demo", 128, "batch 8", {"batch_size": 8}),
    ("demo", 256, "batch 8", {"batch_size": 8}),
    ("demo", 256, "batch 8, packed off", {"batch_size": 8, **LEAN}),
    ("demo", 256, "batch 16 in fours", {"batch_size": 16, "micro_batch": 4, **LEAN}),
    ("demo", 256, "batch 8, checkpointing all", {"batch_size": 8, "gradient_checkpointing": "all", **LEAN}),
    ("demo", 256, "batch 8, checkpointing some", {"batch_size": 8, "gradient_checkpointing": "some", **LEAN}),
    ("demo", 512, "batch 4, fp32", {"batch_size": 4, "precision": "fp32", **LEAN}),
    ("demo", 512, "batch 8", {"batch_size": 8, **LEAN}),
    ("demo", 512, "batch 8, checkpointing all", {"batch_size": 8, "gradient_checkpointing": "all", **LEAN}),
    ("demo", 128, "rank 128, prodigy", {"rank": 128, "optimizer": "prodigy", "learning_rate": 1.0}),
    ("demo", 128, "text encoder", {"train_text_encoder": True, "batch_size": 8}),
    ("demo", 512, "previews", {"previews": PREVIEW}),
    ("demo", 128, "nf4", {"quantization": "nf4"}),
    ("sd1", 512, "batch 4", {"batch_size": 4}),
    ("sd2", 512, "batch 4, LoCon", {"batch_size": 4, "targets": "attention,convolutions"}),
    ("sdxl", 512, "batch 4", {"batch_size": 4}),
    ("sdxl", 768, "batch 8, fp32", {"batch_size": 8, "precision": "fp32"}),
    ("sdxl", 512, "batch 4, checkpointing all", {"batch_size": 4, "gradient_checkpointing": "all"}),
    ("sdxl", 256, "text encoders, int8", {"batch_size": 4, "train_text_encoder": True, "quantization": "int8"}),
    ("sd2", 768, "batch 2, fp32, packed off", {"batch_size": 2, "precision": "fp32", **LEAN}),
    ("sd1", 512, "batch 4, DoRA", {"batch_size": 4, "dora": True}),
    ("demo", 384, "batch 4, packed on", {"batch_size": 4, "packed_weights": "on"}),
)}  # fmt: skip
TRUE_SIZE = {f"{family} true {side} px {name}": (f"true {family}", {"resolution": side, **changes}) for family, side, name, changes in (
    ("sd1", 256, "packed off", LEAN),
    ("sd1", 512, "packed off", LEAN),
    ("sd1", 256, "packed on", {"packed_weights": "on"}),
    ("sd1", 512, "checkpointing all", {"gradient_checkpointing": "all", **LEAN}),
    ("sd1", 256, "fp32, packed off", {"precision": "fp32", **LEAN}),
    ("sd1", 256, "nf4, packed off", {"quantization": "nf4", **LEAN}),
    ("sd1", 512, "batch 2, checkpointing some", {"batch_size": 2, "gradient_checkpointing": "some", **LEAN}),
    ("sd1", 256, "batch 4, rank 128", {"batch_size": 4, "rank": 128, **LEAN}),
    ("sd1", 256, "text encoder", {"train_text_encoder": True, **LEAN}),
    ("sdxl", 512, "checkpointing all", {"gradient_checkpointing": "all", **LEAN}),
    ("sdxl", 512, "nf4, checkpointing all", {"quantization": "nf4", "gradient_checkpointing": "all", **LEAN}),
)}  # fmt: skip


def draw(folder: Path, count: int, side: int) -> Path:
    """Square pictures of noise with captions."""
    folder.mkdir(parents=True)
    rng = numpy.random.default_rng(1)
    for i in range(count):
        Image.fromarray(rng.integers(0, 255, (side, side, 3), dtype=numpy.uint8)).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text("a picture of noise")
    return folder


def values_of(base: str, data: Path, folder: Path, changes: dict[str, Any]) -> dict[str, Any]:
    """A run's settings: 2 steps on the CPU, everything encoded anew."""
    exports = changes in ({}, LEAN) or "targets" in changes
    values: dict[str, Any] = {
        "base": base, "data": str(data), "steps": 2 if exports else 50, "rank": 16, "precision": "bf16", "device": "cpu", "trigger": "noise", "preview_every_steps": 0,
        "bucket_step": 64, "bucket_min": 64, "save_every_steps": 0, "cache": "memory", "runs_folder": str(folder / "runs"), "cache_folder": str(folder / "cache"),
    }  # fmt: skip
    values |= changes
    if "previews" in changes:
        values["preview_every_steps"] = 2
    if isinstance(values.get("targets"), str):
        values["targets"] = values["targets"].split(",")
    return values


def measure(values: dict[str, Any]) -> dict[str, Any]:
    """One worker: peak and peak by phase in bytes, and what the events told."""
    exports = values["steps"] == 2
    run = run_folder.create(settings_file.from_dict(values))
    row: dict[str, Any] = {"phases": {}}
    worker = subprocess.Popen(
        [sys.executable, "-m", "app", "worker", str(run.path)], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None and worker.stdin is not None
    phase, ended = "imports", False
    for line in worker.stdout:
        event = json.loads(line)
        kind, before = event["type"], phase
        if kind == "phase":
            phase = event["title"]
        elif kind in ("started", "checkpoint_saved"):
            phase = {"started": "steps", "checkpoint_saved": "after saving"}[kind]
            row |= {"started": event} if kind == "started" else {}
        elif kind == "step_done":
            row["resting_gb"] = event["memory_gb"]
            if event["step"] == 2 and not exports:
                worker.stdin.write('{"type": "stop", "export": false}\n')
                worker.stdin.flush()
        elif kind == "exported":
            row["file_bytes"] = (run.path / event["path"]).stat().st_size
        elif kind in ("failed", "finished"):
            row["failed"], ended = event.get("message", ""), True
        if phase != before or ended:
            peak = high_water(worker.pid, reset=not ended)
            row["phases"][before] = max(peak, row["phases"].get(before, 0))
    worker.wait()
    row["peak"] = max(row["phases"].values())
    return row


def high_water(pid: int, *, reset: bool) -> int:
    """The largest resident size since the counter was last set back, bytes."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        if reset:
            Path(f"/proc/{pid}/clear_refs").write_text("5")
    except OSError:
        return 0
    line = next((line for line in status.splitlines() if line.startswith("VmHWM")), "VmHWM: 0")
    return int(line.split()[1]) * 1024


def main(options: argparse.Namespace) -> None:
    """Measures and prints; with --save, keeps."""
    matrix = (TINY if not options.only_true else {}) | (TRUE_SIZE if options.true_size or options.only_true else {})
    chosen = {
        name: row for name, row in matrix.items() if not options.only or any(word in name for word in options.only)
    }
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="forecast_", dir=options.scratch)))
        bases: dict[str, str] = {"demo": "demo"}
        for name, (kind, changes) in chosen.items():
            if kind not in bases:
                for old in folder.glob("true*.safetensors"):
                    old.unlink()
                bases[kind] = str(_base(kind, folder))
            side = changes["resolution"]
            count = changes.get("batch_size", 1)
            data = folder / f"pictures_{side}_{count}"
            if not data.is_dir():
                draw(data, count, side)
            values = values_of(bases[kind], data, folder, changes)
            if kind.startswith("true"):
                with LOCK.open("w") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX)
                    row = measure(values)
            else:
                row = measure(values)
            row |= {
                "base": kind.replace("true ", "published "),
                "values": {k: v for k, v in values.items() if k not in ("base", "data", "runs_folder", "cache_folder")},
            }
            show(name, row)
            if options.save and not row["failed"]:
                keep(name, row)


def keep(name: str, row: dict[str, Any]) -> None:
    """Puts a row into the file, beside those that are there."""
    DATA.parent.mkdir(exist_ok=True)
    rows = json.loads(DATA.read_text()) if DATA.is_file() else {}
    DATA.write_text(json.dumps(rows | {name: row}, indent=1) + "\n")


def _base(kind: str, folder: Path) -> Path:
    if not kind.startswith("true "):
        return tiny_models.make(kind, folder / kind)
    path = folder / f"{kind.replace(' ', '_')}.safetensors"
    write_random(kind.removeprefix("true "), path)
    return path


def show(name: str, row: dict[str, Any]) -> None:
    """A line."""
    phases = "  ".join(f"{title} {peak / GB:.2f}" for title, peak in row["phases"].items())
    print(f"{name:48} {row['peak'] / GB:6.2f} GB  {row.get('failed', '')[:90]} | {phases}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--true-size", action="store_true")
    parser.add_argument("--only-true", action="store_true")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--scratch", default=None)
    main(parser.parse_args())
