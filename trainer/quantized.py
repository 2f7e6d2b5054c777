"""Frozen linear layers in 4 or 8 bits, in bitsandbytes' formats, that compute in the run's own number format.

QLoRA, Dettmers et al. 2023, https://arxiv.org/abs/2305.14314. NF4: blocks of 64 weights share a scale, and blocks of 256 scales
share one in turn (double quantisation): 0.516 bytes a weight. int8: each output has a scale (Dettmers et al. 2022,
https://arxiv.org/abs/2208.07339), 1.0 bytes a weight. The weight is made from its codes for each product and let go again, on
the way back as well, so nothing large is kept.
"""

from __future__ import annotations

import functools
import importlib.util
from typing import Any, Literal

import torch

Kind = Literal["nf4", "int8"]

BLOCK, SCALES_BLOCK = 64, 256
_CHUNK = 1 << 18  # weights that are quantised at once on a CPU: what is computed between stays in its cache
_CELLS = 256  # of the table below; no two of NF4's bounds lie in one


class QuantizedLinear(torch.nn.Linear):
    """A frozen linear layer: inputs (..., in_features) to (..., out_features), in `dtype`. Made without its numbers.

    Attributes:
        codes: nf4: uint8 (out * in / 2,), two weights a byte; int8: (out, in).
        scales: of the weights; nf4: uint8, one a block of weights; int8: fp32 (out,), the largest size of a weight.
        scales_scales, scales_mean: nf4 only, fp32: what the scales are relative to.
    """

    codes: torch.Tensor
    scales: torch.Tensor
    scales_scales: torch.Tensor
    scales_mean: torch.Tensor

    def __init__(self, linear: torch.nn.Linear, kind: Kind, dtype: torch.dtype) -> None:
        torch.nn.Module.__init__(self)  # the plain layer's own would make a weight
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.kind, self.dtype = kind, dtype
        for name, (shape, stored) in _layout(kind, self.out_features, self.in_features).items():
            self.register_buffer(name, torch.empty(shape, dtype=stored, device="meta"))
        self.bias = linear.bias

    @property
    def weight(self) -> torch.Tensor:  # type: ignore[override]
        """The weight (out, in) in `dtype`, made anew at each call: 0.2 ns a number on two CPU cores."""
        shape = (self.out_features, self.in_features)
        if self.kind == "int8":
            scales = self.scales[:, None] * (1 / 127)
            return torch.mul(self.codes, scales, out=torch.empty(shape, dtype=self.dtype, device=self.codes.device))
        functional = _library().functional
        outer = functional.QuantState(
            absmax=self.scales_scales, blocksize=SCALES_BLOCK, dtype=torch.float32, code=_dynamic_map(self.codes.device)
        )
        state = functional.QuantState(
            absmax=self.scales, shape=shape, dtype=self.dtype, blocksize=BLOCK, quant_type="nf4",
            offset=self.scales_mean, state2=outer,
        )  # fmt: skip
        weight: torch.Tensor = functional.dequantize_4bit(self.codes[:, None], state)
        return weight

    @property
    def qweight(self) -> torch.Tensor:
        """The codes, by the name with which peft asks where a layer lies, so that no weight is made for that."""
        return self.codes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The layer's output; gradients flow to the input only."""
        out: torch.Tensor = _Frozen.apply(x.to(self.dtype), self)  # type: ignore[no-untyped-call]
        return out

    def extra_repr(self) -> str:
        """For `print`: what the plain layer says, and the kind."""
        return f"{super().extra_repr()}, {self.kind}"


class _Frozen(torch.autograd.Function):
    """A quantised layer; nothing is kept for the way back."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, layer: QuantizedLinear) -> torch.Tensor:
        ctx.layer = layer
        return torch.nn.functional.linear(x, layer.weight, layer.bias)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, None]:
        layer = ctx.layer
        return gradient.to(layer.dtype) @ layer.weight if ctx.needs_input_grad[0] else None, None


def unavailable(device: torch.device) -> str:
    """Why weights cannot be quantised for this device, as a sentence; empty when they can."""
    if device.type == "mps":
        return "Quantised base is not possible on Apple GPUs, for which bitsandbytes has nothing. Set it to none, or the device to cpu."
    if importlib.util.find_spec("bitsandbytes") is None:
        return "Quantised base needs bitsandbytes, which is not installed on this machine. Set it to none."
    return ""


def replace_linears(model: torch.nn.Module, kind: Kind, dtype: torch.dtype) -> list[str]:
    """Puts quantised layers, still without numbers, in the places of the model's linear layers; returns their paths."""
    found = [(path, module) for path, module in model.named_modules() if _can_quantize(module, kind)]
    for path, module in found:
        parent, _, name = path.rpartition(".")
        assert isinstance(module, torch.nn.Linear)
        setattr(model.get_submodule(parent), name, QuantizedLinear(module, kind, dtype))
    return [path for path, _ in found]


def quantize(weight: torch.Tensor, kind: Kind) -> dict[str, torch.Tensor]:
    """The numbers of a quantised layer by attribute, from its weight (out, in) in any floating format, on its device.

    Raises:
        ValueError: a weight is not finite.
    """
    return _int8(weight) if kind == "int8" else _nf4(weight)


