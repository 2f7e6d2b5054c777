"""Bakes LoRAs into a base checkpoint: the same file with other weights, written tensor by tensor.

A LoRA adds dW = weight * alpha / rank * up @ down to a module. A DoRA (Liu et al. 2024, https://arxiv.org/abs/2402.09353) moves
it towards magnitude * (W + dW) / ||W + dW||, its weight being how far. All is computed from the weights of the base and added
up in fp32, so the order of LoRAs makes no difference.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from trainer import lora_file, lora_kinds, lora_reading, lora_tools, metadata_tools, weights_file
from trainer.base_file import BaseFile
from trainer.errors import DivergedError, ModelError
from trainer.lora_file import DTYPE_BYTES
from trainer.lora_tools import Layer, Made, size_words
from trainer.tasks import each, quiet
from trainer.weights_file import Entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from trainer.tasks import Tell
    from trainer.weights_file import Buffer


@dataclass(frozen=True)
class Change:
    """What one layer of a LoRA does to a tensor, or to a third of its rows. source: the LoRA's file, for messages."""

    stem: str
    layer: Layer
    weight: float
    third: int | None
    source: str


def bake_file(base: Path, loras: Sequence[tuple[Path, float]], out: Path, tell: Tell = quiet) -> Made:
    """Writes the base with LoRAs, each with a weight, merged into it, and reads it back. An existing `out` is replaced.

    Names, order, number formats and all tensors that no LoRA touches (autoencoder, EMA) stay as they are; a .ckpt becomes
    .safetensors. Memory holds the LoRAs and one tensor of the base. `Made.difference`: the largest that rounding to the
    base's number format made.

    Raises:
        ModelError: a file cannot be read, the base is none, or a LoRA does not fit it.
        RunError: the file cannot be written, or is one of the sources.
        DivergedError: a sum does not fit in the base's number format.
        Cancelled: by `tell`; nothing is written.
    """
    lora_tools.keep_sources([base, *(path for path, _ in loras)], out)
    with BaseFile(base) as file:
        changes: dict[str, list[Change]] = {}
        sources = []
        for path, weight in each(loras, "Reading LoRAs", tell):
            sources.append(_add(changes, file, path, weight))
        baker = _Baker(file, changes)
        header = file.reader.header
        told = metadata_tools.baked(header.metadata, base.stem, sources)
        weights_file.write(out, _entries(header, by_size=not header.data_start), told, baker.data, tell)
    ranks = [change.layer.rank for of in changes.values() for change in of]
    return Made(len(ranks), (min(ranks), max(ranks)), 1.0, file.identity.dtype, baker.difference)


def changed(weight: torch.Tensor, changes: Iterable[Change]) -> torch.Tensor:
    """The tensor (outputs, inputs, ...) with all changes, in fp32, or fp64 if it is."""
    start = weight.double() if weight.dtype == torch.float64 else weight.float()
    out = start.clone()
    for change in changes:
        rows = slice(None) if change.third is None else _rows(len(start), change.third)
        out[rows] += _difference(start[rows], change.layer, change.weight)
    return out


def _difference(weight: torch.Tensor, layer: Layer, strength: float) -> torch.Tensor:
    """What the layer adds to a module's weight."""
    down, up = layer.halves()
    delta: torch.Tensor = (up @ down).reshape(weight.shape)
    if layer.magnitude is None:
        return strength * delta
    moved = weight + delta
    flat = moved.flatten(2) if moved.dim() > 2 else moved[:, :, None]
    # One magnitude for each output, as peft, kohya and this program write, or for each input (LyCORIS' older form).
    of_outputs = layer.magnitude.shape[0] == len(weight)
    lengths = flat.norm(dim=(1, 2) if of_outputs else (0, 2)).clamp_min(torch.finfo(flat.dtype).tiny)
    axis = (-1, *[1] * (weight.dim() - 1)) if of_outputs else (1, -1, *[1] * (weight.dim() - 2))
    scale = (layer.magnitude.flatten().to(flat.dtype) / lengths).reshape(axis)
    delta = scale * moved - weight
    return strength * delta


