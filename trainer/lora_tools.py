"""Makes LoRA files of LoRA files: weighted sums of several, and smaller ones. No dense weight is ever made.

A layer's change is dW = alpha / rank * up @ down, convolutions flattened. Sums are exact: halves stand side by side, so
ranks add; `trainer.lora_rank` makes them lower again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from trainer import export, lora_file, lora_reading, metadata_tools
from trainer.errors import ModelError, RunError
from trainer.families import lora_names
from trainer.lora_rank import Rule, shrunk
from trainer.tasks import each, quiet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from trainer.tasks import Tell

_ENDINGS = (".lora_down.weight", ".lora_up.weight", ".alpha")
_MAGNITUDE = ".dora_scale"
_PRECISIONS = {"F16": "fp16", "BF16": "bf16"}

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Layer:
    """One module's halves as in the file: down (rank, inputs, ...), up (outputs, rank, ...).

    magnitude: of DoRA, as the file has it.
    """

    down: torch.Tensor
    up: torch.Tensor
    alpha: float
    magnitude: torch.Tensor | None = None

    @property
    def rank(self) -> int:
        """Columns of up, rows of down."""
        return self.down.shape[0]

    @property
    def is_wide(self) -> bool:
        """Whether it is a convolution with a kernel, which has a rank of its own."""
        return math.prod(self.down.shape[2:]) > 1

    @property
    def fits(self) -> tuple[int, ...]:
        """Outputs, inputs and kernel of the module, the kernel left out when it is 1x1 (files differ in writing it)."""
        kernel = self.down.shape[2:]
        return (self.up.shape[0], self.down.shape[1], *(() if math.prod(kernel) == 1 else kernel))

    def halves(self, weight: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
        """Flattened fp32 (down, up) whose product is weight * dW; what is folded in is shared, so that fp16 can hold both."""
        factor = weight * self.alpha / self.rank
        root = math.sqrt(abs(factor))
        return self.down.flatten(1).float() * root, self.up.flatten(1).float() * math.copysign(root, factor)


@dataclass(frozen=True)
class Made:
    """A file that was written.

    layers: how many. ranks: smallest and largest. kept: length of all changes together after leaving out singular
    values, as a part of before. difference: the largest that rounding to the precision made.
    """

    layers: int
    ranks: tuple[int, int]
    kept: float
    precision: str
    difference: float


def layers(tensors: Mapping[str, torch.Tensor], name: str, *, dora: bool = False) -> dict[str, Layer]:
    """A LoRA's layers by stem. name: of the file, for messages. dora: whether one may have magnitudes.

    Raises:
        ModelError: it is no plain LoRA in kohya's format, or a layer is not whole.
    """
    if not dora and any(key.endswith(_MAGNITUDE) for key in tensors):
        raise ModelError(
            f"{name} is a DoRA, whose strength depends on the base model, so it cannot be merged, resized or converted. Use a LoRA trained without DoRA, or bake it into its base model."
        )
    endings = (*_ENDINGS, _MAGNITUDE)
    odd = next((key for key in tensors if not key.endswith(endings)), None)
    if odd is not None or not tensors:
        raise ModelError(
            f"{name} is no plain LoRA in the usual (kohya) format: it holds {odd or 'nothing'}. For PEFT or diffusers names, use convert first."
        )
    stems = dict.fromkeys(key[: -len(end)] for key in tensors for end in endings if key.endswith(end))
    return {stem: _layer(tensors, stem, name) for stem in stems}


def _layer(tensors: Mapping[str, torch.Tensor], stem: str, name: str) -> Layer:
    down, up, alpha = (tensors.get(stem + end) for end in _ENDINGS)
    magnitude = tensors.get(stem + _MAGNITUDE)
    if down is None or up is None or down.dim() < 2 or up.dim() < 2 or up.flatten(1).shape[1] != down.shape[0]:
        raise ModelError(f"{name} is damaged: the two halves of layer {stem} do not belong together.")
    parts = [part for part in (down, up, magnitude) if part is not None]
    if not all(bool(part.isfinite().all()) for part in parts) or not down.numel():
        raise ModelError(f"{name} is damaged: layer {stem} is empty or holds numbers that are not finite.")
    if alpha is not None and (alpha.numel() != 1 or not alpha.isfinite().all()):
        raise ModelError(f"{name} is damaged: the alpha of layer {stem} is not a number.")
    return Layer(down, up, float(down.shape[0] if alpha is None else alpha.item()), magnitude)


def merge(
    loras: Sequence[tuple[Mapping[str, Layer], float]],
    names: Sequence[str],
    rule: Rule | None = None,
    tell: Tell = quiet,
    label: str = "Merging layers",
) -> tuple[Tensors, float]:
    """The weighted sum: tensors of the new file, and the part of its length that is left after `rule` (1 without).

    Ranks add, but never beyond the module's own size, at which the sum is exact already.

    Raises:
        ModelError: a layer is of different sizes in two of them.
        Cancelled: by `tell`.
    """
    spelling = lora_names.in_one_spelling(stem for lora, _ in loras for stem in lora)
    found: dict[str, list[tuple[Layer, float]]] = {}
    owner: dict[str, str] = {}
    for (lora, weight), name in zip(loras, names, strict=True):
        for stem, layer in lora.items():
            others = found.setdefault(spelling[stem], [])
            first = owner.setdefault(spelling[stem], name)
            if others and others[0][0].fits != layer.fits:
                raise ModelError(
                    f"{name} and {first} do not fit together: layer {stem} is {size_words(layer.fits)} in the one and {size_words(others[0][0].fits)} in the other. "
                    "Merge LoRAs that were made for the same family of models."
                )
            others.append((layer, weight))
    out: Tensors = {}
    left, whole = 0.0, 0.0
    for stem, parts in each(found.items(), label, tell):
        halves = [layer.halves(weight) for layer, weight in parts]
        down, up = torch.cat([d for d, _ in halves]), torch.cat([u for _, u in halves], dim=1)
        most = min(up.shape[0], down.shape[1])
        if rule is not None or len(down) > most:
            best = shrunk(down, up, rule or Rule("rank", most), wide=parts[0][0].is_wide)
            down, up, left, whole = best.down, best.up, left + best.kept, whole + best.whole
        put(out, stem, down, up, max((layer.down.shape[1:] for layer, _ in parts), key=len))
    return out, math.sqrt(left / whole) if whole else 1.0


def resize(lora: Mapping[str, Layer], rule: Rule, tell: Tell = quiet) -> tuple[Tensors, float]:
    """Each layer at the rank that the rule gives, never above its own, and the part of the length that is left."""
    return merge([(lora, 1.0)], ["the file"], rule, tell, "Resizing layers")


def merge_files(
    sources: Sequence[tuple[Path, float]],
    out: Path,
    precision: str,
    rule: Rule | None = None,
    title: str | None = None,
    tell: Tell = quiet,
) -> Made:
    """Writes the weighted sum of LoRA files and reads it back. An existing `out` is replaced.

    Raises:
        ModelError: a file cannot be read, is no plain LoRA, or two do not fit together.
        RunError: the file cannot be written, or is one of the sources.
        DivergedError: a number does not fit in the precision.
        Cancelled: by `tell`; nothing is written.
    """
    keep_sources([path for path, _ in sources], out)
    loras = [lora_reading.read(path) for path, _ in each(sources, "Reading files", tell)]
    names = [path.name for path, _ in sources]
    known = [(lora.kind.family, name) for lora, name in zip(loras, names, strict=True) if lora.kind.family]
    families = {family.id: (family.title, name) for family, name in known}
    if len(families) > 1:
        (title_a, name_a), (title_b, name_b) = list(families.values())[:2]
        raise ModelError(
            f"{name_a} is made for {title_a} and {name_b} for {title_b}; LoRAs of different families cannot be merged."
        )
    weights = [weight for _, weight in sources]
    parts = [layers(lora.tensors, name) for lora, name in zip(loras, names, strict=True)]
    tensors, kept = merge(list(zip(parts, weights, strict=True)), names, rule, tell)
    told = [
        metadata_tools.Source(metadata_tools.title_of(lora.metadata, path.stem), lora.metadata, weight)
        for lora, (path, weight) in zip(loras, sources, strict=True)
    ]
    return write(out, tensors, metadata_tools.merged(told, title), precision, kept, tell)


def resize_file(source: Path, out: Path, rule: Rule, precision: str | None = None, tell: Tell = quiet) -> Made:
    """Writes the LoRA at other ranks and reads it back; precision: None takes the file's. An existing `out` is replaced.

    Raises:
        ModelError: the file cannot be read or is no plain LoRA.
        RunError: the file cannot be written, or is the source.
        DivergedError: a number does not fit in the precision.
        Cancelled: by `tell`; nothing is written.
    """
    keep_sources([source], out)
    lora = lora_reading.read(source)
    tensors, kept = resize(layers(lora.tensors, source.name), rule, tell)
    return write(out, tensors, lora.metadata, precision or precision_of(lora_file.read_header(source)), kept, tell)


def precision_of(header: lora_file.Header) -> str:
    """The number format of most of a file's tensors, as `export.write` names it."""
    names = list(header.dtypes.values())
    return _PRECISIONS.get(max(set(names), key=names.count), "fp32") if names else "fp32"


