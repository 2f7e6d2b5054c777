"""checkpointing.py: less is kept for the way back, and the gradients stay what they were."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from accelerate import init_empty_weights
from diffusers import UNet2DConditionModel

import resources
from tests.runs import losses, make_run, train
from tests.test_fast_path import CPU, answer, apart, learned, made, quick
from trainer import checkpointing, families

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.adapter import Adapter


def frugal(model: Path, how: str, dtype: torch.dtype = torch.float32, *, is_quick: bool) -> Adapter:
    """A UNet with adapters that keeps less."""
    adapter = made(model, dtype)
    unet: Any = adapter.backbone.unet
    checkpointing.apply(unet, {}, how, dropout=False)
    unet.train()
    if is_quick:
        quick(adapter)
    return adapter


def kept_bytes(adapter: Adapter) -> int:
    """What a forward pass keeps for the way back, beside the weights."""
    weights = {p.untyped_storage().data_ptr() for p in adapter.backbone.part("unet").parameters()}
    seen: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = answer(adapter.backbone, torch.float32)  # held, and with it all that is kept
    assert out.requires_grad
    return sum(size for place, size in seen.items() if place not in weights)


@pytest.mark.parametrize("is_quick", [False, True], ids=["plain", "packed and fused"])
@pytest.mark.parametrize("family", families.FAMILIES)
def test_less_is_kept_and_the_gradients_are_the_same(family: str, is_quick: bool, tiny_models: dict[str, Path]) -> None:
    kept, gradients = {}, {}
    for how in ("off", "some", "all"):
        adapter = frugal(tiny_models[family], how, is_quick=is_quick)
        kept[how], gradients[how] = kept_bytes(adapter), learned(adapter, torch.float32)[1]
    assert kept["some"] < 0.9 * kept["off"] and kept["all"] < 0.75 * kept["some"]
    for how in ("some", "all"):
        found = gradients[how]
        assert max(apart(found[name], gradients["off"][name]) for name in found) < 2e-5


def test_in_bf16_the_gradients_are_the_same_too(tiny_models: dict[str, Path]) -> None:
    plain, again = (
        learned(frugal(tiny_models["sdxl"], how, torch.bfloat16, is_quick=True), torch.bfloat16)[1]
        for how in ("off", "all")
    )
    assert max(apart(again[name], plain[name]) for name in plain) < 1e-6


def true_size(family: str) -> Any:
    """A UNet in true size, without weights."""
    config = json.loads((resources.path("configs", family) / "unet" / "config.json").read_text(encoding="utf-8"))
    with init_empty_weights():
        return UNet2DConditionModel.from_config(config)


@pytest.mark.parametrize(
    ("family", "widths", "layers"),
    [("sd1", {320: 5}, 5), ("sd2", {320: 5}, 5), ("sdxl", {640: 5, 1280: 2}, 30)],
)
def test_some_are_the_wide_shallow_ones_up_to_half(family: str, widths: dict[int, int], layers: int) -> None:
    """Counted by hand: SD keeps 5 x 1, 5 x 1/2, 5 x 1/4 and 1/16 by width; SDXL 10 layers x 1/2 and 60 x 1/4."""
    found = checkpointing.neediest(true_size(family))
    channels = [transformer.in_channels for transformer in found]
    assert {width: channels.count(width) for width in channels} == widths
    assert sum(len(transformer.transformer_blocks) for transformer in found) == layers


def test_it_can_be_changed_while_a_run_goes_on(tiny_models: dict[str, Path]) -> None:
    adapter = frugal(tiny_models["sd1"], "all", is_quick=False)
    fewest = kept_bytes(adapter)
    unet: Any = adapter.backbone.unet
    checkpointing.apply(unet, {}, "some", dropout=False)
    some = kept_bytes(adapter)
    checkpointing.apply(unet, {}, "off", dropout=False)
    assert fewest < some < kept_bytes(adapter)
    assert not any(getattr(module, "gradient_checkpointing", False) for module in unet.modules())


@pytest.mark.parametrize("how", ["some", "all"])
@pytest.mark.parametrize("changes", [{}, {"train_text_encoder": True}, {"dropout": 0.5}], ids=str)
def test_a_run_has_the_same_losses(
    how: str, changes: dict[str, Any], tiny_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    plain, again = (
        losses(
            train(make_run(tiny_models["sdxl"], pictures, tmp_path, steps=3, gradient_checkpointing=mode, **changes))
        )
        for mode in ("off", how)
    )
    assert again == pytest.approx(plain, rel=1e-5)


def test_trained_text_encoders_keep_less(tiny_models: dict[str, Path]) -> None:
    backbone = families.load(tiny_models["sd1"])
    unet = backbone.load_unet(torch.float32, CPU)
    backbone.load_text_encoders(torch.float32, CPU)
    encoder: Any = backbone.text_encoders["text_encoder"].train()
    sizes, answers = [], []
    for how in ("off", "all"):
        checkpointing.apply(unet, backbone.text_encoders, how, dropout=False)
        kept: list[int] = []

        def keep(tensor: torch.Tensor, kept: list[int] = kept) -> torch.Tensor:
            kept.append(tensor.numel())
            return tensor

        encoder.requires_grad_(True)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            states = backbone.encode_captions(["a hat"], clip_skip=1, max_tokens=75).states
        encoder.zero_grad()
        torch.autograd.backward(states.square().mean())
        sizes.append(sum(kept))
        answers.append([p.grad.clone() for p in encoder.parameters() if p.grad is not None])
    assert sizes[1] < sizes[0] / 2
    assert all(apart(b, a) < 1e-5 for a, b in zip(*answers, strict=True) if a.norm() > 1e-9)
