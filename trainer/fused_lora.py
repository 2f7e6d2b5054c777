"""The same LoRA layers in fewer passes over memory: one autograd function for base and adapter, in the compute dtype.

Peft casts a layer's input to fp32 for the adapter (and autocast back again), scales and adds in passes of their own, and keeps
what each of them needs for the way back. Here the input is kept once, in the compute dtype, and the adapter's product is added
in place:  y = W x + b + s B A x,  with s = alpha / rank;  the parameters stay peft's own, in fp32, with fp32 gradients.

Layers with dropout, DoRA, several or switched-off adapters, or 3x3 convolutions go peft's way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from trainer.packed import PackedConv, PackedLinear
from trainer.quantized import QuantizedLinear

if TYPE_CHECKING:
    from collections.abc import Iterable

    from peft.tuners.lora import LoraLayer

_BASES = (torch.nn.Linear, torch.nn.Conv2d, PackedLinear, PackedConv)


def fuse(layers: Iterable[LoraLayer], adapter: str) -> int:
    """Makes the layers use the function below wherever it says the same as peft; how many can."""
    count = 0
    for layer in layers:
        if can_fuse(layer, adapter):
            layer.forward = _Fused(layer, adapter)
            count += 1
    return count


def can_fuse(layer: LoraLayer, adapter: str) -> bool:
    """Whether the layer is a plain LoRA on a frozen linear layer or 1x1 convolution."""
    base = layer.get_base_layer()
    if not isinstance(base, _BASES) or adapter in layer.lora_magnitude_vector:
        return False
    if not isinstance(layer.lora_dropout[adapter], torch.nn.Identity):
        return False
    sides = (layer.lora_A[adapter], layer.lora_B[adapter])
    if isinstance(base, torch.nn.Conv2d | PackedConv) and not _is_1x1(base):
        return False
    return all(side.bias is None for side in sides) and not any(p.requires_grad for p in base.parameters())


class _Fused:
    """A layer's forward: fused while only its own adapter is at work."""

    def __init__(self, layer: LoraLayer, adapter: str) -> None:
        self._layer, self._adapter, self._names = layer, adapter, [adapter]
        self._a, self._b = layer.lora_A[adapter], layer.lora_B[adapter]

    def __call__(self, x: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        layer = self._layer
        base: Any = layer.base_layer
        if layer.disable_adapters or layer.merged or layer.active_adapters != self._names or args or options:
            return type(layer).forward(layer, x, *args, **options)  # type: ignore[no-any-return]
        dtype = base.dtype if isinstance(base, PackedLinear | PackedConv | QuantizedLinear) else base.weight.dtype
        x, scale = x.to(dtype), float(layer.scaling[self._adapter])
        if isinstance(base, torch.nn.Linear | PackedLinear):
            return _LoraLinear.apply(x, self._a.weight, self._b.weight, base, scale)  # type: ignore[no-any-return, no-untyped-call]
        rows = x.permute(0, 2, 3, 1)  # a view where the picture is channels-last, as packed convolutions give it
        a, b = self._a.weight.flatten(1), self._b.weight.flatten(1)
        out: torch.Tensor = _LoraLinear.apply(rows, a, b, base, scale)  # type: ignore[no-untyped-call]
        return out.permute(0, 3, 1, 2)


class _LoraLinear(torch.autograd.Function):
    """y (..., out) = base(x) + s (x A^T) B^T for x (..., in), A (rank, in), B (out, rank) in fp32; base is frozen."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, a: torch.Tensor, b: torch.Tensor, base: Any, scale: float) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1])
        low, high = a.to(x.dtype), b.to(x.dtype)
        out = _base_forward(base, x, and_back=ctx.needs_input_grad[0])
        inner = rows @ low.T
        out.view(-1, out.shape[-1]).addmm_(inner, high.T, alpha=scale)
        ctx.base, ctx.scale = base, scale
        ctx.save_for_backward(rows, inner, low, high)
        ctx.shape = x.shape
        return out

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, inner, low, high = ctx.saved_tensors
        gradient = gradient.to(rows.dtype)
        g = gradient.reshape(-1, gradient.shape[-1])
        g_inner = (g @ high).mul_(ctx.scale)
        for_a = (g_inner.T @ rows).float()
        for_b = (g.T @ inner).float().mul_(ctx.scale)
        for_x = None
        if ctx.needs_input_grad[0]:
            for_x = _base_backward(ctx.base, gradient)
            for_x.view(-1, for_x.shape[-1]).addmm_(g_inner, low)
        return for_x, for_a, for_b, None, None


def _is_1x1(base: torch.nn.Conv2d | PackedConv) -> bool:
    return (base.kernel_size, base.stride, base.groups) == ((1, 1), (1, 1), 1) and base.padding in ((0, 0), 0)


def _base_forward(base: Any, x: torch.Tensor, *, and_back: bool) -> torch.Tensor:
    """The frozen layer on rows (..., in); for a 1x1 convolution x is (B, H, W, in). A tensor of its own."""
    if isinstance(base, PackedLinear):
        return base.forward_packed(x, and_back=and_back)
    if isinstance(base, PackedConv):
        return base.forward_packed(x.permute(0, 3, 1, 2), and_back=and_back).permute(0, 2, 3, 1).contiguous()
    return torch.nn.functional.linear(x, base.weight.flatten(1), base.bias)


def _base_backward(base: Any, gradient: torch.Tensor) -> torch.Tensor:
    """The gradient of the frozen layer's input, of rows."""
    if isinstance(base, PackedLinear):
        return base.backward_packed(gradient)
    if isinstance(base, PackedConv):
        return base.backward_packed(gradient.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).contiguous()
    out: torch.Tensor = gradient @ base.weight.flatten(1)
    return out
