"""How large a LoRA will be before it is trained: its layers, numbers, file, optimizer state, checkpoints. Imports no torch."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainer import cover
from trainer.families import anatomy, headers, lora_keys, lora_names
from trainer.lora_file import DTYPE_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainer.families.anatomy import Anatomy, Layer
    from trainer.settings import TrainingSettings

_FORMATS = {"fp16": "F16", "bf16": "BF16", "fp32": "F32"}

# Bytes an optimizer keeps for each trained number; adafactor keeps rows and columns of the second moment instead.
STATE_BYTES = {"adamw": 8.0, "adamw8bit": 2.0, "lion": 4.0, "lion8bit": 1.0, "adafactor": 0.0, "prodigy": 16.0}
_SMALL = 4096  # bitsandbytes keeps the moments of smaller tensors in fp32
_EIGHT_BIT = {"adamw8bit": "adamw", "lion8bit": "lion"}

# The picture in the file stands in it twice, in base64: of a JPEG of about so many bytes a pixel (`trainer.cover`).
_COVER_RATE = 0.3
_HASH_BYTES = 2 * (64 + 40) + 40


@dataclass(frozen=True)
class Adapted:
    """A layer that gets an adapter. down, up: numbers in its two matrices; magnitude: DoRA's numbers."""

    part: str
    layer: Layer
    rank: int
    magnitude: int = 0

    @property
    def down(self) -> tuple[int, ...]:
        """Shape of the first matrix, as in the file."""
        return (self.rank, self.layer.inputs, *(self.layer.kernel,) * (2 if self.layer.kernel else 0))

    @property
    def up(self) -> tuple[int, ...]:
        """Shape of the second matrix."""
        return (self.layer.outputs, self.rank, *(1,) * (2 if self.layer.kernel else 0))

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of its trained tensors, by the end of their keys in a file."""
        out = {"lora_down.weight": self.down, "lora_up.weight": self.up}
        if self.magnitude:
            out["dora_scale"] = (self.magnitude, *(1,) * (len(self.up) - 1))
        return out

    @property
    def parameters(self) -> int:
        """All its numbers."""
        return sum(math.prod(shape) for shape in self.shapes.values())


def adapted(body: Anatomy, settings: TrainingSettings) -> list[Adapted]:
    """The layers that get adapters, as the settings say or as the LoRA to start from has them.

    Raises:
        ModelError: the LoRA to start from cannot be read.
    """
    ranks = _ranks_of_file(settings) if settings.start_from else None
    out = []
    for part in ("unet", *(body.text if settings.train_text_encoder else ())):
        table = anatomy.UNET_TARGETS if part == "unet" else anatomy.TEXT_TARGETS
        layers = body.layers(part)
        if ranks is None:
            layers = tuple(anatomy.targeted(layers, settings.targets, table))
        for layer in layers:
            rank = _rank(layer, settings) if ranks is None else ranks.get((part, layer.name), 0)
            if rank:
                out.append(Adapted(part, layer, rank, layer.outputs if settings.dora else 0))
    return out


def file_bytes(layers: list[Adapted], body: Anatomy, settings: TrainingSettings, metadata: Mapping[str, str]) -> int:
    """The exported file's size: exact but for the hashes' and the picture's place in its header."""
    kind, end = _FORMATS[settings.export_precision], 0
    size = DTYPE_BYTES[kind]
    told = dict(metadata) | {"sshs": "0" * _HASH_BYTES}
    if settings.previews and settings.preview_every_steps:
        told["cover"] = "0" * (2 * _cover_bytes(settings) + 100)
    header: dict[str, object] = {"__metadata__": told}
    for item in layers:
        stem = lora_names.stem(item.part, item.layer.name, body.family)
        for key, shape in {**item.shapes, "alpha": ()}.items():
            start, end = end, end + size * math.prod(shape)
            header[f"{stem}.{key}"] = {"dtype": kind, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
    return 8 + len(text) + -len(text) % 8 + end


def state_bytes(layers: list[Adapted], optimizer: str, *, eight_bit: bool = True) -> int:
    """What the optimizer keeps. eight_bit: whether this device has 8-bit optimizers; the plain ones stand in for them."""
    if not eight_bit:
        optimizer = _EIGHT_BIT.get(optimizer, optimizer)
    shapes = [shape for item in layers for shape in item.shapes.values()]
    if optimizer == "adafactor":  # rows and columns, by the last two sides
        return 4 * sum(math.prod(s[:-1]) + math.prod(s[:-2]) * s[-1] if len(s) > 1 else s[0] for s in shapes)
    rate = STATE_BYTES[optimizer]
    plain = STATE_BYTES[_EIGHT_BIT.get(optimizer, optimizer)]
    return round(sum(math.prod(s) * (rate if math.prod(s) >= _SMALL else plain) for s in shapes))


def checkpoint_bytes(layers: list[Adapted], optimizer: str) -> int:
    """A checkpoint's files: the adapters in fp32 and the optimizer's state."""
    return 4 * sum(item.parameters for item in layers) + state_bytes(layers, optimizer) + 400 * len(layers)


def _rank(layer: Layer, settings: TrainingSettings) -> int:
    return (settings.conv_rank or settings.rank) if layer.kernel > 1 else settings.rank


def _ranks_of_file(settings: TrainingSettings) -> dict[tuple[str, str], int]:
    """Rank by part and module path of the LoRA to start from."""
    assert settings.start_from is not None
    path, out = settings.start_from.expanduser(), {}
    for name, shape in headers.read(path).shapes.items():
        key = lora_keys.split(name)
        if key is None or key.piece != "down" or not shape:
            continue
        if place := lora_keys.place(key.module, math.prod(shape[1:])):
            out[place] = shape[0]
    return out


def _cover_bytes(settings: TrainingSettings) -> int:
    first = settings.previews[0]
    width, height = first.width or settings.resolution, first.height or settings.resolution
    by = min(1.0, cover.SIDE_PX / max(width, height))
    return round(4 / 3 * min(cover.MAX_BYTES, _COVER_RATE * width * height * by * by))
