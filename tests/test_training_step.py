"""One optimizer step: slices of a batch add up to the batch, and nothing in it waits for the device."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from PIL import Image, ImageDraw
from torch.utils._python_dispatch import TorchDispatchMode

from tests.conftest import draw_pictures
from tests.runs import make_run
from trainer import families, session
from trainer.optim import OPTIMIZERS
from trainer.training_step import gradients, optimizer_step

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.session import Session

READS = {"_local_scalar_dense", "item", "is_nonzero", "nonzero", "nonzero_numpy", "equal", "masked_select", "unique_dim", "_unique2", "unique_consecutive", "allclose"}  # fmt: skip

WAITING_OPTIMIZERS = {"prodigy"}  # by design: it compares two sums on the host to find its learning rate


class HostReads(TorchDispatchMode):
    """Notes operations that give a tensor's value to Python, which on a GPU waits for all that was asked before."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        masks = isinstance(args[1], list | tuple) if name in ("index", "index_put", "index_put_") else False
        if name in READS or (masks and any(i is not None and i.dtype == torch.bool for i in args[1])):
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> HostReads:
    """Also notes `tolist` and `numpy`, which torch does not dispatch."""
    mode = HostReads()
    for name in ("tolist", "numpy", "cpu"):
        real = getattr(torch.Tensor, name)

        def noted(self: torch.Tensor, *args: Any, real: Any = real, name: str = name) -> Any:
            mode.found.append(name)
            return real(self, *args)

        monkeypatch.setattr(torch.Tensor, name, noted)
    return mode


def made(model: Path, pictures: Path, runs: Path, **changes: Any) -> Session:
    """A session whose adapters already do something, so that all gradients flow."""
    out = session.prepare(make_run(model, pictures, runs, **changes), lambda event: None)
    torch.manual_seed(5)
    for parameter in out.trained.adapter.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return out


def sliced(one: Session, micro_batch: int) -> tuple[float, list[torch.Tensor]]:
    """Loss and gradients of the first step with that micro-batch."""
    changed = replace(one, settings=one.settings.model_copy(update={"micro_batch": micro_batch}))
    loss = gradients(changed, 0)
    out = [parameter.grad.clone() for parameter in one.trained.adapter.parameters() if parameter.grad is not None]
    one.trained.optimizer.zero_grad(set_to_none=True)
    return float(loss), out


def are_close(found: list[torch.Tensor], wanted: list[torch.Tensor]) -> bool:
    """All gradients together to 5e-6 of their length, and each to 1e-4 of its largest number.

    Attention over a single token (the tiny models' middle) has no gradient but rounding, 1e-13, which does not count.
    """
    pairs = list(zip(found, wanted, strict=True))
    worst = max(float((a - b).abs().max()) / max(float(b.abs().max()), 1e-8) for a, b in pairs)
    together, length = (torch.cat([t.flatten() for t in tensors]) for tensors in ([a - b for a, b in pairs], wanted))
    return float(together.norm() / length.norm()) < 5e-6 and worst < 1e-4


def hard(folder: Path) -> dict[str, Any]:
    """Everything that weighs pictures differently: min-SNR, Huber, masks, regularisation, and batches of unequal slices."""
    pictures = draw_pictures(folder / "many", count=15)
    for i in (0, 3, 9):
        mask = Image.new("L", (64, 64), 0)
        ImageDraw.Draw(mask).rectangle((0, 0, 20 + i, 60), fill=255)
        mask.save(pictures / f"{i}-mask.png")
    return {
        "batch_size": 5, "accumulation": 2, "min_snr_gamma": 5.0, "loss": "huber", "masked_loss": True, "mask_outside": 0.1,
        "regularization": str(draw_pictures(folder / "prior", count=6)), "prior_weight": 0.3, "multires_iterations": 3,
    }  # fmt: skip


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_slices_of_a_batch_give_its_loss_and_its_gradients(
    family: str, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    options = hard(tmp_path)
    one = made(tiny_models[family], tmp_path / "many", tmp_path, **options)
    batches = [one.feed.batch(number) for number in (0, 1)]
    assert any(len(batch) == 5 for batch in batches), "batches that do not split evenly"
    loss, whole = sliced(one, 0)
    for micro_batch in (1, 2, 3, 4, 7):
        part, found = sliced(one, micro_batch)
        assert part == pytest.approx(loss, rel=2e-6)
        assert are_close(found, whole), micro_batch
    one.feed.close()
    assert all(bool(gradient.any()) for gradient in whole)


def test_slices_with_a_trained_text_encoder_and_weighted_words_add_up_too(
    tiny_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    (pictures / "3.txt").write_text("(blob:1.3), number 3, round thing", encoding="utf-8")
    one = made(
        tiny_models["sd1"], pictures, tmp_path, train_text_encoder=True, batch_size=2, accumulation=3, prompt_weights=True
    )  # fmt: skip
    (loss, whole), (part, found) = sliced(one, 0), sliced(one, 1)
    one.feed.close()
    assert part == pytest.approx(loss, rel=2e-6)
    assert are_close(found, whole)


def two_steps(one: Session, reads: HostReads) -> list[str]:
    """What two steps read; the first one of an optimizer makes its state."""
    for batch in range(2 * one.settings.accumulation):  # made by the thread, where waiting costs nothing
        one.feed.batch(batch)
    with reads:
        for step in range(2):
            reads.found.clear()
            optimizer_step(one, step, 4)
    one.feed.close()
    return list(reads.found)


@pytest.mark.parametrize("family", families.FAMILIES)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"precision": "bf16", "dropout": 0.1, "gradient_checkpointing": "all", "micro_batch": 1},
        {"dora": True, "targets": ["attention", "convolutions"], "loss": "huber", "min_snr_gamma": 5.0},
        {"train_text_encoder": True, "packed_weights": "off", "accumulation": 2},
    ],
    ids=["plain", "frugal", "dora", "text"],
)
def test_a_step_of_every_family_reads_no_value_on_the_host(
    family: str, changes: dict[str, Any], tiny_models: dict[str, Path], pictures: Path, tmp_path: Path, reads: HostReads
) -> None:
    assert two_steps(made(tiny_models[family], pictures, tmp_path, batch_size=2, **changes), reads) == []


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_step_of_every_optimizer_reads_no_value_on_the_host(
    optimizer: str, tiny_models: dict[str, Path], pictures: Path, tmp_path: Path, reads: HostReads
) -> None:
    found = two_steps(made(tiny_models["sd1"], pictures, tmp_path, optimizer=optimizer), reads)
    assert bool(found) == (optimizer in WAITING_OPTIMIZERS), found


@pytest.mark.parametrize(("optimizer", "waits"), [("adamw", False), ("lion", True)])
def test_in_fp16_only_an_optimizer_that_does_not_know_of_overflows_waits_for_them(
    optimizer: str, waits: bool, tiny_models: dict[str, Path], pictures: Path, tmp_path: Path, reads: HostReads
) -> None:
    """The loss scaler asks whether a gradient overflowed before it lets the optimizer step; fused AdamW is told instead."""
    one = made(tiny_models["sd1"], pictures, tmp_path, precision="fp16", optimizer=optimizer)
    assert bool(two_steps(one, reads)) == waits


def test_the_watch_sees_what_it_should() -> None:
    reads, numbers = HostReads(), torch.tensor([1.0, 0.0])
    with reads:
        for look in (
            lambda: float(numbers[0]),
            lambda: bool(numbers[0] > 0),
            lambda: numbers.nonzero(),
            lambda: numbers[numbers > 0],
        ):
            before = len(reads.found)
            look()
            assert len(reads.found) > before
