"""Memory that runs out anywhere in a run: it goes on with less, and ends where an undisturbed run does."""

from __future__ import annotations

import errno
import os
import random
import weakref
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

from tests import tiny_models as makers
from tests.conftest import draw_pictures
from tests.runs import losses, make_run, train
from trainer import diffusion, ladder, loop, occasions, optim, rungs, validation
from trainer.cache import Cache
from trainer.errors import RunError
from trainer.events import Adapted, CheckpointSaved, Finished, PreviewDrawn, Started, StepDone, Validated, Warned
from trainer.families.backbone import Backbone
from trainer.ladder import is_out_of_memory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trainer.run_folder import RunFolder
    from trainer.session import Session

STEPS = 4
ERRORS: list[Callable[[], Exception]] = [
    lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    MemoryError,
    lambda: RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes. Error code 12 (Cannot allocate memory)"),
    lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    lambda: RuntimeError("could not create a primitive"),
    lambda: OSError(errno.ENOMEM, "Cannot allocate memory"),
]  # fmt: skip
SAME_NUMBERS = {rungs.FREES, rungs.TILES, "checkpointing"}  # rungs that change no arithmetic
IN_A_STEP = ("forward", "backward", "feed", "clip", "update")
TWICE = ("encode", "decode", "validation", "save")
PREPARATION = ("encode", "captions", "load", "optimizer")
ELSEWHERE = ("encode", "captions", "load", "optimizer", "decode", "validation", "save", "export")


class Fault:
    """Memory runs out at a place: the first `after` times it is passed all is well, then it fails `times` times."""

    def __init__(self, place: str, after: int, times: int, error: Callable[[], Exception], layer: int = 0) -> None:
        self.place, self.after, self.times, self.error, self.layer = place, after, times, error, layer
        self.passed = self.struck = 0
        self.seen: list[weakref.ref[torch.Tensor]] = []  # what the layer gave

    def strike(self, place: str) -> None:
        if place != self.place:
            return
        self.passed += 1
        if self.passed > self.after and self.struck < self.times:
            self.struck += 1
            raise self.error()

    def into(self, session: Session) -> Session:
        """Puts the places of a step into a session."""
        layers = list(session.trained.adapter.layers.values())

        def forward(_module: Any, _inputs: Any, output: torch.Tensor) -> None:
            self.seen.append(weakref.ref(output))
            if torch.is_grad_enabled() and session.backbone.part("unet").training:
                if output.requires_grad:
                    output.register_hook(lambda gradient: self.strike("backward"))
                self.strike("forward")

        layers[self.layer % len(layers)].register_forward_hook(forward)
        step = session.trained.optimizer.step

        def update(*args: Any, **options: Any) -> None:
            step(*args, **options)  # weights and state have changed before it fails
            self.strike("update")

        session.trained.optimizer.step = update  # type: ignore[method-assign, assignment]
        return session


@pytest.fixture
def inject(monkeypatch: pytest.MonkeyPatch) -> Callable[[Fault], Fault]:
    """Puts a fault into the runs that come."""

    def put(fault: Fault) -> Fault:
        prepare = loop.prepare
        monkeypatch.setattr(loop, "prepare", lambda *args: fault.into(prepare(*args)))
        for place, owner, name in (
            ("feed", diffusion, "draw"), ("clip", torch.nn.utils, "clip_grad_norm_"), ("encode", Backbone, "encode_pictures"),
            ("captions", Cache, "fill_captions"), ("load", Backbone, "load_unet"), ("optimizer", optim, "build"),
            ("decode", Backbone, "decode_latents"), ("validation", validation, "loss"), ("save", occasions.checkpoint, "save"),
            ("export", occasions.proof, "of_session"),
        ):  # fmt: skip
            monkeypatch.setattr(owner, name, struck(fault, place, getattr(owner, name)))
        return fault

    return put


def struck(fault: Fault, place: str, real: Callable[..., Any]) -> Callable[..., Any]:
    def around(*args: Any, **options: Any) -> Any:
        fault.strike(place)
        return real(*args, **options)

    return around


