"""What LoRA and model files are, and how large a new LoRA will be, from headers alone; imports neither torch nor Qt widgets."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.texts import size, tr
from trainer import lora_file, lora_kinds, metadata_tools
from trainer.errors import AtelierError
from trainer.families import FAMILIES, headers, lora_keys, lora_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

_CHANGEABLE = (
    "base",
    "inpainting",
    "editing",
    "unet",
)  # kinds of models that LoRAs can be baked into and extracted from
_BYTES = {"fp32": 4}  # 2 for the others
_PRECISIONS = {"F16": "fp16", "BF16": "bf16"}


@dataclass(frozen=True)
class Layer:
    """The size of one layer. inputs: times the kernel's area. wide: a convolution of more than one point."""

    outputs: int
    inputs: int
    rank: int
    wide: bool

    def bytes_at(self, rank: int, number: int) -> int:
        """Of both halves and alpha, with so many bytes a number."""
        return (rank * (self.outputs + self.inputs) + 1) * number


@dataclass(frozen=True)
class Facts:
    """What a LoRA file is. family: title of the models it is for, or "". names: whose, as in `trainer.lora_kinds`.

    problem: why no tool can work on it; then the rest is empty.
    """

    path: Path
    title: str = ""
    family: str = ""
    names: str = ""
    is_dora: bool = False
    precision: str = ""
    size_bytes: int = 0
    header_bytes: int = 0
    layers: Mapping[str, Layer] = field(default_factory=dict)
    problem: str = ""

    @property
    def ranks(self) -> tuple[int, int]:
        """Smallest and largest."""
        found = [layer.rank for layer in self.layers.values()]
        return (min(found), max(found)) if found else (0, 0)

    @property
    def has_wide(self) -> bool:
        """Whether there are convolutions."""
        return any(layer.wide for layer in self.layers.values())


@dataclass(frozen=True)
class Expected:
    """What a tool will write, or why it cannot."""

    ranks: tuple[int, int] = (0, 0)
    size_bytes: int = 0
    problem: str = ""


@dataclass(frozen=True)
class ModelFacts:
    """What a model file is. family: title, or ""; about: in a few words; problem: why it cannot be used."""

    path: Path
    family: str = ""
    about: str = ""
    size_bytes: int = 0
    problem: str = ""


def look(path: Path) -> Facts:
    """Reads the header of a LoRA file; slow on slow disks."""
    try:
        header = lora_file.read_header(path)
        kind = lora_kinds.identify_header(header, path.name)
    except AtelierError as error:
        return Facts(path, path.stem, problem=str(error))
    title = metadata_tools.title_of(header.metadata, path.stem)
    halves: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, shape in header.shapes.items():
        if (key := lora_keys.split(name)) is not None and shape:
            halves.setdefault(key.module, {})[key.piece] = shape
    layers = {
        module: Layer(found["up"][0], math.prod(found["down"][1:]), found["down"][0], math.prod(found["down"][2:]) > 1)
        for module, found in halves.items()
        if len(found.get("up", ())) > 1 and len(found.get("down", ())) > 1
    }
    if not kind.usable or not layers:
        problem = kind.sentence if not kind.usable else tr("{name} is damaged: it has no whole layer.", name=path.name)
        return Facts(path, title, problem=problem)
    dtypes = list(header.dtypes.values())
    return Facts(
        path, title, kind.family.title if kind.family else "", kind.naming, any("magnitude" in found for found in halves.values()),
        _PRECISIONS.get(max(set(dtypes), key=dtypes.count), "fp32"), header.data_start + sum(b - a for a, b in header.spans.values()),
        header.data_start, layers,
    )  # fmt: skip


def look_at_model(path: Path) -> ModelFacts:
    """Reads the header of a checkpoint file."""
    try:
        found = headers.identify(path)
    except (AtelierError, OSError) as error:
        return ModelFacts(path, problem=str(error))
    if found.kind == "lora":
        return ModelFacts(path, problem=tr("{name} is a LoRA. Choose the file of a whole model, a checkpoint.", name=path.name))  # fmt: skip
    if not found.family or found.kind not in _CHANGEABLE:
        return ModelFacts(path, size_bytes=found.size_bytes, problem=found.sentence)
    about = " · ".join(part for part in (found.title, found.dtype, size(found.size_bytes)) if part)
    return ModelFacts(path, FAMILIES[found.family].title, about, found.size_bytes)


def merged(files: Sequence[Facts], precision: str, limit: int | None = None) -> Expected:
    """What a sum of LoRAs will be; limit: the rank that it is cut to."""
    if problem := _mixed(files):
        return Expected(problem=problem)
    spelling = lora_names.in_one_spelling(stem for file in files for stem in file.layers)
    found: dict[str, list[Layer]] = {}
    for file in files:
        for stem, layer in file.layers.items():
            others = found.setdefault(spelling[stem], [])
            if others and (others[0].outputs, others[0].inputs) != (layer.outputs, layer.inputs):
                return Expected(problem=tr("{name} does not fit to the others: its layers are of another size. LoRAs for the same family of models can be merged.", name=file.title))  # fmt: skip
            others.append(layer)
    sizes = [(parts[0], _cut(parts[0], sum(p.rank for p in parts), limit)) for parts in found.values()]
    return _expected(sizes, precision, max(f.header_bytes for f in files))


def resized(file: Facts, rank: int, wide_rank: int | None = None, precision: str = "") -> Expected:
    """What a LoRA will be at another rank.

    wide_rank: of its convolutions, as the others unless given. precision: the file's unless given.
    """
    sizes = [(x, min(x.rank, wide_rank if x.wide and wide_rank else rank)) for x in file.layers.values()]
    return _expected(sizes, precision or file.precision, file.header_bytes)


def ranks(low_and_high: tuple[int, int]) -> str:
    """E.g. "rank 16" or "ranks 4 to 16"."""
    low, high = low_and_high
    return tr("rank {rank}", rank=low) if low == high else tr("ranks {low} to {high}", low=low, high=high)


def _mixed(files: Sequence[Facts]) -> str:
    known = {file.family: file.title for file in files if file.family}
    if len(known) < 2:
        return ""
    (family, title), (other_family, other_title) = list(known.items())[:2]
    return tr(
        "“{title}” is made for {family} and “{other_title}” for {other_family}. Only LoRAs for the same family of models can be merged.",
        title=title, family=family, other_title=other_title, other_family=other_family,
    )  # fmt: skip


def _cut(layer: Layer, rank: int, limit: int | None) -> int:
    return min(rank, layer.outputs, layer.inputs, limit or rank)


def _expected(sizes: Iterable[tuple[Layer, int]], precision: str, header_bytes: int) -> Expected:
    number = _BYTES.get(precision, 2)
    all_sizes = list(sizes)
    found = [rank for _, rank in all_sizes]
    total = sum(layer.bytes_at(rank, number) for layer, rank in all_sizes) + header_bytes
    return Expected((min(found), max(found)), total)
