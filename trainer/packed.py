"""Frozen layers on a CPU in oneDNN's own layout, packed once, in both directions: a training step without re-packing.

A plain convolution or linear layer re-packs its weights at every call, which for the small pictures of deep blocks costs more
than the arithmetic. Frozen weights can be kept packed. The input gradient of a convolution with stride 1 is a convolution
with flipped, transposed weights, that of a linear layer a linear layer with transposed ones, so both directions gain.

Same results up to rounding; about twice the memory of the packed layers' weights. Switched off by `device.packs`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator


class PackedLinear(torch.nn.Module):
    """A frozen `torch.nn.Linear`: inputs (..., in_features) to (..., out_features), in the weight's dtype."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.dtype = linear.weight.dtype
        self.bias = None if linear.bias is None else linear.bias.detach()
        self._forward = _packed_linear(linear.weight.detach())
        self._backward: torch.Tensor | None = None

    @property
    def weight(self) -> torch.Tensor:
        """The plain weight (out, in), unpacked anew at each call; not for the hot path."""
        return self._forward.to_dense()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The layer's output; gradients flow to the input only."""
        out: torch.Tensor = _Frozen.apply(x.to(self.dtype), self)  # type: ignore[no-untyped-call]
        return out

    def forward_packed(self, x: torch.Tensor) -> torch.Tensor:
        """The output without autograd."""
        return _linear(x, self._forward, self.bias)

    def backward_packed(self, gradient: torch.Tensor) -> torch.Tensor:
        """The input's gradient; its weights are packed when it is first wanted, as some layers never are asked."""
        if self._backward is None:
            self._backward = _packed_linear(self.weight.t().contiguous())
        return _linear(gradient.to(self.dtype), self._backward, None)


class PackedConv(torch.nn.Module):
    """A frozen `torch.nn.Conv2d` with stride 1: (B, in, H, W) to (B, out, H', W'), in the weight's dtype."""

    def __init__(self, conv: torch.nn.Conv2d) -> None:
        super().__init__()
        assert can_pack(conv)
        self.in_channels, self.out_channels = conv.in_channels, conv.out_channels
        self.kernel_size, self.padding = conv.kernel_size, conv.padding
        self.stride, self.dilation, self.groups = conv.stride, conv.dilation, conv.groups
        self.dtype = conv.weight.dtype
        self.bias = None if conv.bias is None else conv.bias.detach()
        self._pads: list[int] = [int(p) for p in conv.padding]
        self._plain: torch.Tensor | None = conv.weight.detach()
        self._forward: torch.Tensor | None = None
        self._backward: torch.Tensor | None = None

    @property
    def weight(self) -> torch.Tensor:
        """The plain weight (out, in, kh, kw), unpacked anew at each call; not for the hot path."""
        if self._plain is not None:
            return self._plain
        assert self._forward is not None
        return self._forward.to_dense()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The layer's output; gradients flow to the input only."""
        out: torch.Tensor = _Frozen.apply(x.to(self.dtype), self)  # type: ignore[no-untyped-call]
        return out

    def forward_packed(self, x: torch.Tensor) -> torch.Tensor:
        """The output without autograd. The best layout depends on the picture's size: that of the first one is taken."""
        if self._forward is None:
            self._forward = _packed_conv(self.weight, self._pads, x)
            self._plain = None
        return _conv(x, self._forward, self.bias, self._pads)

    def backward_packed(self, gradient: torch.Tensor) -> torch.Tensor:
        """The input's gradient; its weights are packed when it is first wanted, as some layers never are asked."""
        pads = [k - 1 - p for k, p in zip(self.kernel_size, self._pads, strict=True)]
        if self._backward is None:
            turned = self.weight.transpose(0, 1).flip(2, 3).contiguous()
            self._backward = _packed_conv(turned, pads, gradient)
        return _conv(gradient.to(self.dtype), self._backward, None, pads)


def can_pack(module: torch.nn.Module) -> bool:
    """Whether a layer can be packed: frozen, on the CPU, and a linear layer or a convolution with stride 1."""
    if type(module) not in (torch.nn.Linear, torch.nn.Conv2d):
        return False
    weight = module.weight
    if not isinstance(weight, torch.Tensor) or weight.requires_grad or weight.device.type != "cpu":
        return False
    if weight.dtype not in (torch.float32, torch.bfloat16):
        return False
    if isinstance(module, torch.nn.Linear):
        return True
    assert isinstance(module, torch.nn.Conv2d)
    plain = module.stride == (1, 1) == module.dilation and module.groups == 1 and module.padding_mode == "zeros"
    return plain and isinstance(module.padding, tuple) and all(p < k for p, k in zip(module.padding, module.kernel_size, strict=True))  # fmt: skip


def pack(model: torch.nn.Module) -> int:
    """Replaces the model's frozen layers by packed ones, one after the other, so that memory does not double; how many.

    The base layers of LoRA layers too: those of peft call them like any module.
    """
    count = 0
    for parent, name, module in list(_packable(model)):
        packed = PackedLinear(module) if isinstance(module, torch.nn.Linear) else PackedConv(module)
        setattr(parent, name, packed)
        count += 1
        module.weight = None  # whoever still holds the plain layer must not keep its memory
    return count


def packed_bytes(model: torch.nn.Module) -> int:
    """What packing would cost beside the model as it is, bytes: a second copy of the layers' weights."""
    return sum(m.weight.numel() * m.weight.element_size() for _, _, m in _packable(model))


def _packable(model: torch.nn.Module) -> Iterator[tuple[torch.nn.Module, str, Any]]:
    for parent in model.modules():
        for name, module in parent.named_children():
            if can_pack(module):
                yield parent, name, module


class _Frozen(torch.autograd.Function):
    """A layer with packed weights; nothing is kept for the way back."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, layer: PackedLinear | PackedConv) -> torch.Tensor:
        ctx.layer = layer
        return layer.forward_packed(x)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, None]:
        return ctx.layer.backward_packed(gradient) if ctx.needs_input_grad[0] else None, None


def _packed_linear(weight: torch.Tensor) -> torch.Tensor:
    packed: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), None)
    return packed


def _packed_conv(weight: torch.Tensor, padding: list[int], x: torch.Tensor) -> torch.Tensor:
    """Packed for inputs of the size of `x`; others work too."""
    plain = weight.contiguous().to_mkldnn()
    pack: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
    packed: torch.Tensor = pack(plain, padding, [1, 1], [1, 1], 1, list(x.shape))
    return packed


def _linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return out


def _conv(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, padding: list[int]) -> torch.Tensor:
    out: torch.Tensor = torch.ops.mkldnn._convolution_pointwise(
        x, weight, bias, padding, [1, 1], [1, 1], 1, "none", [], ""
    )
    return out
