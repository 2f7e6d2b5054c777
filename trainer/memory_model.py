"""How much memory a run needs in each of its phases, computed from the model's anatomy. Imports no torch.

What is kept for the way back is counted layer by layer: attention keeps no matrix (SDPA), so everything is linear in pixels.
What no arithmetic tells (libraries, the allocator, kernels' scratch) are the constants of `MEASURED`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainer import adapter_sizes
from trainer.families import anatomy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from trainer.adapter_sizes import Adapted
    from trainer.families.anatomy import Anatomy, Layer, Piece
    from trainer.machine import Kind, Spot
    from trainer.settings import TrainingSettings


@dataclass(frozen=True)
class Constants:
    """What was measured.

    libraries: bytes of the process before it loads a model (on a GPU what the driver holds beside torch); computing: by bytes
    of a number, what the kernels' code and threads add at the first step. kept: what intermediate results take, for a byte
    that was counted, with packed weights and without; recycled: what steps leave for each other, for such a byte; scratch: the same for the largest layer's input and output; repacked:
    what layers that are not packed take in passing, for a byte of the largest convolution's weight; coding: bytes of the
    autoencoder for a byte of its largest feature maps.
    """

    libraries: int
    computing: Mapping[int, int]
    kept: tuple[float, float]
    recycled: float
    scratch: float
    repacked: float
    coding: float


# CPU: python -m tests.benchmarks.forecast --true-size --save, on 2 cores of an AMD EPYC (avx512_bf16) and a Xeon (AMX), torch 2.13, 2026-12-01.
# GPUs: reasoned, not measured: a CUDA context, cuDNN's workspaces, the allocator's rounding.
MEASURED: dict[Kind, Constants] = {
    "cpu": Constants(int(0.44e9), {2: int(0.17e9), 4: int(0.11e9)}, (1.03, 1.1), 0.08, 2.0, 1.5, 4.0),
    "cuda": Constants(int(0.6e9), {2: int(0.3e9), 4: int(0.3e9)}, (1.15, 1.15), 0.0, 2.0, 0.0, 4.0),
    "mps": Constants(int(0.9e9), {2: int(0.3e9), 4: int(0.3e9)}, (1.2, 1.2), 0.0, 2.0, 0.0, 4.0),
}

QUANTISED = {"none": 1.0, "int8": 1.0, "nf4": 0.5 + 1 / 64 + 4 / 64 / 256}  # bytes of a number, scales included
_TOKENS = 77


@dataclass(frozen=True)
class Stage:
    """A phase of the run: bytes by what they are for, the largest first."""

    title: str
    parts: Mapping[str, int]

    @property
    def bytes(self) -> int:
        """All of them."""
        return sum(self.parts.values())


@dataclass(frozen=True)
class Need:
    """What a run needs. stages: in the order of the run; packs: whether the frozen weights are kept packed."""

    stages: tuple[Stage, ...]
    packs: bool

    @property
    def peak(self) -> Stage:
        """The phase that needs most."""
        return max(self.stages, key=lambda stage: stage.bytes)


@dataclass(frozen=True)
class Work:
    """A run as the model sees it. size: the largest bucket's width and height, px; layers: those with adapters."""

    body: Anatomy
    settings: TrainingSettings
    layers: list[Adapted]
    spot: Spot
    size: tuple[int, int]

    @property
    def pictures(self) -> int:
        """That are computed at once."""
        s = self.settings
        return min(s.batch_size, s.micro_batch) if s.micro_batch else s.batch_size


def need(work: Work) -> Need:
    """The memory of every phase."""
    packs = will_pack(work)
    fixed = {"the program": MEASURED[work.spot.kind].libraries}
    stages = [_encoding(work, fixed), _captions(work, fixed), _loading(work, fixed)]
    computing = MEASURED[work.spot.kind].computing[work.spot.element]
    resident = {"the program": fixed["the program"] + computing} | _resident(work, packs=packs)
    stages.append(Stage("training", resident | _step(work, packs=packs)))
    if work.settings.previews and work.settings.preview_every_steps:
        stages.append(_preview(work, resident))
    return Need(tuple(stages), packs)


def will_pack(work: Work) -> bool:
    """Whether the worker will keep frozen weights packed, by the rule of `trainer.device.packs`."""
    s, spot = work.settings, work.spot
    if spot.kind != "cpu" or spot.precision == "fp16" or s.packing == "off":
        return False
    if s.packing == "on" or spot.memory is None:
        return True
    taken = MEASURED["cpu"].libraries + sum(_resident(work, packs=False).values())
    return 2 * _packed_copy(work) < spot.memory.free - taken


def weight_bytes(work: Work, part: str) -> int:
    """A frozen part as it lies in memory: quantised linear layers, and all else in the run's precision."""
    layers = work.body.layers(part)
    element, quantised = work.spot.element, 0.0
    linear = sum(layer.weights for layer in layers if not layer.kernel)
    if work.settings.quantization != "none":
        rate = QUANTISED[work.settings.quantization]
        quantised = linear * (rate - element)
    return round(work.body.parameters(part) * element + quantised)


