"""offload.py: blocks come and go, the numbers stay. The computer's memory plays the GPU: storages really are emptied and filled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from tests.test_fast_path import CPU, answer, learned, made
from trainer import families, offload

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.adapter import Adapter


class Watched(offload.Offload):
    """Notes what is there at each turn."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__(model, CPU)
        self.turns: list[tuple[int, bool]] = []  # block, and whether it had been sent beforehand
        self.most_blocks = self.most_bytes = 0

    def _turn(self, block: offload.Block, following: offload.Block | None) -> None:
        sent = block.is_there
        super()._turn(block, following)
        self.turns.append((self.blocks.index(block), sent))
        self.most_blocks = max(self.most_blocks, len(self.there))
        held = sum(tensor.untyped_storage().nbytes() for some in self.blocks for _, tensor in some.homes)
        assert held == self.bytes_there
        self.most_bytes = max(self.most_bytes, held)


def offloaded(adapter: Adapter) -> Watched:
    return Watched(adapter.backbone.part("unet"))


@pytest.mark.parametrize("family", families.FAMILIES)
@pytest.mark.parametrize("fused", [False, True])
def test_outputs_and_gradients_are_the_same_to_the_bit(family: str, fused: bool, tiny_models: dict[str, Path]) -> None:
    model = tiny_models[family]
    plain, adapter = made(model, torch.float32), made(model, torch.float32)
    if fused:
        plain.fuse(), adapter.fuse()
    out, gradients = learned(plain, torch.float32)
    watched = offloaded(adapter)
    assert watched.bytes_there == 0
    for _ in range(2):  # the first time finds the order, the second one uses it
        for parameter in adapter.parameters():
            parameter.grad = None
        watched.turns.clear()
        found_out, found = learned(adapter, torch.float32)
        assert torch.equal(found_out, out)
        assert found.keys() == gradients.keys() and all(torch.equal(found[name], gradients[name]) for name in found)
    count = len(watched.blocks)
    order = [number for number, _ in watched.turns]
    assert sorted(order[:count]) == list(range(count)) and order[count:] == order[count - 1 :: -1]
    assert sum(not sent for _, sent in watched.turns) <= 1, "all but the first were on their way before their turn"
    two = sum(sorted(block.bytes for block in watched.blocks)[-2:])
    assert watched.most_blocks == 2 and watched.most_bytes <= two


def test_most_of_a_true_size_model_comes_and_goes() -> None:
    """Without numbers: SD 1.5's UNet on the meta device."""
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768)
    blocks = [module for module in unet.modules() if isinstance(module, offload._TURNS)]
    whole = sum(p.numel() for p in unet.parameters())
    sizes = sorted(sum(p.numel() for p in block.parameters()) for block in blocks)
    assert whole == 859_520_964
    assert (whole - sum(sizes) + sum(sizes[-2:])) / whole < 0.25, "what has to be on the GPU at a time"


@pytest.mark.parametrize("wide", [False, True], ids=["transformers", "whole blocks"])
def test_checkpointed_blocks_are_fetched_again(wide: bool, tiny_models: dict[str, Path]) -> None:
    """With `wide`, several blocks are computed again at once, in the midst of the way back."""
    out, gradients = learned(made(tiny_models["sd1"], torch.float32), torch.float32)
    adapter = made(tiny_models["sd1"], torch.float32)
    unet = adapter.backbone.unet
    assert unet is not None
    unet.train()
    if wide:
        for block in [*unet.down_blocks, unet.mid_block, *unet.up_blocks]:
            _checkpoint(block)
    else:
        unet.enable_gradient_checkpointing()
    watched = offloaded(adapter)
    for _ in range(2):
        for parameter in adapter.parameters():
            parameter.grad = None
        found_out, found = learned(adapter, torch.float32)
        torch.testing.assert_close(found_out, out)
        for name, gradient in found.items():
            torch.testing.assert_close(gradient, gradients[name], rtol=2e-5, atol=1e-8)
    assert watched.most_blocks <= (5 if wide else 2)


def _checkpoint(block: torch.nn.Module) -> None:
    plain = block.forward
    block.forward = lambda *args, **options: torch.utils.checkpoint.checkpoint(  # type: ignore[method-assign]
        plain, *args, use_reentrant=False, **options
    )


def test_pictures_are_drawn_between_steps(tiny_models: dict[str, Path]) -> None:
    plain, adapter = made(tiny_models["sdxl"], torch.float32), made(tiny_models["sdxl"], torch.float32)
    watched = offloaded(adapter)
    _, gradients = learned(plain, torch.float32)
    for _ in range(2):
        with torch.no_grad():
            assert torch.equal(answer(adapter.backbone, torch.float32), answer(plain.backbone, torch.float32))
        for parameter in adapter.parameters():
            parameter.grad = None
        _, found = learned(adapter, torch.float32)
        assert all(torch.equal(found[name], gradients[name]) for name in gradients)
    assert watched.most_blocks == 2


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_quantised_blocks_come_and_go_too(kind: str, tiny_models: dict[str, Path]) -> None:
    from trainer.quantized_parts import Quantization

    def quantized() -> Adapter:
        return made(tiny_models["sd1"], torch.float32, quantization=Quantization(kind))  # type: ignore[arg-type]

    plain, adapter = quantized(), quantized()
    adapter.fuse(), plain.fuse()
    watched = offloaded(adapter)
    codes = [
        tensor for block in watched.blocks for _, tensor in block.homes if tensor.dtype in (torch.uint8, torch.int8)
    ]
    assert len(codes) > 20
    out, gradients = learned(plain, torch.float32)
    found_out, found = learned(adapter, torch.float32)
    assert torch.equal(found_out, out)
    assert all(torch.equal(found[name], gradients[name]) for name in gradients)
    assert watched.most_blocks <= 2


def test_parameters_stay_the_same_objects_and_adapters_stay(tiny_models: dict[str, Path]) -> None:
    adapter = made(tiny_models["sd1"], torch.float32)
    before = adapter.parameters()
    names = list(adapter.backbone.part("unet").state_dict())
    offloaded(adapter)
    after = adapter.parameters()
    assert all(a is b and a.untyped_storage().nbytes() for a, b in zip(before, after, strict=True))
    assert list(adapter.backbone.part("unet").state_dict()) == names


def test_where_there_is_nothing_to_gain_it_is_said() -> None:
    assert offload.unavailable(torch.device("cuda")) == ""
    assert offload.unavailable(CPU) == "Offload has no effect: the CPU computes where the weights already are."
    assert offload.unavailable(torch.device("mps")) == "Offload has no effect: this GPU shares the computer's memory."
