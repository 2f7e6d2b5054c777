"""The training loop on tiny models of every family, in this process."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import safetensors.torch
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.conftest import draw_pictures
from tests.runs import AtPoll, losses, make_run, train
from trainer import families, loop
from trainer.errors import AtelierError, DivergedError, RunError
from trainer.events import (
    CheckpointSaved,
    Exported,
    Finished,
    Pause,
    Paused,
    PreviewDrawn,
    Resume,
    Resumed,
    SampleNow,
    SaveNow,
    Started,
    StepDone,
    Stop,
    Validated,
    Warned,
)
from trainer.lora_file import read_header

if TYPE_CHECKING:
    from pathlib import Path

PROMPT = {"prompt": "blob, round thing", "steps": 2, "seed": 7}


def kinds(events: list[Any]) -> list[str]:
    return [
        type(e).__name__
        for e in events
        if isinstance(e, StepDone | CheckpointSaved | PreviewDrawn | Exported | Finished)
    ]


@pytest.mark.parametrize("family", families.FAMILIES)
def test_every_family_learns_a_picture(family: str, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    pictures = draw_pictures(tmp_path / "one", count=1)
    folder = make_run(
        tiny_models[family],
        pictures,
        tmp_path,
        steps=25,
        batch_size=1,
        repeats=4,
        rank=8,
        alpha=8.0,
        targets=["attention", "feed_forward", "projections", "convolutions"],
        validation=str(pictures),
        validate_every_steps=25,
    )
    events = train(folder)
    before, after = [e.loss for e in events if isinstance(e, Validated)]
    assert after < before * 0.97
    assert isinstance(events[-1], Finished) and events[-1].completed
    assert (folder.export / "test.safetensors").is_file()


@pytest.mark.parametrize("family", families.FAMILIES)
def test_text_encoders_of_every_family_are_trained_when_asked(
    family: str, tiny_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    folder = make_run(
        tiny_models[family],
        pictures,
        tmp_path,
        train_text_encoder=True,
        text_encoder_learning_rate=1e-2,
        text_encoder_2_learning_rate=1e-2,
    )
    train(folder)
    tensors = load_file(folder.export / "test.safetensors")
    for prefix in families.FAMILIES[family].text_parts.values():
        ups = [v for k, v in tensors.items() if k.startswith(prefix + "_text_model_encoder_layers_") and "lora_up" in k]
        # SDXL reads its first encoder's last layer but one, so the last layer learns nothing
        assert sum(bool(u.any()) for u in ups) >= len(ups) * 2 // 3


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains_close_to_fp32(
    precision: str, tiny_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    full = losses(train(make_run(tiny_models["sd1"], pictures, tmp_path)))
    half = losses(train(make_run(tiny_models["sd1"], pictures, tmp_path, precision=precision)))
    assert half == pytest.approx(full, rel=0.03)
    assert half != full


def test_two_accumulated_batches_give_the_gradient_of_their_mean(
    tiny_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    """With plain gradient-size-free Lion-like steps excluded, the mean loss of a step is that of its two batches."""
    singles = train(make_run(tiny_models["sd1"], pictures, tmp_path, steps=2, learning_rate=1e-9))
    double = train(make_run(tiny_models["sd1"], pictures, tmp_path, steps=1, accumulation=2, learning_rate=1e-9))
    assert losses(double)[0] == pytest.approx(sum(losses(singles)) / 2, rel=1e-5)


def test_gradient_checkpointing_changes_no_number(tiny_models: dict[str, Path], pictures: Path, tmp_path: Path) -> None:
    plain = losses(train(make_run(tiny_models["sd1"], pictures, tmp_path)))
    frugal = losses(train(make_run(tiny_models["sd1"], pictures, tmp_path, gradient_checkpointing="all")))
    assert frugal == pytest.approx(plain, rel=1e-5)


def test_a_cached_run_gives_the_same_losses_as_the_first(
    tiny_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    assert losses(train(make_run(tiny_models["sd1"], pictures, tmp_path))) == losses(
        train(make_run(tiny_models["sd1"], pictures, tmp_path))
    )


def test_a_checkpoint_is_written_before_the_previews_are_drawn(
    tiny_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    folder = make_run(
        tiny_models["sd1"], pictures, tmp_path, save_every_steps=2, preview_every_steps=2, previews=[PROMPT]
    )
    assert kinds(train(folder)) == [
        "PreviewDrawn", "StepDone", "StepDone", "CheckpointSaved", "PreviewDrawn", "StepDone", "StepDone", "CheckpointSaved", "PreviewDrawn", "Exported", "Finished",
    ]  # fmt: skip
    assert sorted(p.name for p in folder.samples.iterdir()) == [
        "000000_p0_s7.png",
        "000002_p0_s7.png",
        "000004_p0_s7.png",
    ]


def test_only_the_last_checkpoints_are_kept(tiny_models: dict[str, Path], pictures: Path, tmp_path: Path) -> None:
    folder = make_run(tiny_models["sd1"], pictures, tmp_path, save_every_steps=1, keep_checkpoints=2)
    train(folder)
    assert folder.checkpoints() == [3, 4]
    assert sorted(p.name for p in (folder.path / "checkpoints").iterdir()) == ["000003", "000004"]


def test_checkpoints_by_epoch_fall_on_the_ends_of_epochs(
    tiny_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    folder = make_run(tiny_models["sd1"], pictures, tmp_path, epochs=2, save_every_epochs=1, batch_size=2)
    events = train(folder)
    assert [e.step for e in events if isinstance(e, CheckpointSaved)] == [3, 6]
    assert next(e for e in events if isinstance(e, Started)).total_steps == 6


def test_a_checkpoint_is_a_lora_file_with_the_steps_in_it(
    tiny_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    folder = make_run(tiny_models["sd1"], pictures, tmp_path, save_every_steps=2)
    train(folder)
    metadata = read_header(folder.checkpoint(2) / "lora.safetensors").metadata
    assert (metadata["ss_steps"], metadata["ss_max_train_steps"]) == ("2", "4")
    assert len(metadata["sshs_model_hash"]) == 64


def test_stop_saves_exports_and_ends_within_the_step(
    tiny_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    events = train(make_run(tiny_models["sd1"], pictures, tmp_path, steps=100), AtPoll({2: [Stop()]}))
    assert kinds(events) == ["StepDone", "StepDone", "CheckpointSaved", "Exported", "Finished"]
    assert events[-1] == Finished(2, completed=False)


def test_stop_without_export_writes_no_file(tiny_models: dict[str, Path], pictures: Path, tmp_path: Path) -> None:
    folder = make_run(tiny_models["sd1"], pictures, tmp_path, steps=100)
    train(folder, AtPoll({1: [Stop(export=False)]}))
    assert folder.checkpoints() == [1]
    assert not folder.export.exists()


def test_a_stopped_run_goes_on_where_it_stopped(tiny_models: dict[str, Path], pictures: Path, tmp_path: Path) -> None:
    whole = losses(train(make_run(tiny_models["sd1"], pictures, tmp_path)))
    folder = make_run(tiny_models["sd1"], pictures, tmp_path)
    first = losses(train(folder, AtPoll({2: [Stop()]})))
    assert first + losses(train(folder)) == whole


def test_stop_while_pictures_are_encoded_ends_at_once(
    tiny_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    folder = make_run(tiny_models["sd1"], pictures, tmp_path)
    events = train(folder, AtPoll({0: [Stop()]}))
    assert events[-1] == Finished(0, completed=False)
    assert not any(isinstance(e, Started) for e in events)
    assert isinstance(train(folder)[-1], Finished)


def test_pause_saves_and_waits_for_resume(tiny_models: dict[str, Path], pictures: Path, tmp_path: Path) -> None:
    events = train(
        make_run(tiny_models["sd1"], pictures, tmp_path), AtPoll({2: [Pause()]}, paused=[SaveNow(), Resume()])
    )
    names = [type(e).__name__ for e in events]
    assert names.index("Paused") < names.index("Resumed")
    assert Paused(2) in events and Resumed(2) in events
    assert losses(events) == losses(train(make_run(tiny_models["sd1"], pictures, tmp_path)))


def test_a_paused_run_can_be_stopped(tiny_models: dict[str, Path], pictures: Path, tmp_path: Path) -> None:
    events = train(make_run(tiny_models["sd1"], pictures, tmp_path), AtPoll({2: [Pause()]}, paused=[Stop()]))
    assert events[-1] == Finished(2, completed=False)
    assert not any(isinstance(e, Resumed) for e in events)


def test_save_now_and_sample_now_act_after_the_step(
    tiny_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    folder = make_run(tiny_models["sd1"], pictures, tmp_path, previews=[PROMPT], preview_every_steps=50)
    events = train(folder, AtPoll({1: [SaveNow()], 3: [SampleNow()]}))
    assert [e.step for e in events if isinstance(e, CheckpointSaved)] == [1, 4]
    assert [e.step for e in events if isinstance(e, PreviewDrawn)] == [0, 3, 4]


def test_previews_do_not_change_the_training(tiny_models: dict[str, Path], pictures: Path, tmp_path: Path) -> None:
    quiet = losses(train(make_run(tiny_models["sd1"], pictures, tmp_path, dropout=0.2)))
    drawn = losses(
        train(make_run(tiny_models["sd1"], pictures, tmp_path, dropout=0.2, previews=[PROMPT], preview_every_steps=1))
    )
    assert quiet == drawn


def test_the_preview_shows_what_was_learnt_from_the_same_noise(
    tiny_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    folder = make_run(
        tiny_models["sd1"], pictures, tmp_path, previews=[PROMPT], preview_every_steps=4, learning_rate=0.1
    )
    train(folder)
    first, last = (Image.open(folder.sample(step, 0, 7)) for step in (0, 4))
    assert first.size == last.size == (64, 64)
    assert first.tobytes() != last.tobytes()
    assert "LoRA step: 4" in last.info["parameters"]


def test_a_diverging_run_is_stopped_and_good_weights_stay(
    tiny_models: dict[str, Path], pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.loop.REPORT_SECONDS", 0.0)
    folder = make_run(tiny_models["sd1"], pictures, tmp_path, steps=6, save_every_steps=2)

    sessions = []
    prepare = loop.prepare
    monkeypatch.setattr(loop, "prepare", lambda *args: sessions.append(prepare(*args)) or sessions[0])

    class Poison(AtPoll):
        """Makes weights infinite after step 3, as a far too high learning rate does."""

        def poll(self) -> list[Any]:
            if super().poll():
                sessions[0].trained.adapter.parameters()[1].data.fill_(float("inf"))
            return []

    with pytest.raises(
        DivergedError,
        match=r"no longer a finite number at step 4.*Resume from the last checkpoint with a lower learning rate",
    ):
        train(folder, Poison({3: [SaveNow()]}))
    assert folder.checkpoints() == [2]
    assert all(v.isfinite().all() for v in load_file(folder.checkpoint(2) / "lora.safetensors").values())


def test_a_full_disk_at_a_checkpoint_is_a_sentence_and_the_last_one_survives(
    tiny_models: dict[str, Path], pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run(tiny_models["sd1"], pictures, tmp_path, save_every_steps=2)
    save_file = safetensors.torch.save_file

    def full(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
        if path.name == "state.safetensors" and ".000004.part" in str(path):
            path.write_bytes(b"a part")
            raise safetensors.SafetensorError(
                "Error while serializing: I/O error: No space left on device (os error 28)"
            )
        save_file(tensors, path, metadata)

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(RunError, match=r"checkpoint of step 4 could not be saved: the disk is full.*resume the run"):
        train(folder)
    assert folder.checkpoints() == [2]
    assert [p.name for p in (folder.path / "checkpoints").iterdir()] == ["000002"]
    monkeypatch.undo()
    assert isinstance(train(folder)[-1], Finished)


def test_a_damaged_checkpoint_is_a_sentence(tiny_models: dict[str, Path], pictures: Path, tmp_path: Path) -> None:
    folder = make_run(tiny_models["sd1"], pictures, tmp_path, save_every_steps=2)
    train(folder, AtPoll({2: [Stop()]}))
    state = folder.checkpoint(2) / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-50])
    with pytest.raises(RunError, match=r"checkpoint .*000002 is damaged.*Remove that folder"):
        train(folder)


def test_regularisation_pictures_count_with_their_weight(
    tiny_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    prior = draw_pictures(tmp_path / "prior", count=3)
    runs = {
        w: losses(
            train(
                make_run(
                    tiny_models["sd1"],
                    pictures,
                    tmp_path,
                    regularization=str(prior),
                    prior_weight=w,
                    steps=12,
                    learning_rate=1e-9,
                )
            )
        )
        for w in (0.0, 0.5, 1.0)
    }
    prior_steps = [i for i, loss in enumerate(runs[0.0]) if loss == 0]
    assert len(prior_steps) == 6  # as many views of regularisation pictures as of the others in an epoch
    for i in range(12):
        assert runs[0.5][i] == pytest.approx(runs[1.0][i] * (0.5 if i in prior_steps else 1), rel=1e-4)


def test_a_broken_picture_is_named_and_left_out(tiny_models: dict[str, Path], pictures: Path, tmp_path: Path) -> None:
    broken = pictures / "0.png"
    broken.write_bytes(broken.read_bytes()[:150])
    events = train(make_run(tiny_models["sd1"], pictures, tmp_path))
    assert [e.message for e in events if isinstance(e, Warned)] == [
        "0.png is left out: 0.png cannot be read as a picture (the file is cut off)."
    ]
    assert [e.pictures for e in events if isinstance(e, Started)] == [5]


def test_a_folder_of_broken_pictures_is_an_error(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    folder = draw_pictures(tmp_path / "broken", count=1)
    (folder / "0.png").write_bytes((folder / "0.png").read_bytes()[:150])
    with pytest.raises(AtelierError, match=r"None of the 1 pictures can be used|no usable picture"):
        train(make_run(tiny_models["sd1"], folder, tmp_path))


def test_training_goes_on_from_a_lora_file(tiny_models: dict[str, Path], pictures: Path, tmp_path: Path) -> None:
    first = make_run(tiny_models["sd1"], pictures, tmp_path, export_precision="fp32", rank=3)
    train(first)
    start = first.export / "test.safetensors"
    second = make_run(
        tiny_models["sd1"],
        pictures,
        tmp_path,
        start_from=str(start),
        steps=1,
        learning_rate=1e-9,
        export_precision="fp32",
    )
    train(second)
    before, after = load_file(start), load_file(second.export / "test.safetensors")
    assert all(torch.allclose(before[k], after[k], atol=1e-6) for k in before)


def test_text_layers_that_are_left_out_are_named(tiny_models: dict[str, Path], pictures: Path, tmp_path: Path) -> None:
    first = make_run(tiny_models["sd1"], pictures, tmp_path, train_text_encoder=True, steps=1)
    train(first)
    events = train(
        make_run(tiny_models["sd1"], pictures, tmp_path, start_from=str(first.export / "test.safetensors"), steps=1)
    )
    assert [e.message for e in events if isinstance(e, Warned)] == [
        "test.safetensors also holds text-encoder layers; they are left out, because train the text encoder is off."
    ]


def test_every_event_of_a_run_can_be_read_again(tiny_models: dict[str, Path], pictures: Path, tmp_path: Path) -> None:
    from trainer.events import decode, encode

    for event in train(make_run(tiny_models["sd1"], pictures, tmp_path, previews=[PROMPT])):
        assert decode(encode(event)) == event
        json.loads(encode(event))


def test_a_file_trained_further_says_its_own_rank_and_alpha(
    tiny_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    first = make_run(tiny_models["sd1"], pictures, tmp_path, rank=3, alpha=1.5, steps=1)
    train(first)
    second = make_run(
        tiny_models["sd1"], pictures, tmp_path, start_from=str(first.export / "test.safetensors"), rank=8, steps=1
    )
    train(second)
    metadata = read_header(second.export / "test.safetensors").metadata
    assert (metadata["ss_network_dim"], metadata["ss_network_alpha"]) == ("3", "1.5")


def test_dropout_of_trained_text_encoders_is_off_in_validation(
    tiny_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    options = {"train_text_encoder": True, "validation": str(pictures), "validate_every_steps": 1, "steps": 1}
    plain, dropping = (
        train(make_run(tiny_models["sd1"], pictures, tmp_path, dropout=dropout, **options)) for dropout in (0.0, 0.9)
    )
    first_losses = [next(e.loss for e in events if isinstance(e, Validated)) for events in (plain, dropping)]
    assert first_losses[0] == first_losses[1]


def test_a_step_takes_as_long_as_the_device_works_on_it_not_as_long_as_it_takes_to_ask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A GPU works on while the loop goes ahead; reading the losses waits for it, for all the steps since the last reading."""
    clock, told = [100.0], []

    class Lazy:
        def tolist(self) -> list[float]:
            clock[0] += 0.6
            return [1.0, 2.0]

    monkeypatch.setattr(loop.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(loop.torch, "stack", lambda tensors: Lazy())
    monkeypatch.setattr(loop.devices, "memory_gb", lambda device: 0.0)
    waiting = loop._Losses(torch.device("cpu"), told.append, step_ended_at=clock[0])
    for step, seconds in ((1, 0.1), (2, 0.2)):
        clock[0] += seconds
        waiting.add(step, torch.zeros(()), {"unet": 1e-4})
    waiting.report()
    assert [(e.step, e.loss) for e in told] == [(1, 1.0), (2, 2.0)]
    assert [e.seconds for e in told] == pytest.approx([0.4, 0.5])
