"""What a terminal shows of a run."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from app.progress import Progress
from trainer.events import Adapted, CheckpointSaved, Paused, Phase, PreviewDrawn, Started, StepDone, Validated, Warned

if TYPE_CHECKING:
    from pathlib import Path

START = Started(0, 40, 16, 2, 574_000, "cpu", "bf16")


def step(number: int, loss: float = 0.2) -> StepDone:
    return StepDone(number, loss, {"unet": 1e-4}, 0.5, 1.25)


def test_without_a_terminal_plain_lines_tell_phase_start_and_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = Progress(tmp_path)
    for event in (
        Phase("Encoding pictures", 1, 16),
        Phase("Encoding pictures", 2, 16),
        START,
        step(1),
        step(2),
        step(40),
    ):
        progress.show(event)
    progress.close()
    out = capsys.readouterr().out
    assert out.splitlines() == [
        "Encoding pictures (16) ...",
        "16 pictures, 40 steps, 574,000 trainable parameters, bf16 on cpu.",
        "Step 1 of 40: loss 0.2000, lr 1.0e-04, 1.2 GB, 20 s left",
        "Step 40 of 40: loss 0.2000, lr 1.0e-04, 1.2 GB, 0 s left",
    ]


def test_notes_checkpoints_measurements_and_pauses_are_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = Progress(tmp_path)
    for event in (
        Warned("0.png is left out."),
        Adapted(1200, "all blocks are computed twice", "in a training step"),
        CheckpointSaved(20, "checkpoints/000020"),
        Validated(20, 0.15),
        Paused(21),
    ):
        progress.show(event)
    assert capsys.readouterr().out.splitlines() == [
        "Note: 0.png is left out.",
        "Note: Memory ran out in a training step. The run goes on from step 1,200: all blocks are computed twice.",
        "Step 20: checkpoint saved in checkpoints/000020",
        "Step 20: loss on held-out pictures 0.1500",
        "Paused at step 21.",
    ]


def test_previews_are_collected_with_their_folder(tmp_path: Path) -> None:
    progress = Progress(tmp_path)
    progress.show(PreviewDrawn(0, 0, 42, "samples/000000_p0_s42.png"))
    assert progress.previews == [tmp_path / "samples" / "000000_p0_s42.png"]


def test_the_shown_loss_is_smoothed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(tmp_path)
    for event in (START, step(1, 0.1), step(40, 0.3)):
        progress.show(event)
    assert "loss 0.1100" in capsys.readouterr().out.splitlines()[-1]


def test_on_a_terminal_there_is_one_living_bar_with_the_time_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    progress = Progress(tmp_path)
    for event in (START, *(step(i) for i in range(1, 41)), Phase("Drawing previews", 0, 4)):
        progress.show(event)
    progress.close()
    bar = capsys.readouterr().err
    assert "40/40" in bar and "loss 0.2000, lr 1.0e-04, 1.2 GB" in bar and "left" in bar


@pytest.mark.parametrize(
    ("seconds", "text"), [(40, "20 s left"), (4 * 60, "2 min 0 s left"), (4 * 3600 + 300, "2 h 2 min left")]
)
def test_the_time_left_is_in_words(
    seconds: float, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = Progress(tmp_path)
    progress.show(Started(0, 2, 1, 1, 1, "cpu", "fp32"))
    progress.show(StepDone(1, 0.1, {"unet": 1e-4}, seconds / 2, 1.0))
    assert capsys.readouterr().out.splitlines()[-1].endswith(text)
