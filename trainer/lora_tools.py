"""Makes LoRA files of LoRA files: weighted sums of several, and smaller ones. No dense weight is ever made.

A layer's change is dW = alpha / rank * up @ down, convolutions flattened. Sums are exact: halves stand side by side, so
ranks add. The best approximation of a lower rank (Eckart and Young 1936) comes from the singular values of a small core,
dW = Qu (Ru Rd^T) Qd^T with up = Qu Ru and down^T = Qd Rd.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import safetensors
import safetensors.torch
import torch

from trainer import export, lora_file, metadata_tools
from trainer.errors import ModelError, RunError
from trainer.families import lora_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_ENDINGS = (".lora_down.weight", ".lora_up.weight", ".alpha")
_PRECISIONS = {"F16": "fp16", "BF16": "bf16"}

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Layer:
    """One module's halves as in the file: down (rank, inputs, ...), up (outputs, rank, ...)."""

    down: torch.Tensor
    up: torch.Tensor
    alpha: float

    @property
    def rank(self) -> int:
        """Columns of up, rows of down."""
        return self.down.shape[0]

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
class Rule:
    """How many singular values S of each layer are kept.

    rank: so many. energy: the fewest whose squares sum up to that share of all squares. frobenius: the same for the root
    of that share, the part of dW's length that is left (kohya's sv_fro).
    """

    kind: Literal["rank", "energy", "frobenius"]
    amount: float

    def count(self, values: torch.Tensor) -> int:
        """How many of these values, largest first, are kept; at least one."""
        if self.kind == "rank":
            return max(1, min(int(self.amount), len(values)))
        share = self.amount if self.kind == "energy" else self.amount**2
        energy = values.double().square().cumsum(0)
        return min(len(values), 1 + int((energy < share * energy[-1] * (1 - 1e-12)).sum()))


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


def layers(tensors: Mapping[str, torch.Tensor], name: str) -> dict[str, Layer]:
    """A LoRA's layers by stem. name: of the file, for messages.

    Raises:
        ModelError: it is no plain LoRA in kohya's format, or a layer is not whole.
    """
    if any(key.endswith(".dora_scale") for key in tensors):
        raise ModelError(
            f"{name} is a DoRA, whose strength depends on the base model, so it cannot be merged, resized or converted. Use a LoRA trained without DoRA."
        )
    odd = next((key for key in tensors if not key.endswith(_ENDINGS)), None)
    if odd is not None or not tensors:
        raise ModelError(
            f"{name} is no plain LoRA in the usual (kohya) format: it holds {odd or 'nothing'}. For PEFT or diffusers names, use convert first."
        )
    out: dict[str, Layer] = {}
    for stem in dict.fromkeys(key[: -len(end)] for key in tensors for end in _ENDINGS if key.endswith(end)):
        down, up, alpha = (tensors.get(stem + end) for end in _ENDINGS)
        if down is None or up is None or down.dim() < 2 or up.dim() < 2 or up.flatten(1).shape[1] != down.shape[0]:
            raise ModelError(f"{name} is damaged: the two halves of layer {stem} do not belong together.")
        if not all(bool(half.isfinite().all()) for half in (down, up)) or not down.numel():
            raise ModelError(f"{name} is damaged: layer {stem} is empty or holds numbers that are not finite.")
        if alpha is not None and (alpha.numel() != 1 or not alpha.isfinite().all()):
            raise ModelError(f"{name} is damaged: the alpha of layer {stem} is not a number.")
        out[stem] = Layer(down, up, float(down.shape[0] if alpha is None else alpha.item()))
    return out


