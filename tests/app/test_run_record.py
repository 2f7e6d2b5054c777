"""run_record.py: events in, everything the screens show out; live and from disk alike."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from app import run_record
from app.run_record import RunRecord, read
from trainer import events as e
from trainer.run_folder import RunFolder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HELLO = e.Hello(1, "test", "/runs/a")
PREPARING = [HELLO, e.Phase("Encoding pictures", 1, 4), e.Warned("A word."), e.Warned("A word."), e.Warned("Another.")]


def started(step: int = 0, total: int = 100) -> e.Started:
    return e.Started(step, total, 6, 3, 999, "cpu", "fp32")


def steps(first: int, last: int, *, loss: float = 1.0, seconds: float = 0.5) -> list[e.Event]:
    return [
        e.StepDone(n, loss / n, {"unet": 1e-4 * n, "text_encoder": 9.0}, seconds, n / 10)
        for n in range(first, last + 1)
    ]


def replayed(events: Sequence[e.Event], path: Path) -> RunRecord:
    record = RunRecord(RunFolder(path))
    for event in events:
        record.take(event)
    return record


def write(path: Path, events: Sequence[e.Event], end: str = "\n") -> RunFolder:
    folder = RunFolder(path)
    folder.events_path.write_text("\n".join(map(e.encode, events)) + end, encoding="utf-8")
    return folder


def test_what_was_adapted_is_told_like_a_warning_once(tmp_path: Path) -> None:
    adapted = e.Adapted(3, "all blocks are computed twice", "in a training step")
    record = replayed([*PREPARING, started(), *steps(1, 3), adapted, adapted], tmp_path)
    assert record.warnings == ["A word.", "Another.", adapted.message] and record.state == "training"


def test_what_was_adapted_changes_what_the_run_is_said_to_be(tmp_path: Path) -> None:
    began = replace(started(), packed=True)
    record = replayed([*PREPARING, began, e.Adapted(0, "x", "y", quantization="nf4")], tmp_path)
    assert record.started == replace(began, quantization="nf4")
    record.take(e.Adapted(0, "x", "y", unpacks=True))
    assert record.started == replace(began, packed=False, quantization="nf4")


def save_checkpoint(folder: RunFolder, step: int) -> None:
    folder.checkpoint(step).mkdir(parents=True)
    (folder.checkpoint(step) / "state.json").write_text("{}")


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([], "starting"),
        ([HELLO], "preparing"),
        (PREPARING, "preparing"),
        ([*PREPARING, started()], "training"),
        ([*PREPARING, started(), *steps(1, 3), e.Paused(3)], "paused"),
        ([*PREPARING, started(), *steps(1, 3), e.Paused(3), e.Resumed(3)], "training"),
        ([*PREPARING, started(), *steps(1, 3), e.Finished(3, completed=False)], "stopped"),
        ([*PREPARING, started(), *steps(1, 3), e.Finished(3, completed=True)], "finished"),
        ([*PREPARING, e.Failed("Rank is 0.", "rank")], "failed"),
        ([HELLO, started(), e.Failed("No."), HELLO], "preparing"),
        ([HELLO, started(), e.Finished(3, completed=False), HELLO, started(3)], "training"),
    ],
)
def test_the_state_is_that_of_the_last_events(events: list[e.Event], state: str, tmp_path: Path) -> None:
    record = replayed(events, tmp_path)
    assert record.state == state
    assert record.is_active == (state in run_record.ACTIVE) != (state in run_record.ENDED)


def test_everything_that_was_told_is_in_the_record(tmp_path: Path) -> None:
    events = [
        *PREPARING, started(), e.PreviewDrawn(0, 0, 42, "samples/a.png"), e.Validated(0, 0.9), *steps(1, 2),
        e.CheckpointSaved(2, "checkpoints/000002"), e.Phase("Drawing previews", 0, 2), e.PreviewDrawn(2, 1, 42, "samples/b.png"),
        e.PreviewDrawn(2, 0, 42, "samples/c.png"), e.Validated(2, 0.8), e.Exported(2, "export/x.safetensors", 0.0),
        e.Exported(2, "export/x.safetensors", 0.0, "Loads in Forge."), e.Finished(2, completed=False),
    ]  # fmt: skip
    record = replayed(events, tmp_path)
    assert list(record.steps) == [1, 2] and list(record.losses) == [1.0, 0.5] and list(record.seconds) == [0.5, 0.5]
    assert list(record.rates) == [1e-4, 2e-4]
    assert record.validations == [(0, 0.9), (2, 0.8)] and record.checkpoints == [2]
    assert record.previews == {
        0: {0: tmp_path / "samples/a.png", 2: tmp_path / "samples/c.png"},
        1: {2: tmp_path / "samples/b.png"},
    }
    assert record.preview_steps == [0, 2]
    assert record.warnings == ["A word.", "Another."] and record.exported == [tmp_path / "export/x.safetensors"]
    assert record.proof == "Loads in Forge."
    assert (record.memory_gb, record.memory_peak_gb) == (0.2, 0.2)
    assert record.finished == e.Finished(2, completed=False) and record.failed is None


def test_phases_come_and_go(tmp_path: Path) -> None:
    record = replayed(PREPARING, tmp_path)
    assert record.phase == e.Phase("Encoding pictures", 1, 4)
    for event in (started(), *steps(1, 1), e.PreviewDrawn(1, 0, 42, "samples/a.png")):
        record.take(e.Phase("Something"))
        record.take(event)
        assert record.phase is None, event


def test_progress_and_the_time_that_is_left(tmp_path: Path) -> None:
    record = RunRecord(RunFolder(tmp_path))
    assert (record.step, record.total_steps, record.progress, record.seconds_per_step) == (0, 0, 0.0, 0.0)
    assert record.seconds_left is None
    for event in (HELLO, started(40), *steps(41, 42)):
        record.take(event)
    assert (record.step, record.total_steps, record.progress) == (42, 100, 0.42)
    assert record.seconds_left is None, "two steps are too few to tell"
    for event in steps(43, 43 + run_record.RECENT_STEPS, seconds=0.1):
        record.take(event)
    assert record.seconds_per_step == pytest.approx(0.1), "long ago counts no more"
    assert record.seconds_left == pytest.approx((100 - record.step) * 0.1)
    record.take(started(40))
    assert record.step == 40, "where it goes on from"


def test_a_resume_replaces_the_steps_that_are_done_again(tmp_path: Path) -> None:
    events = [
        HELLO, started(), e.Validated(0, 1.0), *steps(1, 10), e.Validated(5, 0.7), e.Validated(10, 0.5), HELLO, started(5),
        *steps(6, 8, loss=10.0), e.Validated(8, 0.6),
    ]  # fmt: skip
    record = replayed(events, tmp_path)
    assert list(record.steps) == list(range(1, 9))
    assert [round(loss * n, 6) for n, loss in zip(record.steps, record.losses, strict=True)] == [1] * 5 + [10] * 3
    assert len(record.rates) == len(record.seconds) == 8
    assert record.validations == [(0, 1.0), (5, 0.7), (8, 0.6)]


def test_a_run_that_begins_again_from_nothing_has_no_old_steps(tmp_path: Path) -> None:
    again = [HELLO, started(), e.Validated(0, 1.5)]
    record = replayed([HELLO, started(), e.Validated(0, 1.0), *steps(1, 3), *again], tmp_path)
    assert list(record.steps) == [] and record.validations == [(0, 1.5)]


def test_smoothing_is_the_unbiased_moving_average(tmp_path: Path) -> None:
    rng = random.Random(1)
    losses = [rng.random() for _ in range(40)]
    record = replayed([e.StepDone(i + 1, loss, {}, 0.1, 0.0) for i, loss in enumerate(losses)], tmp_path)
    for weight in (0.0, 0.5, 0.9, 0.98):
        plain = [
            sum(weight ** (n - i) * losses[i] for i in range(n + 1)) / sum(weight ** (n - i) for i in range(n + 1))
            for n in range(40)
        ]
        assert list(record.smoothed(weight)) == pytest.approx(plain)
    assert record.smoothed()[0] == pytest.approx(losses[0]), "it does not begin at 0"


def test_a_loss_that_is_no_number_breaks_nothing(tmp_path: Path) -> None:
    values = [math.nan, 1.0, math.nan, 3.0]
    record = replayed([e.StepDone(i + 1, loss, {}, 0.1, 0.0) for i, loss in enumerate(values)], tmp_path)
    first, *rest = record.smoothed(0.5)
    assert math.isnan(first) and rest == pytest.approx([1.0, 1.0, (0.25 * 1 + 0.5 * 3) / 0.75])
    assert list(RunRecord(RunFolder(tmp_path)).smoothed()) == []


# From disk


def test_a_record_from_disk_is_the_one_that_was_heard(tmp_path: Path) -> None:
    events = [
        *PREPARING,
        started(),
        *steps(1, 5),
        e.PreviewDrawn(5, 0, 42, "samples/a.png"),
        e.Finished(5, completed=True),
    ]
    found, heard = read(write(tmp_path, events)), replayed(events, tmp_path)
    assert found.read_to == (tmp_path / "events.jsonl").stat().st_size
    found.read_to = heard.read_to
    assert found == heard


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([HELLO], "lost"),
        ([HELLO, started(), *steps(1, 3)], "lost"),
        ([HELLO, started(), *steps(1, 3), e.Paused(3)], "lost"),
        ([HELLO, started(), e.Finished(3, completed=True)], "finished"),
        ([HELLO, e.Failed("No.")], "failed"),
        ([], "starting"),
    ],
)
def test_a_run_without_a_last_word_is_lost_when_nobody_holds_its_folder(
    events: list[e.Event], state: str, tmp_path: Path
) -> None:
    folder = write(tmp_path, events)
    assert read(folder).state == state
    with folder.locked():
        there = read(folder).state
    assert there == replayed(events, tmp_path).state


def test_a_run_that_never_started_is_starting(tmp_path: Path) -> None:
    assert read(RunFolder(tmp_path)).state == read(RunFolder(tmp_path / "gone")).state == "starting"


def test_a_line_that_a_crash_cut_is_passed_over_and_can_be_read_when_it_is_whole(tmp_path: Path) -> None:
    events = [HELLO, started(), *steps(1, 3)]
    folder = write(tmp_path, events, end="\n" + e.encode(steps(4, 4)[0])[:30])
    record = read(folder)
    assert list(record.steps) == [1, 2, 3]
    assert record.read_to == len("\n".join(map(e.encode, events))) + 1, "the half line will be read again"


def test_garbage_and_commands_among_the_events_are_passed_over(tmp_path: Path) -> None:
    lines = [
        e.encode(HELLO),
        "no json",
        '{"type": "dance"}',
        e.encode(e.Pause()),
        "",
        e.encode(started()),
        e.encode(steps(1, 1)[0]),
    ]
    (tmp_path / "events.jsonl").write_bytes("\n".join(lines).encode() + b"\n\xff\xfe\n")
    record = read(RunFolder(tmp_path))
    assert list(record.steps) == [1] and record.read_to == (tmp_path / "events.jsonl").stat().st_size


def test_checkpoints_are_those_that_are_on_disk(tmp_path: Path) -> None:
    """Old ones are removed while the run goes on, and events.jsonl does not tell."""
    saved = [e.CheckpointSaved(n, f"checkpoints/{n:06d}") for n in (10, 20, 30)]
    folder = write(tmp_path, [HELLO, started(), *saved])
    for step in (20, 30):
        save_checkpoint(folder, step)
    assert read(folder).checkpoints == [20, 30]
