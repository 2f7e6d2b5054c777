"""How cost grows: with pictures (100 to 10,000), resolution, batch size and rank; as figures, exponents and plots.

    OMP_WAIT_POLICY=PASSIVE nice -n 5 python -m tests.benchmarks.scale [--only pictures masks resolution batch_size rank]
        [--pictures 100 1000 10000] [--out FOLDER]

Pictures: small ones with a caption each, and a tiny model, so that what is measured is the engine and not the arithmetic: reading
the folder, entries and batches, the start with nothing cached and with everything cached, a checkpoint. The others: a step of the
demo model. CPU seconds, each point in a process of its own, whose largest resident size is its memory. An exponent is the slope
between the two largest points on logarithmic axes: 1 is linear, and what is above 1.15 is called NOT GOOD.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

import resources
from tests.benchmarks.charts import Curve, Curves, draw_curves
from trainer import dataset, run_folder, settings_file

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).resolve().parents[2]
STEPPED = {"resolution": (64, 128, 192, 256), "batch_size": (1, 2, 4, 8, 16), "rank": (4, 16, 32, 64, 128)}
SUPERLINEAR, START_GOAL_S, FLAT = 1.15, 5.0, 0.10
UNITS = {"peak_gb": "GB", "file_mb": "MB"}
SIZES = ((64, 64), (80, 56), (56, 80), (96, 48))


def main() -> None:
    """Measures, prints, and draws where a folder is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = ["pictures", "masks", *STEPPED]
    parser.add_argument("--only", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--pictures", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    panels: list[Curves] = []
    with tempfile.TemporaryDirectory(prefix="scale_") as temporary:
        folder = Path(temporary)
        if "pictures" in options.only:
            panels += report_pictures({n: pictures(n, folder) for n in options.pictures})
        if "masks" in options.only:
            panels.append(report_masks({n: masks(n, folder) for n in options.pictures}))
        for kind in (k for k in STEPPED if k in options.only):
            found = {n: in_a_process("step", kind, str(n), str(folder)) for n in STEPPED[kind]}
            panels += report_steps(kind, found)
    if options.out is not None:
        draw_curves(options.out / "scale.png", "How cost grows (dots: linear growth)", panels)


# Measuring


def pictures(count: int, folder: Path) -> dict[str, float]:
    """The figures of a run with so many pictures: started on nothing, then on a full cache."""
    data = folder / f"pictures_{count}"
    draw(data, count)
    found: dict[str, float] = {}
    for name in ("cold", "warm"):
        measured = in_a_process("start", str(data), str(folder / f"cache_{count}"), str(folder))
        found |= {f"{name} {key}" if key.startswith(("start", "peak")) else key: v for key, v in measured.items()}
    print(f"  {count} pictures: " + ", ".join(f"{k} {v:.3g}" for k, v in found.items()), flush=True)
    return found


def masks(count: int, folder: Path) -> dict[str, float]:
    """Reading a folder in which every picture has a mask beside it."""
    data = folder / f"masked_{count}"
    draw(data, count)
    for path in data.glob("*.png"):
        os.link(path, path.with_name(f"{path.stem}-mask.png"))
    return {"scan": busy(lambda: dataset.scan(data))}


def in_a_process(*words: str) -> dict[str, float]:
    """What a process of its own measures."""
    code = "import sys; from tests.benchmarks import scale; scale.one(sys.argv[1:])"
    threads = {"OMP_NUM_THREADS": "1"} if words[0] == "start" else {}  # tiny layers only wait for a second one
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=ROOT,
        env=os.environ | threads,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stderr[-3000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def one(words: Sequence[str]) -> None:
    """The other side of `in_a_process`."""
    found = {"start": _start, "step": _step}[words[0]](*words[1:])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(json.dumps({**found, "peak_gb": peak}))


def _start(data: str, cache: str, folder: str) -> dict[str, float]:
    """Each part of a start, and the start as a whole with its events written down as a worker does."""
    from tests import tiny_models
    from trainer import occasions
    from trainer.batches import Batches, entries_of
    from trainer.events import Event, encode
    from trainer.session import Session, prepare

    base = Path(folder) / "tiny"
    if not base.exists():
        tiny_models.make("sd1", base)
    run = run_folder.create(settings_file.from_dict({
        "base": str(base), "data": data, "resolution": 64, "bucket_step": 8, "bucket_min": 32, "cache_folder": cache, "steps": 100_000,
        "runs_folder": str(Path(folder, "runs")), "device": "cpu", "precision": "fp32", "batch_size": 4,
    }))  # fmt: skip
    settings, made = run.settings(), list[Session]()
    scanned = dataset.scan_training(settings)
    entries = entries_of(scanned, settings)
    out = {
        "scan": busy(lambda: dataset.scan_training(settings)),
        "entries": busy(lambda: entries_of(scanned, settings)),
        "batches": busy(lambda: Batches(entries, settings).batch(0)),
    }
    with run.events_path.open("a", encoding="utf-8") as events:

        def tell(event: Event) -> None:
            events.write(encode(event) + "\n")
            events.flush()

        begin = time.perf_counter()
        out["start"] = busy(lambda: made.append(prepare(run, tell)))
        out["start wall"] = time.perf_counter() - begin
        out["checkpoint"] = busy(lambda: occasions.save(made[0], 1, tell))
    return out


def _step(kind: str, value: str, folder: str) -> dict[str, float]:
    """A step of the demo model with one setting changed."""
    from trainer import export
    from trainer.session import prepare
    from trainer.training_step import optimizer_step

    values = settings_file.read_dict(resources.path("demo", "character.toml"))
    values |= {
        "runs_folder": str(Path(folder, "runs")), "cache_folder": str(Path(folder, "cache")), "previews": [], "validation": None,
        "regularization": None, "batch_size": 4, kind: int(value),
    }  # fmt: skip
    settings = settings_file.from_dict({k: v for k, v in values.items() if v is not None})
    session = prepare(run_folder.create(settings), lambda event: None)
    seconds = [busy(lambda n=n: optimizer_step(session, n, settings.steps)) for n in range(5)]  # type: ignore[misc]
    path = Path(folder, "out.safetensors")
    export.write(path, session.trained.adapter.tensors(), {}, "fp16")
    return {"step": statistics.median(seconds[1:]), "file_mb": path.stat().st_size / 1e6}


def busy(work: Callable[[], Any]) -> float:
    """CPU seconds of this process."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def draw(folder: Path, count: int) -> None:
    """Small pictures of a few shapes, no two alike, with captions of ten tags."""
    folder.mkdir()
    rng = random.Random(count)
    for i in range(count):
        image = Image.new("RGB", rng.choice(SIZES), tuple(rng.randrange(256) for _ in range(3)))
        image.putpixel((0, 0), (i % 256, i // 256 % 256, 7))
        image.save(folder / f"{i:06d}.png", compress_level=1)
        tags = [f"tag {rng.randrange(2000)}" for _ in range(9)]
        (folder / f"{i:06d}.txt").write_text(", ".join([f"number {i}", *tags]), encoding="utf-8")


# Telling


def report_pictures(found: dict[int, dict[str, float]]) -> list[Curves]:
    """Prints and gathers the plots of the run with many pictures."""
    print("\npictures")
    timed = ("scan", "entries", "batches", "cold start", "warm start", "checkpoint")
    curves = [judged(name, {n: f[name] for n, f in found.items()}, "CPU-s") for name in timed]
    most = max(found)
    start = found[most]["warm start"]
    print(f"  start of a cached run of {most} pictures: {start:.2f} CPU-s, {found[most]['warm start wall']:.2f} s on this machine now"
          f" ({'good' if start < START_GOAL_S else 'NOT GOOD'}: less than {START_GOAL_S:g})")  # fmt: skip
    peaks = [{n: f[f"{name} peak_gb"] for n, f in found.items()} for name in ("cold", "warm")]
    for name, peak in zip(("cold", "warm"), peaks, strict=True):
        growth = peak[most] / peak[min(peak)] - 1
        print(f"  memory, {name}: {', '.join(f'{n}: {v:.3f} GB' for n, v in peak.items())}: {growth:+.1%} "
              f"({'flat' if growth < FLAT else 'NOT GOOD: more than ' + f'{FLAT:.0%}'})")  # fmt: skip
    return [
        Curves("Time by pictures", "pictures", "CPU seconds", [_coloured(c, i) for i, c in enumerate(curves[3:])]),
        Curves("Reading and ordering pictures", "pictures", "CPU seconds", [_coloured(c, i) for i, c in enumerate(curves[:3])]),
        Curves("Peak memory by pictures", "pictures", "GB",
               [Curve(n, sorted(p.items()), i + 1) for i, (n, p) in enumerate(zip(("cold", "warm"), peaks, strict=True))], linear=False),
    ]  # fmt: skip


def report_masks(found: dict[int, dict[str, float]]) -> Curves:
    """Prints and gathers the plot of the folder with masks."""
    print("\npictures with a mask each")
    return Curves("Reading pictures with masks", "pictures", "CPU seconds", [judged("scan", {n: f["scan"] for n, f in found.items()}, "CPU-s")])  # fmt: skip


def report_steps(kind: str, found: dict[int, dict[str, float]]) -> list[Curves]:
    """Prints and gathers the plots of one setting."""
    across = {n * n if kind == "resolution" else n: f for n, f in found.items()}
    name = {"resolution": "pixels", "batch_size": "pictures in a batch", "rank": "rank"}[kind]
    print(f"\n{name}")
    step = judged("step", {n: f["step"] for n, f in across.items()}, "CPU-s")
    memory = judged("peak memory", {n: f["peak_gb"] for n, f in across.items()}, "GB")
    out = [
        Curves(f"A step by {name}", name, "CPU seconds", [step]),
        Curves(f"Peak memory by {name}", name, "GB", [memory], linear=False),
    ]
    if kind == "rank":
        out.append(Curves("File by rank", name, "MB", [judged("file", {n: f["file_mb"] for n, f in across.items()}, "MB")]))  # fmt: skip
    return out


def judged(name: str, points: dict[int, float], unit: str) -> Curve:
    """Prints a curve with its exponent and what to think of it."""
    placed = sorted((float(n), max(v, 1e-6)) for n, v in points.items())
    (x0, y0), (x1, y1) = placed[-2:] if len(placed) > 1 else placed * 2
    slope = math.log(y1 / y0) / math.log(x1 / x0) if x1 > x0 else math.nan
    verdict = "NOT GOOD: faster than linear" if slope > SUPERLINEAR else "good"
    print(f"  {name}: {', '.join(f'{n}: {v:.4g} {unit}' for n, v in points.items())}; exponent {slope:.2f} ({verdict})", flush=True)  # fmt: skip
    return Curve(f"{name}, exponent {slope:.2f}", placed)


def _coloured(curve: Curve, number: int) -> Curve:
    return Curve(curve.name, curve.points, number + 1)


if __name__ == "__main__":
    main()
