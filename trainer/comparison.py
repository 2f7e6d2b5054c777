"""How far what a model gives out with LoRA layers from a file is from what it gives out with the trained ones."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING

import torch
from peft.tuners.lora import LoraLayer
from torch.nn import functional

from trainer import loaded_layers
from trainer.families.backbone import Conditioning
from trainer.packed import PackedConv, PackedLinear
from trainer.quantized import QuantizedLinear

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trainer.adapter import Adapter
    from trainer.families.backbone import Backbone
    from trainer.loaded_layers import Layers

_HALVES = (torch.float16, torch.bfloat16)
_SIDE, _TIMESTEP, _TOKENS = 16, 500, 77  # what the UNet is asked: latents so large that no block sees a single pixel


def differences(layers: Layers, adapter: Adapter) -> list[tuple[float, float]]:
    """For each part how much the trained LoRA changes what it gives out, and how far the file is from that.

    Both are the largest of any number, where 1 is the root mean square.
    """
    backbone, parts = adapter.backbone, adapter.parts
    with torch.no_grad(), _still(backbone, parts), _in_fp32(backbone, parts):
        trained = _answers(backbone, parts)
        with adapter.off():
            plain = _answers(backbone, parts)
            with loaded_layers.attached(layers, backbone):
                loaded = _answers(backbone, parts)
    out = []
    for part, wanted in trained.items():
        size = wanted.square().mean().sqrt().clamp(min=1e-12)
        change, difference = ((wanted - other[part]).abs().max() / size for other in (plain, loaded))
        out.append((float(change), float(difference)))
    return out


def _answers(backbone: Backbone, parts: list[str]) -> dict[str, torch.Tensor]:
    """What each part gives out for the same noise and the same random words."""
    random = torch.Generator().manual_seed(0)
    out: dict[str, torch.Tensor] = {}
    for part in parts:
        device = next(backbone.part(part).parameters()).device
        if part != "unet":
            encoder = backbone.text_encoders[part]
            ids = torch.randint(1, encoder.config.vocab_size, (1, _TOKENS), generator=random)
            out[part] = encoder(ids.to(device)).last_hidden_state
            continue
        assert backbone.unet is not None
        config = backbone.unet.config
        noise = torch.randn(1, backbone.latent_channels, _SIDE, _SIDE, generator=random).to(device)
        states, pooled = torch.randn(1, _TOKENS, config.cross_attention_dim, generator=random), None
        if config.addition_embed_type is not None:
            width = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
            pooled = torch.randn(1, width, generator=random)
        sizes = torch.tensor([[1024, 1024, 0, 0, 1024, 1024]], device=device)
        told = Conditioning(states, pooled).to(device, torch.float32)
        out[part] = backbone.denoise(noise, torch.tensor([_TIMESTEP], device=device), told, sizes)
    return out


@contextlib.contextmanager
def _still(backbone: Backbone, parts: list[str]) -> Iterator[None]:
    """Without dropout; afterwards each module is in training or not as it was."""
    modes = {module: module.training for part in parts for module in backbone.part(part).modules()}
    try:
        for part in parts:
            backbone.part(part).eval()
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@contextlib.contextmanager
def _in_fp32(backbone: Backbone, parts: list[str]) -> Iterator[None]:
    """Computes in fp32, in peft's own way; the arithmetic of 16 bits scatters by more than a weak LoRA does.

    Each weight of 16 bits is widened only while it is used; afterwards it is the very tensor that it was.
    """
    narrow: list[tuple[torch.nn.Parameter, torch.Tensor]] = []

    def widen(module: torch.nn.Module, given: object) -> None:
        for weight in module.parameters(recurse=False):
            if weight.dtype in _HALVES:
                narrow.append((weight, weight.data))
                weight.data = weight.data.float()

    def restore(*_: object) -> None:
        while narrow:
            weight, data = narrow.pop()
            weight.data = data

    modules = [m for part in parts for m in backbone.part(part).modules()]
    leaves = [m for m in modules if not [*m.children()]]
    handles = [h for m in leaves for h in (m.register_forward_pre_hook(widen), m.register_forward_hook(restore))]
    quicker = {m: vars(m).pop("forward") for m in modules if isinstance(m, LoraLayer) and "forward" in vars(m)}
    widened = [m for m in leaves if isinstance(m, PackedLinear | PackedConv | QuantizedLinear) and m.dtype in _HALVES]
    try:
        for module in widened:
            vars(module)["forward"] = functools.partial(_plainly, module)
        yield
    finally:
        restore()
        for handle in handles:
            handle.remove()
        for module in widened:
            del vars(module)["forward"]
        for module, forward in quicker.items():
            vars(module)["forward"] = forward


def _plainly(layer: PackedLinear | PackedConv | QuantizedLinear, x: torch.Tensor) -> torch.Tensor:
    """What a packed or quantised layer gives out, in fp32."""
    weight, bias = layer.weight.float(), None if layer.bias is None else layer.bias.float()
    if isinstance(layer, PackedConv):
        return functional.conv2d(x, weight, bias, layer.stride, layer.padding)
    return functional.linear(x, weight, bias)