def _trained_text(work: Work) -> tuple[str, ...]:
    return tuple(work.body.text) if work.settings.train_text_encoder else ()


def _resident(work: Work, *, packs: bool) -> dict[str, int]:
    """What stays in memory from the first step to the last."""
    numbers = sum(item.parameters for item in work.layers)
    state = adapter_sizes.state_bytes(work.layers, work.settings.optimizer, eight_bit=work.spot.kind != "mps")
    out = {"the base model": _unet_bytes(work) + sum(weight_bytes(work, part) for part in _trained_text(work))}
    if packs:
        out["packed weights"] = _packed_copy(work)
    return out | {"the LoRA": 8 * numbers, "the optimizer": state}


def _unet_bytes(work: Work) -> int:
    """Of the UNet, where it is computed."""
    offloaded = work.settings.offload and work.spot.kind == "cuda"
    return _while_offloaded(work) if offloaded else weight_bytes(work, "unet")


def _while_offloaded(work: Work) -> int:
    """Of the UNet on the GPU: what never leaves it, the block that computes, and the one that is fetched meanwhile."""
    blocks: list[int] = []
    for piece in work.body.unet:
        if piece.kind == "resnet":
            blocks.append(piece.parameters)
        elif piece.depth:
            edges = sum(layer.parameters for layer in piece.layers if layer.name.endswith((".proj_in", ".proj_out")))
            blocks += [(piece.parameters - edges) // piece.depth] * piece.depth
    whole = work.body.parameters("unet")
    there = whole - sum(blocks) + sum(sorted(blocks)[-2:])
    return round(weight_bytes(work, "unet") / whole * there)


def _packed_copy(work: Work) -> int:
    """The second, transposed copy of every layer that can be packed."""
    parts = ("unet", *_trained_text(work))
    quantised = work.settings.quantization != "none"
    layers = [layer for part in parts for layer in work.body.layers(part)]
    return work.spot.element * sum(
        item.weights for item in layers if item.stride == 1 and (item.kernel or not quantised)
    )


# What is kept for the way back


def _step(work: Work, *, packs: bool) -> dict[str, int]:
    """Activations and the largest layer's scratch in a step with the largest bucket."""
    measured, by_name = MEASURED[work.spot.kind], _adapted_names(work)
    again_names = computed_again(work.body.unet, work.settings.gradient_checkpointing)
    kept = again = scratch = 0.0
    for piece, positions in anatomy.seen(work.body.unet, *work.size, work.body.scale):
        whole = _kept(work, piece, positions, by_name, packs=packs)
        scratch = max(scratch, _scratch(work, piece, positions))
        if piece.name not in again_names:
            kept += whole
        else:
            left, segment = _when_checkpointed(work, piece, positions, whole)
            kept, again = kept + left, max(again, segment)
    text = sum(_text_kept(work, part) for part in _trained_text(work))
    largest = max(layer.weights for layer in work.body.layers("unet") if layer.kernel > 1)
    repacked = 0.0 if packs else measured.repacked * largest * work.spot.element
    rate = measured.kept[0 if packs else 1] + (measured.recycled if work.settings.has_memory_to_spare else 0.0)
    return {
        "intermediate results": round(work.pictures * rate * (kept + again) + text),
        "scratch": round(work.pictures * measured.scratch * scratch + repacked),
    }


def computed_again(unet: Iterable[Piece], mode: str) -> set[str]:
    """Names of the pieces whose insides are not kept; as `trainer.checkpointing` chooses them."""
    if mode != "some":
        return {piece.name for piece in unet if mode == "all" and piece.kind in ("resnet", "attention")}
    return set(anatomy.neediest((p.name, p.outputs, p.depth, p.level) for p in unet if p.depth))


def _adapted_names(work: Work) -> dict[str, int]:
    return {item.layer.name: item.rank for item in work.layers if item.part == "unet"}


def _kept(work: Work, piece: Piece, positions: int, ranks: Mapping[str, int], *, packs: bool) -> float:
    """Bytes that a piece keeps for the way back, for one picture."""
    element = work.spot.element
    norm = 4 if work.spot.kind == "cuda" else element  # autocast computes norms in fp32 there
    adapters = sum(
        _adapter_kept(work, layer, positions, ranks[layer.name]) for layer in piece.layers if layer.name in ranks
    )
    match piece.kind:
        case "resnet":
            inputs, outputs = piece.inputs * positions, piece.outputs * positions
            convolved = 0 if packs else element * (inputs + outputs)  # a packed convolution keeps no input
            return (element + norm) * (inputs + outputs) + convolved + adapters
        case "attention":
            width = piece.outputs * positions
            outer = (element + norm) * width
            each = (25 * element + 3 * norm) * width + 4 * element * piece.outputs * tokens(work.settings)
            return outer + piece.depth * each + adapters
        case "sampler":
            return (0 if packs else element) * piece.outputs * positions * (
                4 if ".downsamplers" in piece.name else 1
            ) + adapters
    return 2.0 * element * piece.inputs * positions


def _adapter_kept(work: Work, layer: Layer, positions: int, rank: int) -> float:
    """What an adapter keeps besides its layer's input: its inner numbers, a convolution the input; peft's own way one in fp32."""
    if layer.name.endswith((".attn2.to_k", ".attn2.to_v", ".time_emb_proj")):
        positions = tokens(work.settings)
    inner = work.spot.element * rank * positions
    s = work.settings
    if not s.dropout and not s.dora:
        return inner + (work.spot.element * layer.inputs * positions if layer.kernel > 1 else 0)
    dora = 2 * work.spot.element * layer.outputs * positions if s.dora else 0
    return inner + (4 + work.spot.element) * layer.inputs * positions + dora


def _when_checkpointed(work: Work, piece: Piece, positions: int, whole: float) -> tuple[float, float]:
    """What stays of a checkpointed piece, and what its largest segment keeps while it is computed again."""
    element = work.spot.element
    if piece.kind == "resnet":
        return element * piece.inputs * positions, whole
    outer = 2 * element * piece.outputs * positions
    return outer + piece.depth * element * piece.outputs * positions, (whole - outer) / max(1, piece.depth)


def _scratch(work: Work, piece: Piece, positions: int) -> float:
    """Input and output of the largest layer; of attention, of its feed-forward layer."""
    numbers = (piece.inputs + piece.outputs) * positions
    if piece.depth:
        numbers = 9 * piece.outputs * positions
    return work.spot.element * numbers


def tokens(settings: TrainingSettings) -> int:
    """Of a caption as the UNet is told it."""
    return _TOKENS * settings.max_tokens // 75


def _text_kept(work: Work, part: str) -> float:
    """What a trained text encoder keeps for a batch."""
    text = work.body.text[part]
    layer = 10 * text.width + 3 * text.inner
    again = work.settings.gradient_checkpointing == "all"
    numbers = (text.depth * text.width + layer if again else text.depth * layer) * tokens(work.settings)
    return work.spot.element * numbers * work.pictures


# The other phases


def _encoding(work: Work, fixed: Mapping[str, int]) -> Stage:
    """Pictures through the autoencoder, one by one."""
    element = _vae_element(work)
    weights = element * sum(piece.parameters for piece in (*work.body.encoder, *work.body.decoder))
    return Stage(
        "encoding the pictures",
        {**fixed, "the VAE": weights, "intermediate results": _coding(work, work.body.encoder, work.size)},
    )


def _vae_element(work: Work) -> int:
    wanted = work.settings.vae_precision
    return 2 if wanted == "bf16" or (wanted == "auto" and work.spot.precision == "bf16") else 4


def _coding(work: Work, pieces: Iterable[Piece], size: tuple[int, int], *, element: int = 0) -> int:
    """The autoencoder's largest feature maps."""
    element = element or _vae_element(work)
    largest = max((piece.inputs + piece.outputs) * n for piece, n in anatomy.seen(pieces, *size))
    return round(MEASURED[work.spot.kind].coding * element * largest)


def _captions(work: Work, fixed: Mapping[str, int]) -> Stage:
    """All text encoders, eight texts at a time."""
    quantised = work.settings.train_text_encoder  # only those that stay are
    weights = sum(
        weight_bytes(work, part) if quantised else work.body.parameters(part) * work.spot.element
        for part in work.body.text
    )
    widest = max(text.width + text.inner for text in work.body.text.values())
    return Stage(
        "encoding the captions",
        {
            **fixed,
            "the text encoders": weights,
            "intermediate results": 4 * work.spot.element * widest * 8 * tokens(work.settings),
        },
    )


def _loading(work: Work, fixed: Mapping[str, int]) -> Stage:
    """The UNet with its largest weight as it is stored."""
    largest = max(layer.weights for layer in work.body.layers("unet"))
    return Stage("loading the base model", {**fixed, "the base model": _unet_bytes(work), "reading": 2 * 4 * largest})


def _preview(work: Work, resident: Mapping[str, int]) -> Stage:
    """A preview's picture through the autoencoder, beside everything that stays."""
    s = work.settings
    sizes = [(p.width or s.resolution, p.height or s.resolution) for p in s.previews]
    width, height = max(sizes, key=math.prod)
    weights = 4 * sum(piece.parameters for piece in (*work.body.encoder, *work.body.decoder))
    return Stage(
        "drawing previews",
        {
            **resident,
            "the VAE": weights,
            "intermediate results": _coding(work, work.body.decoder, (width, height), element=4),
        },
    )


def largest_size(sizes: Iterator[tuple[int, int]] | Iterable[tuple[int, int]], resolution: int) -> tuple[int, int]:
    """The bucket with most pixels; the square of the resolution when there are no pictures yet."""
    return max(sizes, key=math.prod, default=(resolution, resolution))
