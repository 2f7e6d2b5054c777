"""packed.py and fused_lora.py: the same numbers as plain peft layers, in outputs and in every gradient."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch.nn.functional import gelu

from trainer import adapter as adapters
from trainer import families, fused_lora, packed
from trainer.settings import TrainingSettings

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.families.backbone import Backbone
    from trainer.quantized_parts import Quantization

CPU = torch.device("cpu")
TARGETS = ("attention", "feed_forward", "projections", "convolutions")
DTYPES = (torch.float32, torch.bfloat16)


def made(model: Path, dtype: torch.dtype, quantization: Quantization | None = None, **changes: Any) -> adapters.Adapter:
    """A frozen UNet with adapters that do something."""
    torch.manual_seed(3)
    backbone = families.load(model)
    backbone.load_unet(dtype, CPU, quantization)
    settings = TrainingSettings(**({"rank": 4, "alpha": 2.0, "targets": TARGETS} | changes))
    adapter = adapters.Adapter(backbone, adapters.fresh_sizes(backbone, settings), settings)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.3 / parameter.shape[-1] ** 0.5)
    return adapter


def quick(adapter: adapters.Adapter) -> tuple[int, int]:
    return packed.pack(adapter.backbone.part("unet")), adapter.fuse()


def answer(backbone: Backbone, dtype: torch.dtype) -> torch.Tensor:
    """The UNet's answer to a fixed question, of two pictures that are not square."""
    torch.manual_seed(5)
    told = families.backbone.Conditioning(
        torch.randn(2, 77, 64 if backbone.family.text_parts.keys() > {"text_encoder"} else 32)
    )
    if len(backbone.family.text_parts) > 1:
        told = families.backbone.Conditioning(told.states, torch.randn(2, 32))
    noisy, t, ids = torch.randn(2, 4, 8, 16), torch.tensor([10, 900]), torch.tensor([[64, 128, 0, 0, 64, 128]] * 2)
    with torch.autocast("cpu", dtype, enabled=dtype is not torch.float32):
        return backbone.denoise(noisy.to(dtype), t, told.to(CPU, dtype), ids).float()