class _Baker:
    """Gives the bytes of each tensor of the new file."""

    def __init__(self, file: BaseFile, changes: dict[str, list[Change]]) -> None:
        self._file, self._changes = file, changes
        self.difference = 0.0

    def data(self, entry: Entry) -> Iterable[Buffer]:
        changes = self._changes.get(entry.name)
        return [self._bytes(entry, changes)] if changes else self._file.reader.chunks(entry.name)

    def _bytes(self, entry: Entry, changes: list[Change]) -> Buffer:
        stored = self._file.weight(entry.name)
        exact = changed(stored, changes)
        rounded = exact.to(stored.dtype)
        back = rounded.to(exact.dtype)
        if not back.isfinite().all():
            names = ", ".join(dict.fromkeys(change.source for change in changes))
            raise DivergedError(
                f"With {names}, {entry.name} grows beyond what {entry.dtype} numbers can hold, so no file is written. Bake with lower weights, or take the base in bf16 or fp32."
            )
        self.difference = max(self.difference, float((back - exact).abs().max()))
        return memoryview(rounded.contiguous().view(torch.uint8).numpy()).cast("B")  # type: ignore[arg-type]


def _add(changes: dict[str, list[Change]], file: BaseFile, path: Path, weight: float) -> metadata_tools.Source:
    """Adds the changes of one LoRA."""
    family = lora_kinds.identify(path).family
    if family is not None and family.id != file.family.id:
        raise ModelError(
            f"{path.name} is made for {family.title} and {file.path.name} is {file.identity.title}; a LoRA can only be baked into a model of its own family."
        )
    lora = lora_reading.read(path, file.family)
    layers = lora_tools.layers(lora.tensors, path.name, dora=True)
    found = {stem: file.layers.find(stem) for stem in layers}
    missing = [stem for stem, origin in found.items() if origin is None]
    if missing:
        raise ModelError(
            f"{path.name} has {_count(len(missing))} that {file.path.name} does not have, e.g. {missing[0]}. {_advice(missing[0], file)}"
        )
    for stem, origin in found.items():
        assert origin is not None
        layer, shape = layers[stem], file.layers.shape(origin)
        if misfit := _misfit(layer, shape):
            raise ModelError(f"{path.name} does not fit {file.path.name}: layer {stem} {misfit}.")
        changes.setdefault(origin.name, []).append(Change(stem, layer, weight, origin.third, path.name))
    return metadata_tools.Source(metadata_tools.title_of(lora.metadata, path.stem), lora.metadata, weight)


def _misfit(layer: Layer, shape: tuple[int, ...]) -> str:
    """Why the layer cannot be added to a weight of that shape; empty when it can."""
    kernel = () if math.prod(shape[2:]) == 1 else shape[2:]
    if layer.fits != (*shape[:2], *kernel):
        return f"is {size_words(layer.fits)}, in the model it is {size_words((*shape[:2], *kernel))}"
    return ""


def _entries(header: lora_file.Header, *, by_size: bool) -> list[Entry]:
    """The tensors in the file's order; by_size: those of wider numbers first, as the format has them for alignment."""
    names = sorted(header.spans, key=lambda name: header.spans[name])
    if by_size:
        names.sort(key=lambda name: -DTYPE_BYTES[header.dtypes[name]])
    return [Entry(name, header.dtypes[name], header.shapes[name]) for name in names]


def _rows(count: int, third: int) -> slice:
    return slice(third * (count // 3), (third + 1) * (count // 3))


def _count(number: int) -> str:
    return f"{number} layer{'s' * (number != 1)}"


def _advice(stem: str, file: BaseFile) -> str:
    if stem.startswith("lora_te") and len(file.layers.parts) <= len(file.family.text_parts):
        return "It holds no text encoder; choose the whole checkpoint."
    return f"Choose a LoRA made for {file.family.title}."
