"""The same LoRA layers in fewer passes over memory: one autograd function for base and adapter, in the compute dtype.

Peft casts a layer's input to fp32 for the adapter (and autocast back again), scales and adds in passes of their own, and keeps
what each of them needs for the way back. Here the input is kept once, in the compute dtype, and the adapter's product is added
in place:  y = W x + b + s B A x,  with s = alpha / rank;  the parameters stay peft's own, in fp32, with fp32 gradients.

Convolutions (LoCon) likewise, with A a convolution like the base and B of 1x1. On CPUs their A's gradient is a matrix product over
shifted views of the input: oneDNN's own takes 15 to 65 ms in bf16 where this takes 0.1 to 4, as its threads wait for each other.

Layers with dropout, DoRA, several or switched-off adapters go peft's way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

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
    """Whether the layer is a plain LoRA on a frozen linear layer or convolution."""
    base = layer.get_base_layer()
    if not isinstance(base, _BASES) or adapter in layer.lora_magnitude_vector:
        return False
    if not isinstance(layer.lora_dropout[adapter], torch.nn.Identity):
        return False
    sides = (layer.lora_A[adapter], layer.lora_B[adapter])
    if isinstance(base, torch.nn.Conv2d | PackedConv) and not _is_usual(base):
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
        if not _is_1x1(base):
            return _LoraConv.apply(x, self._a.weight, self._b.weight, base, scale)  # type: ignore[no-any-return, no-untyped-call]
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


class _LoraConv(torch.autograd.Function):
    """y (B, out, H', W') = base(x) + s B A(x) for x (B, in, H, W); A (rank, in, kh, kw) is a convolution like the base.

    B is (out, rank, 1, 1); both in fp32; the base is frozen.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, a: torch.Tensor, b: torch.Tensor, base: Any, scale: float) -> torch.Tensor:
        low, high = a.to(x.dtype), b.flatten(1).to(x.dtype)
        if isinstance(base, PackedConv):
            out = base.forward_packed(x, and_back=ctx.needs_input_grad[0])
        else:
            out = functional.conv2d(x, base.weight, base.bias, base.stride, base.padding)
        inner = functional.conv2d(x, low, None, base.stride, base.padding)
        rows = out.permute(0, 2, 3, 1)
        if rows.is_contiguous():
            rows.view(-1, rows.shape[-1]).addmm_(_rows(inner), high.T, alpha=scale)
        else:
            out.add_(functional.conv2d(inner, high[..., None, None]), alpha=scale)
        ctx.base, ctx.scale = base, scale
        ctx.save_for_backward(x, inner, low, high)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, inner, low, high = ctx.saved_tensors
        base, gradient = ctx.base, gradient.to(x.dtype)
        g = _rows(gradient)
        g_inner = (g @ high).mul_(ctx.scale)
        for_b = (g.T @ _rows(inner)).float().mul_(ctx.scale)[..., None, None]
        as_picture = g_inner.view(*inner.permute(0, 2, 3, 1).shape).permute(0, 3, 1, 2)
        if x.device.type == "cpu":
            for_a = _weight_gradient(x, as_picture, low.shape, base.stride, base.padding)
        else:
            for_a = _conv_gradient(as_picture, x, low, base, of_weight=True)
        for_x = None
        if ctx.needs_input_grad[0]:
            packed = isinstance(base, PackedConv)
            for_x = base.backward_packed(gradient) if packed else _conv_gradient(gradient, x, base.weight, base)
            for_x.add_(_conv_gradient(as_picture, x, low, base))
        return for_x, for_a.float(), for_b, None, None


def _rows(picture: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) as (B * H * W, C)."""
    return picture.permute(0, 2, 3, 1).reshape(-1, picture.shape[1])


def _conv_gradient(
    gradient: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, like: torch.nn.Conv2d | PackedConv, *, of_weight: bool = False
) -> torch.Tensor:  # fmt: skip
    """The gradient of a convolution's input or weight, by the library."""
    out: tuple[torch.Tensor, ...] = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, like.stride, like.padding, like.dilation, False, [0, 0], like.groups,
        [not of_weight, of_weight, False],
    )  # fmt: skip
    return out[1 if of_weight else 0]


def _weight_gradient(
    x: torch.Tensor, gradient: torch.Tensor, shape: torch.Size, stride: tuple[int, ...], padding: tuple[int, ...]
) -> torch.Tensor:
    """The same for a weight of `shape` (rank, in, kh, kw): a product of the output's gradient with every window's pixels.

    A row of a window lies in one piece in a channels-last picture, so a window's rows are taken one after the other: the copy
    that the product needs is kw times the picture.
    """
    rank, _, high, wide = shape
    picture = functional.pad(x.permute(0, 2, 3, 1), (0, 0, padding[1], padding[1], padding[0], padding[0])).contiguous()
    batch, whole, line = picture.stride(0), stride[0] * picture.stride(1), picture.stride(1)
    step, channels = stride[1] * picture.stride(2), picture.shape[3]
    size = (x.shape[0], *gradient.shape[2:], wide * channels)
    by_rank = _rows(gradient).T
    found = [
        by_rank @ picture.as_strided(size, (batch, whole, step, 1), top * line).reshape(-1, wide * channels)
        for top in range(high)
    ]
    return torch.stack(found, 1).view(rank, high, wide, channels).permute(0, 3, 1, 2)


def _is_usual(base: torch.nn.Conv2d | PackedConv) -> bool:
    """Whether a convolution is of the kind that `_LoraConv` computes."""
    zeros = getattr(base, "padding_mode", "zeros") == "zeros" and not isinstance(base.padding, str)
    return zeros and base.groups == 1 and base.dilation == (1, 1)


def _is_1x1(base: torch.nn.Conv2d | PackedConv) -> bool:
    return (base.kernel_size, base.stride, base.groups) == ((1, 1), (1, 1), 1) and base.padding in ((0, 0), 0)


def _base_forward(base: Any, x: torch.Tensor, *, and_back: bool) -> torch.Tensor:
    """The frozen layer on rows (..., in); for a 1x1 convolution x is (B, H, W, in). A tensor of its own."""
    if isinstance(base, PackedLinear):
        return base.forward_packed(x, and_back=and_back)
    if isinstance(base, PackedConv):
        return base.forward_packed(x.permute(0, 3, 1, 2), and_back=and_back).permute(0, 2, 3, 1).contiguous()
    return functional.linear(x, base.weight.flatten(1), base.bias)


def _base_backward(base: Any, gradient: torch.Tensor) -> torch.Tensor:
    """The gradient of the frozen layer's input, of rows."""
    if isinstance(base, PackedLinear):
        return base.backward_packed(gradient)
    if isinstance(base, PackedConv):
        return base.backward_packed(gradient.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).contiguous()
    out: torch.Tensor = gradient @ base.weight.flatten(1)
    return out
