"""Resume is exact: a run that was killed and resumed ends bit for bit where an unbroken one does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file

from app.worker_process import command_for
from trainer import run_folder, settings_file
from trainer.events import CheckpointSaved, Failed, StepDone, decode
from trainer.optim import OPTIMIZERS

if TYPE_CHECKING:
    from trainer.run_folder import RunFolder

STEPS, KILLED_AT = 16, 8


def start(folder: RunFolder) -> subprocess.Popen[str]:
    return subprocess.Popen(command_for(folder.path), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def run_to_the_end(folder: RunFolder) -> list[object]:
    """Runs a worker and returns its events; a failure fails the test with its sentence."""
    with start(folder) as worker:
        assert worker.stdout is not None
        events = [decode(line) for line in worker.stdout]
        assert worker.wait() == 0, [e for e in events if isinstance(e, Failed)]
    return events


def kill_after_checkpoint(folder: RunFolder, step: int) -> list[object]:
    """kill -9 as soon as that checkpoint is announced; returns the events until then."""
    events = []
    with start(folder) as worker:
        assert worker.stdout is not None
        for line in worker.stdout:
            events.append(event := decode(line))
            assert not isinstance(event, Failed), event
            if isinstance(event, CheckpointSaved) and event.step == step:
                os.kill(worker.pid, signal.SIGKILL)
                break
        worker.stdout.read()
        assert worker.wait() == -signal.SIGKILL
    return events


def make_run(model: Path, pictures: Path, runs: Path, name: str, **changes: object) -> RunFolder:
    """Everything random switched on: dropout, flip, tag shuffle, caption dropout, noise offset."""
    values = {
        "base": str(model), "data": str(pictures), "runs_folder": str(runs), "name": name, "resolution": 64, "bucket_step": 32, "bucket_min": 32,
        "steps": STEPS, "save_every_steps": KILLED_AT, "rank": 2, "dropout": 0.1, "batch_size": 2, "flip": True, "shuffle_tags": True,
        "caption_dropout": 0.2, "noise_offset": 0.05, "learning_rate": 1e-2, "warmup_steps": 2, "precision": "fp32", "targets": ["attention"],
        "device": "cpu",
    } | changes  # fmt: skip
    return run_folder.create(settings_file.from_dict(values))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_killed_run_ends_bit_for_bit_where_an_unbroken_one_does(
    optimizer: str, tiny_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    broken = make_run(tiny_models["sd1"], pictures, tmp_path / "runs", "broken", optimizer=optimizer)
    whole = make_run(tiny_models["sd1"], pictures, tmp_path / "runs", "whole", optimizer=optimizer)
    kill_after_checkpoint(whole, STEPS)  # what comes then, the export, would take as long again
    kill_after_checkpoint(broken, KILLED_AT)
    assert broken.checkpoints() == [KILLED_AT]
    events = kill_after_checkpoint(broken, STEPS)
    steps = [e.step for e in events if isinstance(e, StepDone)]
    assert steps == list(range(KILLED_AT + 1, STEPS + 1))
    resumed, unbroken = (load_file(run.checkpoint(STEPS) / "lora.safetensors") for run in (broken, whole))
    start_weights = load_file(whole.checkpoint(KILLED_AT) / "lora.safetensors")
    assert resumed.keys() == unbroken.keys()
    assert all(torch.equal(resumed[k], unbroken[k]) for k in unbroken)
    assert any(not torch.equal(start_weights[k], unbroken[k]) for k in unbroken), "the second half trained nothing"


def test_the_trained_text_encoder_resumes_exactly_too(
    tiny_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    options = {
        "train_text_encoder": True,
        "text_encoder_learning_rate": 1e-3,
        "text_encoder_2_learning_rate": 1e-3,
        "steps": 6,
        "save_every_steps": 3,
    }
    broken = make_run(tiny_models["sdxl"], pictures, tmp_path / "runs", "broken", **options)
    whole = make_run(tiny_models["sdxl"], pictures, tmp_path / "runs", "whole", **options)
    run_to_the_end(whole)
    kill_after_checkpoint(broken, 3)
    run_to_the_end(broken)
    resumed, unbroken = (load_file(run.checkpoint(6) / "lora.safetensors") for run in (broken, whole))
    assert any(k.startswith("lora_te2_") for k in unbroken)
    assert all(torch.equal(resumed[k], unbroken[k]) for k in unbroken)


def test_this_file_runs_the_worker_of_this_checkout() -> None:
    """A stale installation elsewhere would make these tests prove nothing."""
    where = subprocess.run(
        [sys.executable, "-c", "import trainer; print(trainer.__file__)"], capture_output=True, text=True, check=True
    ).stdout
    assert Path(where.strip()).resolve() == Path(__file__).resolve().parents[1] / "trainer" / "__init__.py"
