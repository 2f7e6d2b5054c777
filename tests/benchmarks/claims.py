"""What LoRA promises, measured: full fine-tuning against LoRA against QLoRA in memory, file size, time, learning and drift.

    OMP_WAIT_POLICY=PASSIVE nice -n 5 python -m tests.benchmarks.claims [--models sd1 demo] [--ways full lora lora_packed qlora ...]
        [--results claims.json] [--out resources/claims.png]

Each way is a process of its own: its peak memory is the largest resident size from the start of Python to the last step. SD 1.5
in true size has random weights (2.1 GB, removed at the end), 256 px, batch 1, bf16, 5 steps; the demo is the demo run, 200 steps
of batch 8, without its regularisation pictures; "regularised" is with half of them, and what is forgotten is measured on the other
half. All take the engine's own cache, noise and loss. Full fine-tuning is a loop of this benchmark only: AdamW on every weight
of the UNet, which is kept in fp32 while the arithmetic is in bf16. Its learning rate is the best of three by held-out loss.
Drift is how far the UNet's answers to pictures that have nothing to do with the concept move (root mean square, relative to the
base model's answers, noise and timesteps as in trainer/validation.py), and what that does to their loss. `--results` keeps figures
that were measured before: what is in the file is not measured again.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.benchmarks.charts import Bar, Bars, draw_bars
from tests.benchmarks.claims_one import CHANGES
from tests.benchmarks.single_file import write_random
from tests.benchmarks.true_size import draw

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[2]
TITLES = {
    "full": "Full fine-tuning", "lora": "LoRA", "lora_packed": "LoRA, packed weights", "qlora": "QLoRA (NF4)",
    "lora_prior": "LoRA, regularised",
}  # fmt: skip
COLOURS = {"full": 0, "lora": 1, "lora_packed": 3, "qlora": 2, "lora_prior": 3}
OTHERS = {("demo", "lora_packed"), ("sd1", "lora_prior")}  # say nothing
FULL_RATES = (1e-4, 3e-4, 1e-3)  # of the demo's full fine-tuning
CLAIMS = {"peak_gb": "papers: 3 to 10 times less", "file_mb": "papers: 100 to 1,000 times smaller"}
HEADINGS = {"sd1": "SD 1.5, true size", "demo": "the demo"}


def main(argv: Sequence[str] | None = None) -> None:
    """Measures what is asked for, prints the table and draws the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=["sd1", "demo"], default=["sd1", "demo"])
    parser.add_argument("--ways", nargs="+", choices=list(CHANGES), default=list(CHANGES))
    parser.add_argument("--results", type=Path, default=Path("claims.json"))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(argv)
    results = json.loads(options.results.read_text()) if options.results.is_file() else {}
    for model in options.models:
        measure(model, options.ways, results, options.results)
    for model in ("sd1", "demo"):
        found = {way: results[f"{model} {way}"] for way in CHANGES if f"{model} {way}" in results}
        if found:
            print("\n" + table(model, found))
    if options.out is not None:
        picture(options.out, results)


def measure(model: str, ways: list[str], results: dict[str, Any], kept: Path) -> None:
    """Adds to the results what is not in them yet, each way in a process of its own."""
    wanted = [way for way in ways if f"{model} {way}" not in results and (model, way) not in OTHERS]
    if not wanted:
        return
    with tempfile.TemporaryDirectory(prefix="claims_") as temporary:
        folder = Path(temporary)
        if model == "sd1":
            write_random("sd1", folder / "sd1.safetensors")
            draw(folder / "pictures", 3, 256)
        for way in wanted:
            rates = FULL_RATES if (model, way) == ("demo", "full") else (0.0,)
            tried = [one_in_a_process(model, way, folder, rate) for rate in rates]
            results[f"{model} {way}"] = min(tried, key=lambda r: r.get("held_out", 0.0))
            kept.write_text(json.dumps(results, indent=1))