def merge(
    loras: Sequence[tuple[Mapping[str, Layer], float]], names: Sequence[str], rule: Rule | None = None
) -> tuple[Tensors, float]:
    """The weighted sum: tensors of the new file, and the part of its length that is left after `rule` (1 without).

    Ranks add, but never beyond the module's own size, at which the sum is exact already.

    Raises:
        ModelError: a layer is of different sizes in two of them.
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
                    f"{name} and {first} do not fit together: layer {stem} is {_size(layer)} in the one and {_size(others[0][0])} in the other. "
                    "Merge LoRAs that were made for the same family of models."
                )
            others.append((layer, weight))
    out: Tensors = {}
    left, whole = 0.0, 0.0
    for stem, parts in found.items():
        halves = [layer.halves(weight) for layer, weight in parts]
        down, up = torch.cat([d for d, _ in halves]), torch.cat([u for _, u in halves], dim=1)
        most = min(up.shape[0], down.shape[1])
        if rule is not None or len(down) > most:
            down, up, kept, all_ = shrunk(down, up, rule or Rule("rank", most))
            left, whole = left + kept, whole + all_
        _put(out, stem, down, up, max((layer for layer, _ in parts), key=lambda layer: layer.down.dim()))
    return out, math.sqrt(left / whole) if whole else 1.0


def resize(lora: Mapping[str, Layer], rule: Rule) -> tuple[Tensors, float]:
    """Each layer at the rank that the rule gives, never above its own, and the part of the length that is left."""
    return merge([(lora, 1.0)], ["the file"], rule)


def shrunk(down: torch.Tensor, up: torch.Tensor, rule: Rule) -> tuple[torch.Tensor, torch.Tensor, float, float]:
    """The best approximation of up @ down: (down, up), then the sums of squared singular values kept and of all.

    Each half gets the root of the singular values. Cost: that of QR, linear in the module's size; fp64 as squares of
    values are compared.
    """
    left, small_left = torch.linalg.qr(up.double())
    right, small_right = torch.linalg.qr(down.double().T)
    u, values, v = torch.linalg.svd(small_left @ small_right.T, full_matrices=False)
    count = rule.count(values)
    root = values[:count].sqrt()
    new_up = (left @ u[:, :count] * root).float()
    new_down = (right @ v[:count].T * root).T.float()
    energy = values.square()
    return new_down, new_up, float(energy[:count].sum()), float(energy.sum())


def merge_files(
    sources: Sequence[tuple[Path, float]], out: Path, precision: str, rule: Rule | None = None, title: str | None = None
) -> Made:
    """Writes the weighted sum of LoRA files and reads it back. An existing `out` is replaced.

    Raises:
        ModelError: a file cannot be read, is no plain LoRA, or two do not fit together.
        RunError: the file cannot be written, or is one of the sources.
        DivergedError: a number does not fit in the precision.
    """
    keep_sources([path for path, _ in sources], out)
    headers = [lora_file.read_header(path) for path, _ in sources]
    known = [(lora_names.family_of(h.metadata, h.shapes), path.name) for h, (path, _) in zip(headers, sources, strict=True)]  # fmt: skip
    families = {family.id: (family.title, name) for family, name in known if family is not None}
    if len(families) > 1:
        (title_a, name_a), (title_b, name_b) = list(families.values())[:2]
        raise ModelError(
            f"{name_a} is made for {title_a} and {name_b} for {title_b}; LoRAs of different families cannot be merged."
        )
    loras = [(layers(read(path), path.name), weight) for path, weight in sources]
    tensors, kept = merge(loras, [path.name for path, _ in sources], rule)
    told = [
        metadata_tools.Source(metadata_tools.title_of(h.metadata, path.stem), h.metadata, weight)
        for h, (path, weight) in zip(headers, sources, strict=True)
    ]
    return _write(out, tensors, metadata_tools.merged(told, title), precision, kept)


def resize_file(source: Path, out: Path, rule: Rule, precision: str | None = None) -> Made:
    """Writes the LoRA at other ranks and reads it back; precision: None takes the file's. An existing `out` is replaced.

    Raises:
        ModelError: the file cannot be read or is no plain LoRA.
        RunError: the file cannot be written, or is the source.
        DivergedError: a number does not fit in the precision.
    """
    keep_sources([source], out)
    header = lora_file.read_header(source)
    tensors, kept = resize(layers(read(source), source.name), rule)
    return _write(out, tensors, header.metadata, precision or precision_of(header), kept)


def read(path: Path) -> Tensors:
    """All tensors, copied into memory, so that the file is free.

    Raises:
        ModelError: the file cannot be read.
    """
    try:
        return safetensors.torch.load(path.read_bytes())
    except (OSError, safetensors.SafetensorError) as error:
        raise ModelError(f"{path} cannot be read ({error}). Copy it again.") from None


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


def _write(out: Path, tensors: Tensors, told: dict[str, str], precision: str, kept: float) -> Made:
    downs = [value for key, value in tensors.items() if key.endswith(".lora_down.weight")]
    wide = [len(d) for d in downs if math.prod(d.shape[2:]) > 1]
    usual = [len(d) for d in downs if math.prod(d.shape[2:]) == 1]
    difference = export.write(out, tensors, metadata_tools.sized(told, usual, wide), precision)
    ranks = usual + wide
    return Made(len(downs), (min(ranks), max(ranks)), kept, precision, difference)


def _put(out: Tensors, stem: str, down: torch.Tensor, up: torch.Tensor, like: Layer) -> None:
    """Adds a layer, shaped as `like`, whose alpha is its rank."""
    rank = len(down)
    out[f"{stem}.lora_down.weight"] = down.reshape(rank, *like.down.shape[1:]).contiguous()
    out[f"{stem}.lora_up.weight"] = up.reshape(up.shape[0], rank, *like.up.shape[2:]).contiguous()
    out[f"{stem}.alpha"] = torch.tensor(float(rank))


def _size(layer: Layer) -> str:
    outputs, inputs, *kernel = layer.fits
    return f"{inputs} to {outputs}" + (f" ({'x'.join(map(str, kernel))})" if kernel else "")
