"""What the benchmarks tell and draw from figures; the measuring itself is done by running them."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageColor

from tests.benchmarks import charts, claims, lettering, peers, scale
from tests.benchmarks.claims_one import CHANGES
from tests.benchmarks.lettering_drawn import GROWN_FACES, MANNERS, TURNS, clean, lettered
from trainer import pixel_letter_trees
from trainer.pixel_letters import MEASURES

FULL = {"peak_gb": 18.0, "file_mb": 1700.0, "step_cpu_s": 9.0}
LORA = {"peak_gb": 3.0, "file_mb": 13.6, "step_cpu_s": 3.0}
LEARNT = {"held_out_before": 0.2, "held_out": 0.1, "base_before": 0.04, "base": 0.05, "base_moved": 0.125}


def test_a_claim_is_told_as_so_many_times_less_than_full_fine_tuning() -> None:
    text = claims.table("sd1", {"full": FULL, "lora": LORA})
    assert "| 18.0 GB | 3.00 GB, 6.0× less |" in text
    assert "| 1.70 GB | 13.6 MB, 125× less |" in text
    assert "| 9.00 s | 3.00 s |" in text


def test_the_demo_tells_what_was_learnt_and_what_was_forgotten() -> None:
    text = claims.table("demo", {"lora": LORA | LEARNT})
    assert "0.2000 → 0.1000 (-50.0%)" in text
    assert "0.0400 → 0.0500 (+25.0%)" in text
    assert "| 12.5% |" in text


def test_figures_that_were_measured_before_are_drawn_without_measuring_again(tmp_path: Path) -> None:
    ways = [way for way in CHANGES if way != "lora_packed"]
    figures = {f"sd1 {way}": FULL for way in CHANGES} | {f"demo {way}": LORA | LEARNT for way in ways}
    kept = tmp_path / "kept.json"
    kept.write_text(json.dumps(figures))
    out = tmp_path / "claims.png"
    claims.main(["--results", str(kept), "--out", str(out)])
    with Image.open(out) as drawn:
        assert drawn.width == charts.WIDTH
        used = {colour for _, colour in drawn.convert("RGB").getcolors(1 << 20) or []}
    assert {ImageColor.getrgb(charts.COLOURS[i]) for i in (0, 1, 2, 3)} <= used


def test_growth_faster_than_linear_is_not_good(capsys: pytest.CaptureFixture[str]) -> None:
    scale.judged("scan", {100: 1.0, 1000: 100.0}, "CPU-s")
    scale.judged("scan", {100: 1.0, 1000: 10.0}, "CPU-s")
    quadratic, linear = capsys.readouterr().out.splitlines()
    assert "exponent 2.00 (NOT GOOD: faster than linear)" in quadratic
    assert "exponent 1.00 (good)" in linear


def test_memory_that_grows_with_the_pictures_is_not_flat(capsys: pytest.CaptureFixture[str]) -> None:
    timed = dict.fromkeys(
        ("scan", "entries", "batches", "cold start", "warm start", "warm start wall", "checkpoint"), 1.0
    )
    scale.report_pictures(
        {
            100: timed | {"cold peak_gb": 1.0, "warm peak_gb": 1.0},
            1000: timed | {"cold peak_gb": 2.0, "warm peak_gb": 1.01},
        }
    )
    cold, warm = [line for line in capsys.readouterr().out.splitlines() if "memory" in line]
    assert "+100.0% (NOT GOOD: more than 10%)" in cold
    assert "+1.0% (flat)" in warm


def test_every_optimizer_step_of_any_program_is_noted_from_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "steps.txt"
    monkeypatch.setenv("STEP_LOG", str(log))
    site: dict[str, Any] = {}
    exec(peers.HOOK, site)  # as Python runs a sitecustomize
    try:
        weight = torch.zeros(1, requires_grad=True)
        optimizer = torch.optim.AdamW([weight], fused=True)
        for _ in range(3):
            weight.sum().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    finally:
        site["handle"].remove()
    busy = [float(line.split()[1]) for line in log.read_text().splitlines()]
    assert len(busy) == 3
    assert busy == sorted(busy)


def test_a_peer_is_judged_by_our_run_with_the_same_layers(capsys: pytest.CaptureFixture[str]) -> None:
    def measured(step: float, start: float) -> peers.Measured:
        return peers.Measured([step] * 6, [start], [start], [3.0])

    found = {
        "ours": measured(2.8, 30),
        "sd-scripts": measured(4.0, 60),
        "diffusers": measured(5.0, 40),
        "ours, attention only": measured(2.7, 30),
    }
    peers.report(256, found, 12)
    told = capsys.readouterr().out
    assert "256 px: step, ours / sd-scripts: 0.70 (goal 0.70: reached)" in told
    assert "256 px: step, ours, attention only / diffusers: 0.54 (goal 0.52: NOT reached)" in told
    assert "start to first step, ours / sd-scripts, wall: 0.50 (goal 0.60: reached)" in told


def test_a_missing_checkout_is_told_with_what_to_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SD_SCRIPTS", raising=False)
    monkeypatch.setenv("DIFFUSERS_EXAMPLES", "/somewhere")
    assert peers.given() == ["diffusers"]
    assert "SD_SCRIPTS is not set: give a checkout" in capsys.readouterr().out


@pytest.fixture
def trees_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the trees' module, which the benchmark reads and writes in the place of the real one."""
    copy = tmp_path / "letter_trees_copy.py"
    copy.write_bytes(Path(pixel_letter_trees.__file__).read_bytes())
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(lettering, "pixel_letter_trees", importlib.import_module(copy.stem))
    return copy


def rows_of(rng: np.random.Generator, kinds: float, *, is_lettered: bool) -> lettering.Examined:
    """A picture with eight rows; letters have more kinds of shapes than others, and all else is chance."""
    measures = rng.random((8, len(MEASURES)))
    measures[:, MEASURES.index("kinds")] = kinds + rng.integers(0, 3, 8)
    contrast = 60.0 if is_lettered else None
    return lettering.Examined("line" if is_lettered else "art", contrast, measures, np.full(8, float(is_lettered)))


def test_trees_learn_what_tells_letters_and_are_written_where_the_detector_reads_them(trees_file: Path) -> None:
    rng = np.random.default_rng(1)
    found = [rows_of(rng, 3 if is_lettered else 0, is_lettered=is_lettered) for is_lettered in (True, False) * 40]
    before = trees_file.read_text(encoding="utf-8")
    lettering.write(lettering.grow(found))
    after = trees_file.read_text(encoding="utf-8")
    start, end = 'TREES = """', '"""\n\n\ndef lettering'
    assert (after.partition(start)[0], after.partition(end)[2]) == (
        before.partition(start)[0],
        before.partition(end)[2],
    )
    assert after != before
    held_out = [rows_of(rng, 3 if is_lettered else 0, is_lettered=is_lettered) for is_lettered in (True, False) * 20]
    assert all((f.score > 1) == (f.contrast is not None) for f in held_out)
    assert all((f.score < -1) == (f.contrast is None) for f in held_out)


def test_lettering_is_drawn_where_it_is_said_to_be() -> None:
    seen = 0
    for number, kind in enumerate(MANNERS):
        drawn = lettered(5, number, GROWN_FACES)
        assert drawn.kind == kind
        assert drawn.letters.any()
        seen += drawn.contrast >= lettering.VISIBLE
        assert np.array_equal(np.asarray(lettered(5, number, GROWN_FACES).picture), np.asarray(drawn.picture))
    assert seen >= 3
    assert [clean(5, number)[1] for number in range(len(TURNS))] == list(TURNS)
