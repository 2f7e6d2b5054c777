"""forecast.py: the length is the run's own, and the time is what earlier runs took."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import draw_pictures
from trainer import dataset, forecast, run_folder
from trainer.batches import Batches, entries_of
from trainer.events import StepDone, encode
from trainer.forecast import START_SECONDS, PastRun, history, kind_of, length, seconds
from trainer.settings import PreviewPrompt, TrainingSettings

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.run_folder import RunFolder

SMALL: dict[str, Any] = {"resolution": 64, "bucket_step": 8, "bucket_min": 32, "preview_every_steps": 0}


def settings(**changes: Any) -> TrainingSettings:
    return TrainingSettings(**(SMALL | changes))


def past(seconds_per_step: float, **changes: Any) -> PastRun:
    made = settings(**changes)
    return PastRun(made, seconds_per_step, kind_of(made.base))


def make_run(runs: Path, seconds: list[float], *, at: int = 0, end: str = "", **changes: Any) -> RunFolder:
    """A run that did steps of that many seconds. at: when, to the second."""
    folder = run_folder.create(settings(runs_folder=runs, **changes))
    lines = [encode(StepDone(i + 1, 0.5, {"unet": 1e-4}, s, 1.0)) for i, s in enumerate(seconds)]
    folder.events_path.write_text("\n".join(lines) + end, encoding="utf-8")
    os.utime(folder.events_path, (at, at))
    return folder


# How long


@pytest.mark.parametrize(
    ("changes", "steps", "steps_per_epoch", "views"),
    [
        ({"steps": 100}, 100, 6, 100),
        ({"epochs": 3}, 18, 6, 18),
        ({"epochs": 3, "repeats": 4}, 72, 24, 72),
        # three shapes with two pictures each: three batches of two in an epoch
        ({"epochs": 10, "batch_size": 2}, 30, 3, 60),
        # batches of four are never full: a shape has two pictures
        ({"epochs": 10, "batch_size": 4}, 30, 3, 60),
        ({"epochs": 10, "batch_size": 4, "buckets": False}, 20, 2, 60),
        ({"epochs": 10, "accumulation": 4}, 15, 2, 60),
        ({"steps": 10, "batch_size": 4, "accumulation": 2, "buckets": False}, 10, 1, 60),
    ],
)
def test_the_length_counts_steps_and_views(
    changes: dict[str, Any], steps: int, steps_per_epoch: int, views: int, pictures: Path
) -> None:
    chosen = settings(data=pictures, **changes)
    found = length(chosen, dataset.scan_training(chosen))
    assert dataclasses.astuple(found) == (steps, steps_per_epoch, views)


def test_the_length_is_that_of_the_run_also_with_regularisation_pictures_and_mixed_tags(
    pictures: Path, tmp_path: Path
) -> None:
    prior = dataset.scan(draw_pictures(tmp_path / "prior", count=4))
    chosen = settings(epochs=7, batch_size=2, accumulation=3, shuffle_tags=True, trigger="zz", repeats=2, data=pictures)
    data = dataset.scan_training(chosen)
    batches = Batches(entries_of(data, chosen) + entries_of(prior, chosen, is_prior=True), chosen)
    found = length(chosen, data, prior)
    assert (found.total_steps, found.steps_per_epoch) == (batches.total_steps, batches.steps_per_epoch)
    seen = sum(len(batches.batch(n)) for n in range(batches.per_epoch))
    assert found.views == pytest.approx(seen * 7, abs=6) and seen == 24


# How many seconds


def test_nothing_is_foretold_without_a_run_that_is_alike(tmp_path: Path) -> None:
    assert seconds(settings(), 100, []) is None
    assert seconds(settings(), 100, [past(1.0, base=str(tmp_path / "another"))]) is None


@pytest.mark.parametrize(
    ("changes", "factor"),
    [
        ({}, 1), ({"resolution": 128}, 4), ({"batch_size": 3}, 3), ({"accumulation": 2}, 2),
        ({"resolution": 128, "batch_size": 2, "accumulation": 2}, 16),
    ],
)  # fmt: skip
def test_time_grows_with_pixels_batch_and_accumulation(changes: dict[str, Any], factor: int) -> None:
    assert seconds(settings(**changes), 100, [past(0.5)]) == pytest.approx(START_SECONDS + 50 * factor)
    assert seconds(settings(), 100, [past(0.5, **changes)]) == pytest.approx(START_SECONDS + 50 / factor)


def test_the_median_of_the_latest_runs_counts() -> None:
    runs = [past(s) for s in (0.3, 0.1, 40.0, 0.2, 0.4)]  # one was slowed down by something else
    assert seconds(settings(), 100, runs) == pytest.approx(START_SECONDS + 30)
    older = [past(9.0)] * 15
    assert seconds(settings(), 100, runs + older) == pytest.approx(START_SECONDS + 30)


def test_runs_on_the_same_device_in_the_same_way_are_preferred() -> None:
    runs = [past(9.0, device="cpu"), past(0.1, device="cuda"), past(3.0, device="cuda", gradient_checkpointing="all")]
    assert seconds(settings(device="cuda"), 100, runs) == pytest.approx(START_SECONDS + 10)
    assert seconds(settings(device="mps"), 100, runs) == pytest.approx(START_SECONDS + 300)


def test_previews_cost_time_by_their_number_size_and_steps() -> None:
    def extra(total: int = 100, every: int = 50, **of_prompt: Any) -> float:
        chosen = settings(preview_every_steps=every, previews=(PreviewPrompt(**of_prompt),))
        found = seconds(chosen, total, [past(0.5)])
        assert found is not None
        return found - START_SECONDS - 0.5 * total

    one = extra()
    assert one > 0 and extra(every=0) == 0
    assert extra(total=200) == pytest.approx(one * 5 / 3)  # at 0, 50, 100, 150, 200 instead of 0, 50, 100
    assert extra(total=101) == pytest.approx(one * 4 / 3)  # and at the end
    assert extra(width=128, height=64) == pytest.approx(one * 2)
    assert extra(guidance=1.0) < one < extra(steps=40) < 2 * one


def test_models_of_one_family_and_width_are_equally_fast(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    kinds = {family: kind_of(str(path)) for family, path in tiny_models.items()}
    assert all(kind.startswith(f"{family} ") for family, kind in kinds.items())
    copy = tmp_path / "copy"
    copy.symlink_to(tiny_models["sd1"])
    assert kind_of(str(copy)) == kinds["sd1"] != kind_of("demo")
    assert kind_of("/gone/dreamy") == "/gone/dreamy" and kind_of("") == ""


# History


def test_the_history_is_the_latest_runs_first_with_their_median(tmp_path: Path) -> None:
    make_run(tmp_path, [5.0, 1.0, 1.5], at=100)
    make_run(tmp_path, [0.5], at=300, resolution=128)
    make_run(tmp_path, [], at=400)  # never came to a step
    make_run(tmp_path, [2.0, 3.0], at=200, end='\n{"type": "step_done", "st')  # was killed
    found = history(tmp_path)
    assert [(r.seconds_per_step, r.settings.resolution) for r in found] == [(0.5, 128), (2.5, 64), (1.5, 64)]
    assert all(r.kind == kind_of("demo") for r in found)
    assert [r.seconds_per_step for r in history(tmp_path, limit=1)] == [0.5]


def test_a_folder_without_runs_and_things_that_are_no_runs_are_no_history(tmp_path: Path) -> None:
    assert history(tmp_path / "nowhere") == history(tmp_path) == []
    (tmp_path / "file").touch()
    assert history(tmp_path / "file") == []
    for name, text in (("a", "rubbish\n[1]\n{}\n"), ("b", '{"type": "step_done", "seconds": 1.0}\n')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "events.jsonl").write_text(text)
    assert history(tmp_path) == [], "neither has settings"
    folder = make_run(tmp_path, [1.0])
    folder.events_path.write_text(json.dumps({"type": "step_done", "seconds": "quick"}) + '\n{"type": "step_done"}')
    assert history(tmp_path) == []


def test_only_the_end_of_long_events_is_read(tmp_path: Path) -> None:
    folder = make_run(tmp_path, [9.0] * 3000 + [0.25] * 600)
    assert folder.events_path.stat().st_size > 5 * forecast.TAIL_BYTES
    assert [r.seconds_per_step for r in history(tmp_path)] == [0.25]


def test_a_run_that_goes_on_is_read_again(tmp_path: Path) -> None:
    folder = make_run(tmp_path, [1.0])
    assert [r.seconds_per_step for r in history(tmp_path)] == [1.0]
    folder.events_path.write_text(json.dumps({"type": "step_done", "seconds": 4}) + "\n")
    assert [r.seconds_per_step for r in history(tmp_path)] == [4.0]