@pytest.fixture(autouse=True)
def _no_export(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof of load takes longer than the steps, so only those who need it have it."""
    if "export" not in request.node.name:
        monkeypatch.setattr(occasions, "write_export", lambda session, step, emit: None)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half of the other tests' tiny model, as so many runs are made here."""
    whole = makers._unet
    half: dict[str, Any] = {
        "block_out_channels": (16, 32), "layers_per_block": 1, "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(makers, "_unet", lambda **changes: whole(**(half | changes)))
        return makers.make("sd1", tmp_path_factory.mktemp("model") / "half")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("ladder")
    return draw_pictures(root / "pictures"), draw_pictures(root / "held_out", count=1)


@pytest.fixture(scope="module")
def undisturbed() -> dict[bool, tuple[dict[str, torch.Tensor], list[float]]]:
    """The last weights and the losses of runs without faults, with packed weights and without, as they are made."""
    return {}


def new_run(model: Path, folders: tuple[Path, Path], runs: Path, **changes: Any) -> RunFolder:
    pictures, held_out = folders
    values = {
        "steps": STEPS, "batch_size": 2, "learning_rate": 1e-3, "save_every_steps": 2, "packed_weights": "off", "validation": str(held_out),
        "validate_every_steps": 2, "preview_every_steps": 4, "previews": [{"prompt": "blob", "steps": 1, "seed": 7}],
    } | changes  # fmt: skip
    return make_run(model, pictures, runs, **values)


def weights(folder: RunFolder, step: int = STEPS) -> dict[str, torch.Tensor]:
    return load_file(folder.checkpoint(step) / "lora.safetensors")


def last_losses(events: list[Any]) -> list[float]:
    """The loss of each step when it was done for the last time."""
    return [loss for _, loss in sorted({e.step: e.loss for e in events if isinstance(e, StepDone)}.items())]


def furthest(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> float:
    return max(float((found[key] - wanted[key]).abs().max()) for key in wanted)


# Every place once; LADDER_CASES=39 in the environment runs three times as many, with other layers, errors and repetitions.
PLACES = (*IN_A_STEP, *ELSEWHERE)
CASES = [(seed, PLACES[seed % len(PLACES)]) for seed in range(int(os.environ.get("LADDER_CASES", len(PLACES))))]


@pytest.mark.parametrize(("seed", "place"), CASES, ids=[f"{place}-{seed}" for seed, place in CASES])
def test_a_run_that_runs_out_of_memory_anywhere_ends_where_an_undisturbed_one_does(
    seed: int, place: str, model: Path, folders: tuple[Path, Path], tmp_path: Path,
    inject: Callable[[Fault], Fault], undisturbed: dict[bool, tuple[dict[str, torch.Tensor], list[float]]],
) -> None:  # fmt: skip
    rng = random.Random(seed)
    packed = rng.random() < 0.3
    options = {"packed_weights": "on" if packed else "off"}
    if packed not in undisturbed:
        plain = new_run(model, folders, tmp_path / "plain", **options)
        events = train(plain)
        undisturbed[packed] = weights(plain), losses(events)
    wanted, wanted_losses = undisturbed[packed]
    # A step's places are passed in each of the four steps, others twice or more, and those of the preparation once.
    after = rng.randrange(STEPS) if place in IN_A_STEP else rng.randrange(2) if place in TWICE else 0
    times = rng.randint(1, 4 if place in (*IN_A_STEP, "decode", "validation") else 2 if place in PREPARATION else 1)
    fault = inject(Fault(place, after, times, rng.choice(ERRORS), rng.randrange(1000)))
    folder = new_run(model, folders, tmp_path / "runs", cache="memory", **options)
    events = train(folder)
    assert isinstance(events[-1], Finished) and events[-1].completed
    left_out = [e for e in events if isinstance(e, Warned) and "left out" in e.message]
    adapted = [e for e in events if isinstance(e, Adapted)]
    assert len(adapted) + len(left_out) == fault.struck == fault.times
    assert last_losses(events) == pytest.approx(wanted_losses, rel=1e-5)
    if not left_out:
        assert {e.step for e in events if isinstance(e, Validated)} == {0, 2, 4}
        assert {e.step for e in events if isinstance(e, PreviewDrawn)} == {0, 4}
    found = weights(folder)
    assert found.keys() == wanted.keys()
    if set(rungs.read(folder).taken) <= SAME_NUMBERS:
        assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    else:
        assert furthest(found, wanted) < 2e-5, "weights move by 1e-3 a step"


def test_the_rungs_of_a_step_come_in_order_and_then_the_advice_and_a_resumed_run_starts_at_the_last(
    model: Path, folders: tuple[Path, Path], tmp_path: Path, inject: Callable[[Fault], Fault]
) -> None:
    folder = new_run(model, folders, tmp_path, packed_weights="on", batch_size=4)
    fault = inject(Fault("forward", 2, 99, ERRORS[0]))
    events: list[Any] = []
    with pytest.raises(RunError, match=r"Memory is full. Lower the batch size .* then resume the run"):
        loop.train(folder, events.append, loop_control())
    told = [e for e in events if isinstance(e, Adapted)]
    assert [e.what for e in told] == [
        "what is not needed at the moment leaves memory",
        "frozen weights are no longer kept packed",
        "the blocks that need most are computed twice instead of kept",
        "all blocks are computed twice instead of kept",
        "a batch is computed 2 pictures at a time",
        "a batch is computed 1 picture at a time",
    ]
    assert {(e.step, e.why) for e in told} == {(2, "in a training step")}
    assert told[0].message == "Memory ran out in a training step. The run goes on from step 2: what is not needed at the moment leaves memory."  # fmt: skip
    assert folder.settings().micro_batch == 0, "the user's settings stay as they are"
    fault.times = 0
    events = train(folder)
    assert [e.message for e in events if isinstance(e, Warned)] == [
        "Memory ran out in this run before, so it goes on with less: what is not needed at the moment leaves memory; "
        "frozen weights are no longer kept packed; all blocks are computed twice instead of kept; a batch is computed 1 picture at a time. "
        "Remove adapted.json from its folder to try without."
    ]
    assert not any(isinstance(e, Adapted) for e in events)
    assert [e.step for e in events if isinstance(e, StepDone)] == [3, 4]


def loop_control() -> Any:
    from trainer.control import NoControl

    return NoControl()


def test_a_failure_while_weights_change_goes_back_to_the_last_checkpoint(
    model: Path, folders: tuple[Path, Path], tmp_path: Path, inject: Callable[[Fault], Fault]
) -> None:
    plain = new_run(model, folders, tmp_path / "plain", dropout=0.2)
    train(plain)
    inject(Fault("update", 3, 1, MemoryError))
    folder = new_run(model, folders, tmp_path / "runs", dropout=0.2)
    events = train(folder)
    assert [e.step for e in events if isinstance(e, Started)] == [0, 2], "the fourth update failed"
    assert [e.step for e in events if isinstance(e, CheckpointSaved)] == [2, 4]
    found, wanted = weights(folder), weights(plain)
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_stop_means_stop(
    model: Path, folders: tuple[Path, Path], tmp_path: Path, inject: Callable[[Fault], Fault]
) -> None:
    inject(Fault("backward", 0, 1, ERRORS[0]))
    folder = new_run(model, folders, tmp_path, out_of_memory="stop")
    with pytest.raises(RunError, match="Memory is full"):
        train(folder)
    assert not (folder.path / rungs.FILE).exists()


def test_one_of_several_processes_does_not_adapt_alone(model: Path, folders: tuple[Path, Path], tmp_path: Path) -> None:
    folder = new_run(model, folders, tmp_path)

    def fails(emit: Any) -> Session:
        raise MemoryError

    with pytest.raises(MemoryError):
        ladder.Ladder(folder, lambda event: None, fails, adapts=False).prepare(lambda event: None)
    assert not (folder.path / rungs.FILE).exists()


def test_what_the_failed_step_computed_is_gone_before_it_is_tried_again(
    model: Path, folders: tuple[Path, Path], tmp_path: Path, inject: Callable[[Fault], Fault],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """An exception's traceback keeps all that its frames held; on a full GPU the second try would fail for that alone."""
    fault = inject(Fault("backward", 0, 1, ERRORS[0], layer=3))
    alive: list[int] = []

    def collect() -> None:
        if fault.struck:
            alive.append(sum(ref() is not None for ref in fault.seen))  # before the garbage collector has run

    monkeypatch.setattr(ladder.devices, "collect", collect)
    train(new_run(model, folders, tmp_path, previews=[], validation=None, steps=1))
    assert fault.struck == 1 and alive[0] == 0


def test_the_old_model_is_gone_before_the_new_one_is_read(
    model: Path, folders: tuple[Path, Path], tmp_path: Path, inject: Callable[[Fault], Fault],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    models: list[weakref.ref[torch.nn.Module]] = []
    alive: list[int] = []
    inject(Fault("forward", 1, 2, ERRORS[1]))
    load = Backbone.load_unet

    def noted(self: Backbone, *args: Any) -> Any:
        alive.append(sum(ref() is not None for ref in models))
        model = load(self, *args)
        models.append(weakref.ref(model))
        return model

    monkeypatch.setattr(Backbone, "load_unet", noted)
    train(new_run(model, folders, tmp_path, packed_weights="on"))
    assert alive == [0, 0], "read twice, each time with no other one in memory"


def test_a_base_that_may_be_quantised_is_when_nothing_else_helps(
    model: Path, folders: tuple[Path, Path], tmp_path: Path, inject: Callable[[Fault], Fault]
) -> None:
    pytest.importorskip("bitsandbytes")
    inject(Fault("forward", 2, 5, ERRORS[0]))
    folder = new_run(model, folders, tmp_path, out_of_memory="adapt_4bit", precision="bf16")
    events = train(folder)
    told = [e for e in events if isinstance(e, Adapted)][-1]
    assert (told.what, told.quantization) == ("the base model is quantised to 4 bits", "nf4")
    assert isinstance(events[-1], Finished) and events[-1].completed
    assert rungs.lowered(folder).quantization == "nf4" and folder.settings().quantization == "none"


def test_previews_that_never_fit_are_left_out_and_the_training_goes_on(
    model: Path, folders: tuple[Path, Path], tmp_path: Path, inject: Callable[[Fault], Fault]
) -> None:
    inject(Fault("decode", 0, 99, ERRORS[0]))
    events = train(new_run(model, folders, tmp_path))
    assert len([e for e in events if isinstance(e, Adapted)]) == 2
    assert {e.message for e in events if isinstance(e, Warned)} == {
        "There is not enough memory to draw the previews, so they are left out; the training goes on. Make the previews smaller."
    }
    assert isinstance(events[-1], Finished) and events[-1].completed and len(losses(events)) == STEPS


def test_other_errors_are_no_lack_of_memory(
    model: Path, folders: tuple[Path, Path], tmp_path: Path, inject: Callable[[Fault], Fault]
) -> None:
    inject(Fault("forward", 1, 1, lambda: RuntimeError("mat1 and mat2 shapes cannot be multiplied")))
    with pytest.raises(RuntimeError, match="mat1"):
        train(new_run(model, folders, tmp_path))
    assert all(is_out_of_memory(error()) for error in ERRORS)
    others = [RuntimeError("CUDA error: device-side assert triggered"), OSError(errno.ENOSPC, "full"), ValueError("out of memory"), RuntimeError("could not create a primitive descriptor for a convolution")]  # fmt: skip
    assert not any(is_out_of_memory(error) for error in others)


def test_the_file_is_exported_though_memory_ran_out_in_the_proof_of_its_export(
    model: Path, folders: tuple[Path, Path], tmp_path: Path, inject: Callable[[Fault], Fault]
) -> None:
    fault = inject(Fault("export", 0, 1, ERRORS[0]))
    folder = new_run(model, folders, tmp_path, steps=1)
    events = train(folder)
    assert fault.struck == 1 and [e.why for e in events if isinstance(e, Adapted)] == ["while the LoRA was saved"]
    assert (folder.export / "test.safetensors").is_file()