def one_in_a_process(model: str, way: str, folder: Path, rate: float) -> dict[str, float]:
    """The figures of one way."""
    argv = [sys.executable, "-m", "tests.benchmarks.claims_one", model, way, str(folder), str(rate)]
    large_pages = {"THP_MEM_ALLOC_ENABLE": "1"}  # see trainer/heap.py
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ | large_pages)
    if done.returncode:
        raise SystemExit(f"{model}, {way} failed:\n{done.stderr[-3000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(f"{model}, {TITLES[way]}: " + ", ".join(f"{k} {v:.4g}" for k, v in found.items()), flush=True)
    return found


def table(model: str, found: dict[str, dict[str, float]]) -> str:
    """A Markdown table, a column a way, with how many times less than full fine-tuning."""
    rows = [("peak memory", "peak_gb"), ("file", "file_mb"), ("a step, CPU-s", "step_cpu_s")]
    if model == "demo":
        rows += [
            ("held-out loss", "held_out"),
            ("answers to other pictures moved", "base_moved"),
            ("their loss", "base"),
        ]
    out = [
        f"| {HEADINGS[model]} | " + " | ".join(TITLES[way] for way in found) + " |",
        "|---" * (len(found) + 1) + "|",
    ]
    for title, key in rows:
        claim = f" ({CLAIMS[key]})" if key in CLAIMS and model == "sd1" else ""
        out.append(
            f"| {title}{claim} | " + " | ".join(_cell(key, found[way], found.get("full")) for way in found) + " |"
        )
    return "\n".join(out)


def _cell(key: str, of: dict[str, float], full: dict[str, float] | None) -> str:
    if key in ("held_out", "base"):
        before = of[f"{key}_before"]
        return f"{before:.4f} → {of[key]:.4f} ({of[key] / before - 1:+.1%})"
    if key == "base_moved":
        return f"{of[key]:.1%}"
    shown = shown_value(key, of[key])
    if full is None or full is of or key == "step_cpu_s":
        return shown
    return f"{shown}, {times(full[key] / of[key])} less"


def shown_value(key: str, value: float) -> str:
    """A figure with its unit, three digits."""
    if key == "file_mb":
        return f"{value / 1000:.2f} GB" if value >= 1000 else f"{value:.1f} MB"
    if key == "peak_gb":
        return f"{value:.1f} GB" if value >= 10 else f"{value:.2f} GB"
    return f"{value:.2f} s" if value >= 1 else f"{value:.3f} s"


def times(ratio: float) -> str:
    """A ratio in words, two digits."""
    digits = max(0, 1 - math.floor(math.log10(ratio)))
    return f"{ratio:.{digits}f}×"


def picture(path: Path, results: dict[str, Any]) -> None:
    """The same as bars."""
    rows = []
    for model, keys in (("sd1", ("peak_gb", "file_mb", "step_cpu_s")), ("demo", ("held_out", "base_moved", "base"))):
        found = {way: results[f"{model} {way}"] for way in CHANGES if f"{model} {way}" in results}
        if found:
            rows.append((DESCRIPTIONS[model], [panel(model, key, found) for key in keys]))
    draw_bars(path, "Full fine-tuning, LoRA and QLoRA, measured", rows)


DESCRIPTIONS = {
    "sd1": "SD 1.5 in true size, 256 px, batch 1, bf16, rank 16, on 2 CPU cores",
    "demo": "The demo: a creature learnt from 16 pictures in 200 steps",
}
PANELS = {
    "peak_gb": "Peak memory", "file_mb": "File to share", "step_cpu_s": "A step, CPU seconds",
    "held_out": "Learnt: held-out loss", "base_moved": "Drift: other answers moved", "base": "Forgotten: loss on others",
}  # fmt: skip


def panel(model: str, key: str, found: dict[str, dict[str, float]]) -> Bars:
    """One quantity, a bar a way; losses beside the base model's."""
    bars = []
    if key in ("held_out", "base"):
        before = next(iter(found.values()))[f"{key}_before"]
        bars.append(Bar("Base model", before, f"{before:.4f}", 4))
    for way, of in found.items():
        text = (
            f"{of[key]:.4f}"
            if key in ("held_out", "base")
            else f"{of[key]:.1%}"
            if key == "base_moved"
            else shown_value(key, of[key])
        )
        if way != "full" and "full" in found and key in CLAIMS:
            text += f", {times(found['full'][key] / of[key])[:-1]} x less"  # the font has no multiplication sign
        bars.append(Bar(TITLES[way], of[key], text, COLOURS[way]))
    return Bars(PANELS[key], bars, CLAIMS.get(key, "") if model == "sd1" else "")


if __name__ == "__main__":
    main()