def quantized_bytes(model: torch.nn.Module) -> int:
    """What the quantised layers of a model hold, bytes, without their biases."""
    layers = (module for module in model.modules() if isinstance(module, QuantizedLinear))
    return sum(buffer.numel() * buffer.element_size() for layer in layers for buffer in layer.buffers())


def _layout(kind: Kind, out: int, wide: int) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """Shape and format of a layer's numbers."""
    if kind == "int8":
        return {"codes": ((out, wide), torch.int8), "scales": ((out,), torch.float32)}
    blocks = out * wide // BLOCK
    return {
        "codes": ((out * wide // 2,), torch.uint8), "scales": ((blocks,), torch.uint8),
        "scales_scales": ((-(-blocks // SCALES_BLOCK),), torch.float32), "scales_mean": ((1,), torch.float32),
    }  # fmt: skip


def _can_quantize(module: torch.nn.Module, kind: Kind) -> bool:
    if type(module) is not torch.nn.Linear:
        return False
    return kind == "int8" or (module.in_features % 2 == 0 and module.weight.numel() % BLOCK == 0)


def _int8(weight: torch.Tensor) -> dict[str, torch.Tensor]:
    """As bitsandbytes' Linear8bitLt, in pieces so that little is needed beside it; its CUDA kernel knows fp16 only."""
    rows = max(1, 4 * _CHUNK // weight.shape[1])
    codes = torch.empty(weight.shape, dtype=torch.int8, device=weight.device)
    scales = torch.empty(len(weight), device=weight.device)
    for start in range(0, len(weight), rows):
        piece = weight[start : start + rows].to(torch.float16 if weight.is_cuda else torch.float32)
        some, sizes, _ = _library().functional.int8_vectorwise_quant(piece.contiguous())
        _require_finite(sizes)
        some[sizes == 0] = 0  # 0 / 0 made it anything
        codes[start : start + rows], scales[start : start + rows] = some, sizes
    return {"codes": codes, "scales": scales}


def _nf4(weight: torch.Tensor) -> dict[str, torch.Tensor]:
    functional = _library().functional
    if weight.device.type == "cpu":
        codes, sizes = _nf4_codes(weight.contiguous().view(-1))
    else:
        codes, state = functional.quantize_4bit(weight.float().contiguous(), blocksize=BLOCK, quant_type="nf4")
        sizes = state.absmax
        _require_finite(sizes)
    mean = sizes.mean()
    scales, outer = functional.quantize_blockwise(sizes - mean, blocksize=SCALES_BLOCK)
    return {"codes": codes.view(-1), "scales": scales, "scales_scales": outer.absmax, "scales_mean": mean.view(1)}


def _nf4_codes(flat: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes (N / 2,) and block sizes (N / 64,) of N weights: bitsandbytes' numbers to the bit, in a sixth of its time.

    Its own way on a CPU searches the 15 bounds for each weight (29 CPU-ns); here a table of cells says it, and at most one
    comparison with the bound in the cell (5 CPU-ns).
    """
    below, bounds = _cells()
    codes, sizes = torch.empty(len(flat) // 2, dtype=torch.uint8), torch.empty(len(flat) // BLOCK)
    for start in range(0, len(flat), _CHUNK):
        blocks = flat[start : start + _CHUNK].float().view(-1, BLOCK)
        size = sizes[start // BLOCK :][: len(blocks)]
        torch.amax(blocks.abs(), 1, out=size)
        _require_finite(size)  # or cells would lie outside of the table
        relative = (blocks * (1.0 / size.clamp(min=1e-38))[:, None]).clamp_(-1, 1).view(-1)
        cells = _cell(relative)
        code = torch.index_select(below, 0, cells)
        code += relative > torch.index_select(bounds, 0, cells)
        pairs = code.view(-1, 2)
        torch.add(pairs[:, 0] * 16, pairs[:, 1], out=codes[start // 2 :][: len(pairs)])
    return codes, sizes


def _cell(relative: torch.Tensor) -> torch.Tensor:
    """Numbers of cells for numbers in [-1, 1]; never falls where they rise, so the table is exact."""
    return (relative + 1).mul_(_CELLS / 2).to(torch.int32)


@functools.cache
def _cells() -> tuple[torch.Tensor, torch.Tensor]:
    """For each cell: how many bounds lie in cells below, and the bound in it, or infinity."""
    values = _library().functional.get_4bit_type("nf4", device="cpu")
    bounds = (values[:-1] + values[1:]) / 2
    of_bounds = _cell(bounds)
    numbers = torch.arange(_CELLS + 1)
    inside = torch.full((_CELLS + 1,), torch.inf)
    inside[of_bounds.long()] = bounds
    return (of_bounds[None] < numbers[:, None]).sum(1).to(torch.uint8), inside


def _require_finite(sizes: torch.Tensor) -> None:
    if not sizes.isfinite().all():
        raise ValueError("a weight is not finite")


@functools.cache
def _dynamic_map(device: torch.device) -> torch.Tensor:
    """The 256 numbers that codes of scales stand for."""
    numbers: torch.Tensor = _library().functional.create_dynamic_map().to(device)
    return numbers


@functools.cache
def _library() -> Any:
    """Imported when it is needed: it takes seconds, and not every machine has it."""
    import bitsandbytes

    return bitsandbytes
