"""Frozen layers on a CPU in oneDNN's own layout, packed once, in both directions: a training step without re-packing.

A plain convolution or linear layer re-packs its weights at every call, which for the small pictures of deep blocks costs more
than the arithmetic. Frozen weights can be kept packed. The input gradient of a convolution is a transposed convolution with the
same weights, that of a linear layer a linear layer with transposed ones, so both directions gain.

Same results up to rounding; about twice the memory of the packed layers' weights. Switched off by `device.packs`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Packed(torch.nn.Module):
    """A frozen layer whose weights are packed when they are first used, for both directions where the first use needs both."""

    def __init__(self, plain: torch.nn.Linear | torch.nn.Conv2d) -> None:
        super().__init__()
        self.dtype = plain.weight.dtype
        self.bias = None if plain.bias is None else plain.bias.detach()
        self._plain: torch.Tensor | None = plain.weight.detach()
        self._forward: torch.Tensor | None = None
        self._backward: torch.Tensor | None = None

    @property
    def weight(self) -> torch.Tensor:
        """The plain weight, unpacked anew at each call; not for the hot path."""
        if self._plain is not None:
            return self._plain
        assert self._forward is not None
        return self._forward.to_dense()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The layer's output; gradients flow to the input only."""
        out: torch.Tensor = _Frozen.apply(x.to(self.dtype), self)  # type: ignore[no-untyped-call]
        return out

    def forward_packed(self, x: torch.Tensor, *, and_back: bool = False) -> torch.Tensor:
        """The output without autograd. and_back: the input's gradient will be wanted; packed at the first use, it costs half as much.

        The best layout depends on the input's size: that of the first one is taken.
        """
        if self._forward is not None:
            return self._use(x, self._forward)
        self._forward = self._pack_forward(x)
        out = self._use(x, self._forward)
        if and_back:
            self._backward = self._pack_backward(out)
        self._plain = None
        return out

    def backward_packed(self, gradient: torch.Tensor) -> torch.Tensor:
        """The input's gradient."""
        gradient = gradient.to(self.dtype)
        if self._backward is None:
            self._backward = self._pack_backward(gradient)
        return self._use_back(gradient, self._backward)

    def _pack_forward(self, x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def _pack_backward(self, gradient: torch.Tensor) -> torch.Tensor:
        """For gradients of that shape."""
        raise NotImplementedError

    def _use(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def _use_back(self, gradient: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


class PackedLinear(_Packed):
    """A frozen `torch.nn.Linear`: inputs (..., in_features) to (..., out_features), in the weight's dtype."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__(linear)
        self.in_features, self.out_features = linear.in_features, linear.out_features

    def _pack_forward(self, x: torch.Tensor) -> torch.Tensor:
        return _packed_linear(self.weight)

    def _pack_backward(self, gradient: torch.Tensor) -> torch.Tensor:
        return _packed_linear(self.weight.t())

    def _use(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return _linear(x, weight, self.bias)

    def _use_back(self, gradient: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return _linear(gradient, weight, None)


class PackedConv(_Packed):
    """A frozen `torch.nn.Conv2d` with stride 1: (B, in, H, W) to (B, out, H', W'), in the weight's dtype."""

    def __init__(self, conv: torch.nn.Conv2d) -> None:
        super().__init__(conv)
        assert can_pack(conv)
        self.in_channels, self.out_channels = conv.in_channels, conv.out_channels
        self.kernel_size, self.padding = conv.kernel_size, conv.padding
        self.stride, self.dilation, self.groups = conv.stride, conv.dilation, conv.groups
        self._pads = [int(p) for p in conv.padding]

    def _pack_forward(self, x: torch.Tensor) -> torch.Tensor:
        pack: Any = torch.ops.mkldnn._reorder_convolution_weight
        return pack(self.weight, self._pads, [1, 1], [1, 1], 1, list(x.shape))  # type: ignore[no-any-return]

    def _pack_backward(self, gradient: torch.Tensor) -> torch.Tensor:
        pack: Any = torch.ops.mkldnn._reorder_convolution_transpose_weight
        return pack(self.weight, self._pads, [0, 0], [1, 1], [1, 1], 1, list(gradient.shape))  # type: ignore[no-any-return]

    def _use(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, weight, self.bias, self._pads, [1, 1], [1, 1], 1, "none", [], ""
        )
        return out

    def _use_back(self, gradient: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = torch.ops.mkldnn._convolution_transpose_pointwise(
            gradient, weight, None, self._pads, [0, 0], [1, 1], [1, 1], 1, "none", [], ""
        )
        return out


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
        return layer.forward_packed(x, and_back=ctx.needs_input_grad[0])

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, None]:
        return ctx.layer.backward_packed(gradient) if ctx.needs_input_grad[0] else None, None


def _packed_linear(weight: torch.Tensor) -> torch.Tensor:
    packed: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, None)
    return packed


def _linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return out