def learned(adapter: adapters.Adapter, dtype: torch.dtype) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The answer, and the gradient of each adapter weight."""
    out = answer(adapter.backbone, dtype)
    torch.autograd.backward(gelu(out).square().mean())
    found = {}
    for (part, module), layer in adapter.layers.items():
        for name, parameter in layer.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None and parameter.grad.dtype is torch.float32
                found[f"{part}.{module}.{name}"] = parameter.grad.clone()
    return out.detach(), found


def apart(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(((a - b).norm() / b.norm()).detach())


@pytest.mark.parametrize("family", families.FAMILIES)
def test_outputs_and_gradients_are_those_of_the_plain_layers(family: str, tiny_models: dict[str, Path]) -> None:
    model = tiny_models[family]
    plain_out, plain = learned(made(model, torch.float32), torch.float32)
    adapter = made(model, torch.float32)
    packs, fuses = quick(adapter)
    assert packs > 100 and fuses > 60
    for _ in range(2):  # the first time packs, the second one uses what is packed
        for parameter in adapter.parameters():
            parameter.grad = None
        out, gradients = learned(adapter, torch.float32)
        assert apart(out, plain_out) < 2e-5
        assert gradients.keys() == plain.keys()
        assert max(apart(gradients[name], plain[name]) for name in plain) < 2e-5


@pytest.mark.parametrize("family", families.FAMILIES)
def test_in_bf16_it_is_as_near_to_fp32_as_the_plain_layers_are(family: str, tiny_models: dict[str, Path]) -> None:
    model = tiny_models[family]
    exact_out, exact = learned(made(model, torch.float32), torch.float32)
    plain_out, plain = learned(made(model, torch.bfloat16), torch.bfloat16)
    adapter = made(model, torch.bfloat16)
    quick(adapter)
    out, gradients = learned(adapter, torch.bfloat16)
    assert apart(out, exact_out) < 1.3 * apart(plain_out, exact_out) + 1e-3
    whole = torch.cat([g.flatten() for g in exact.values()])
    errors = [apart(torch.cat([g[name].flatten() for name in exact]), whole) for g in (gradients, plain)]
    assert errors[0] < 1.3 * errors[1] + 1e-3


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (torch.nn.Linear(48, 80), (2, 7, 48)), (torch.nn.Linear(48, 8, bias=False), (3, 48)), (torch.nn.Conv2d(16, 24, 3, padding=1), (2, 16, 9, 12)),
        (torch.nn.Conv2d(16, 24, 1), (2, 16, 9, 12)), (torch.nn.Conv2d(4, 8, (3, 1), padding=(1, 0), bias=False), (1, 4, 5, 6)), (torch.nn.Conv2d(4, 8, 3), (1, 4, 5, 6)),
    ],
)  # fmt: skip
def test_a_packed_layer_is_the_layer(layer: Any, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    plain = copy.deepcopy(layer).to(dtype).requires_grad_(False)
    assert packed.can_pack(plain)
    weight = plain.weight.clone()
    other = packed.PackedLinear(plain) if isinstance(plain, torch.nn.Linear) else packed.PackedConv(plain)
    for size in (shape, (*shape[:-1], shape[-1]) if len(shape) < 4 else (*shape[:2], shape[2] + 4, shape[3] + 8)):
        x = torch.randn(size).to(dtype)
        mine, theirs = (x.clone().requires_grad_() for _ in range(2))
        expected = torch.nn.functional.linear(mine, weight, plain.bias) if weight.dim() == 2 else torch.nn.functional.conv2d(mine, weight, plain.bias, padding=plain.padding)  # fmt: skip
        out = other(theirs)
        gradient = torch.randn(out.shape).to(dtype)
        torch.autograd.backward([expected, out], [gradient, gradient])
        assert apart(out.float(), expected.float()) < (1e-6 if dtype is torch.float32 else 1e-2)
        assert mine.grad is not None and theirs.grad is not None
        assert apart(theirs.grad.float(), mine.grad.float()) < (1e-6 if dtype is torch.float32 else 1e-2)
        assert torch.equal(other.weight, weight)


def test_what_cannot_be_packed_is_left_alone() -> None:
    for layer in (
        torch.nn.Conv2d(4, 4, 3, stride=2), torch.nn.Conv2d(4, 4, 3, dilation=2), torch.nn.Conv2d(4, 4, 1, groups=2),
        torch.nn.Conv2d(4, 4, 3, padding="same"), torch.nn.Conv2d(4, 4, 1, padding=1), torch.nn.LayerNorm(4), torch.nn.Linear(4, 4).half(),
    ):  # fmt: skip
        assert not packed.can_pack(layer.requires_grad_(False))
    assert not packed.can_pack(torch.nn.Linear(4, 4))
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 6).requires_grad_(False))
    assert packed.packed_bytes(model) == 4 * 6 * 4
    assert packed.pack(model) == 1 and type(model[0]) is torch.nn.Linear and packed.packed_bytes(model) == 0


def test_the_file_is_the_same_as_before(tiny_models: dict[str, Path]) -> None:
    adapter = made(tiny_models["sdxl"], torch.float32)
    before = adapter.tensors()
    quick(adapter)
    after = adapter.tensors()
    assert list(after) == list(before) and all(torch.equal(after[key], before[key]) for key in before)
    adapter.load(before)


def test_adapters_can_still_be_switched_off(tiny_models: dict[str, Path]) -> None:
    adapter = made(tiny_models["sd1"], torch.float32)
    with torch.no_grad(), adapter.off():
        expected = answer(adapter.backbone, torch.float32)
    quick(adapter)
    with torch.no_grad():
        with adapter.off():
            assert apart(answer(adapter.backbone, torch.float32), expected) < 1e-5
        assert apart(answer(adapter.backbone, torch.float32), expected) > 1e-3


@pytest.mark.parametrize("changes", [{"dora": True}, {"dropout": 0.5}])
def test_dropout_and_dora_go_the_plain_way(changes: dict[str, Any], tiny_models: dict[str, Path]) -> None:
    adapter = made(tiny_models["sd1"], torch.float32, **changes)
    assert adapter.fuse() == 0


def test_gradient_checkpointing_gives_the_same_gradients(tiny_models: dict[str, Path]) -> None:
    plain = learned(made(tiny_models["sd1"], torch.float32), torch.float32)[1]
    adapter = made(tiny_models["sd1"], torch.float32)
    unet: Any = adapter.backbone.part("unet")
    unet.enable_gradient_checkpointing()
    unet.train()
    quick(adapter)
    found = learned(adapter, torch.float32)[1]
    assert max(apart(found[name], plain[name]) for name in plain) < 2e-5


def test_nothing_of_a_packed_layer_is_kept_for_the_way_back() -> None:
    """So that frozen layers cost no memory but their weights."""
    layer = packed.PackedLinear(torch.nn.Linear(8, 8).requires_grad_(False))
    kept: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, keep):
        layer(torch.randn(2, 8, requires_grad=True)).sum()
    assert kept == []


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("packs", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "padding": 1}, {"kernel_size": 3, "padding": 1, "stride": 2}, {"kernel_size": 3, "bias": False},
        {"kernel_size": (3, 1), "padding": (1, 0)}, {"kernel_size": (2, 5), "padding": (0, 2), "stride": (1, 2)},
    ],
)  # fmt: skip
def test_an_adapted_convolution_is_pefts(
    options: dict[str, Any], layout: torch.memory_format, packs: bool, dtype: torch.dtype
) -> None:
    torch.manual_seed(1)
    model: Any = inject_adapter_in_model(
        LoraConfig(r=3, lora_alpha=5, target_modules=["0"], init_lora_weights=False),
        torch.nn.Sequential(torch.nn.Conv2d(6, 8, **options)),
    )
    layer = model[0]
    layer.base_layer.to(dtype)
    x = torch.randn(2, 6, 9, 12).to(dtype, memory_format=layout)

    def learn() -> list[torch.Tensor]:
        model.zero_grad()
        given = x.clone().requires_grad_()
        with torch.autocast("cpu", dtype, enabled=dtype is not torch.float32):
            out = model(given)
        torch.autograd.backward(gelu(out.float()).square().mean())
        weights = (layer.lora_A["default"].weight, layer.lora_B["default"].weight)
        return [out.detach().float(), *(t.grad.float().clone() for t in (given, *weights))]

    expected = learn()
    if packs:
        packed.pack(model)
    assert fused_lora.fuse([layer], "default") == 1
    for _ in range(2):  # the first time packs
        assert max(apart(mine, theirs) for mine, theirs in zip(learn(), expected, strict=True)) < (1e-5 if dtype is torch.float32 else 2e-2)  # fmt: skip


def test_a_convolution_of_another_kind_goes_pefts_way() -> None:
    for options in ({"dilation": 2}, {"padding": "same"}, {"padding_mode": "reflect", "padding": 1}):
        plain = torch.nn.Sequential(torch.nn.Conv2d(6, 8, 3, **options))  # type: ignore[arg-type]
        model: Any = inject_adapter_in_model(LoraConfig(r=3, target_modules=["0"]), plain)
        assert not fused_lora.can_fuse(model[0], "default")