def keep_sources(sources: Sequence[Path], out: Path) -> None:
    """Keeps the files that are read from being replaced by what is made of them.

    Raises:
        RunError: `out` is one of them.
    """
    if any(out.resolve() == source.resolve() for source in sources):
        raise RunError(f"{out} is the file that is read; choose another name for the new one.")


def write(out: Path, tensors: Tensors, told: dict[str, str], precision: str, kept: float, tell: Tell) -> Made:
    """Writes a file of layers whose alpha is their rank, and says in it which ranks they have.

    Raises:
        RunError: the file cannot be written.
        DivergedError: a number does not fit in the precision.
        Cancelled: by `tell`; nothing is written.
    """
    tell(f"Writing {out.name}", 0, 0)
    downs = [value for key, value in tensors.items() if key.endswith(".lora_down.weight")]
    wide = [len(d) for d in downs if math.prod(d.shape[2:]) > 1]
    usual = [len(d) for d in downs if math.prod(d.shape[2:]) == 1]
    difference = export.write(out, tensors, metadata_tools.sized(told, usual, wide), precision)
    ranks = usual + wide
    return Made(len(downs), (min(ranks), max(ranks)), kept, precision, difference)


def put(out: Tensors, stem: str, down: torch.Tensor, up: torch.Tensor, inputs: Sequence[int]) -> None:
    """Adds a layer, given as flat halves, whose alpha is its rank. inputs: of the module, with the kernel if it has one."""
    rank = len(down)
    out[f"{stem}.lora_down.weight"] = down.reshape(rank, *inputs).contiguous()
    out[f"{stem}.lora_up.weight"] = up.reshape(up.shape[0], rank, *[1] * (len(inputs) - 1)).contiguous()
    out[f"{stem}.alpha"] = torch.tensor(float(rank))


def size_words(fits: Sequence[int]) -> str:
    """A module's outputs, inputs and kernel (`Layer.fits`) in words, e.g. "320 to 640 (3x3)"."""
    outputs, inputs, *kernel = fits
    return f"{inputs} to {outputs}" + (f" ({'x'.join(map(str, kernel))})" if kernel else "")
