"""Makes a LoRA of the difference between two checkpoints, layer by layer: the best approximation of a low rank."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from trainer import lora_file, lora_tools, metadata, metadata_tools, weights_file
from trainer.base_file import BaseFile
from trainer.errors import ModelError, os_message
from trainer.lora_rank import Rule, split
from trainer.lora_tools import Made, Tensors, size_words
from trainer.tasks import each, quiet

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from trainer.families.checkpoint_layers import Target
    from trainer.families.original import Origin
    from trainer.tasks import Tell


def extract_file(
    tuned: Path,
    base: Path,
    out: Path,
    rule: Rule,
    precision: str = "fp16",
    title: str | None = None,
    tell: Tell = quiet,
) -> Made:
    """Writes the LoRA that turns `base` nearly into `tuned`, and reads it back. An existing `out` is replaced.

    Layers without a difference are left out. A difference that is nothing but rounding (one file in fp16, the other in
    fp32) is none. Convolutions get layers when the rule has a rank for them. One pair of weights is in memory at a time.

    Raises:
        ModelError: a file is no checkpoint, they are of different families or sizes, or do not differ.
        RunError: the file cannot be written, or is one of the sources.
        DivergedError: a number does not fit in the precision.
        Cancelled: by `tell`; nothing is written.
    """
    lora_tools.keep_sources([tuned, base], out)
    with BaseFile(tuned) as tuned_file, BaseFile(base) as base_file:
        if tuned_file.family is not base_file.family:
            raise ModelError(
                f"{tuned.name} is {tuned_file.identity.title} and {base.name} is {base_file.identity.title}; a LoRA can only be extracted from two models of one family."
            )
        tensors, kept = difference(tuned_file, base_file, rule, tell)
        v = "v_prediction" in (tuned_file.identity.prediction, base_file.identity.prediction)
        family = base_file.family
    try:
        label = f"Computing the hash of {base.name}"
        hashes = metadata.Hashes(lora_file.short_hash(base), weights_file.sha256(base, tell, label))
    except OSError as error:
        raise ModelError(os_message(f"{base} cannot be read", error)) from None
    told = metadata_tools.extracted(
        metadata_tools.Extracted(family, v, base.name, tuned.name, hashes), title or tuned.stem
    )
    return lora_tools.write(out, tensors, told, precision, kept, tell)


def difference(tuned: BaseFile, base: BaseFile, rule: Rule, tell: Tell = quiet) -> tuple[Tensors, float]:
    """The layers of the new LoRA, and the part of the difference's length, in the layers that have one, that is left.

    Raises:
        ModelError: the files do not fit together, or do not differ.
        Cancelled: by `tell`.
    """
    out: Tensors = {}
    left, whole = 0.0, 0.0
    pairs = list(_pairs(tuned, base, convolutions=rule.most_wide is not None))
    for target, origin in each(pairs, "Comparing layers", tell):
        delta = _delta(tuned.of(origin), base.of(target.origin))
        if delta is None:
            continue
        best = split(delta.flatten(1), rule, wide=math.prod(delta.shape[2:]) > 1)
        lora_tools.put(out, target.stem, best.down, best.up, delta.shape[1:])
        left, whole = left + best.kept, whole + best.whole
    if not out:
        raise ModelError(
            f"{tuned.path.name} and {base.path.name} have the same weights in all layers that a LoRA can change, so there is nothing to extract."
        )
    _fill(out, [target for target, _ in pairs], base)
    return out, math.sqrt(left / whole) if whole else 1.0


def _pairs(tuned: BaseFile, base: BaseFile, *, convolutions: bool) -> Iterable[tuple[Target, Origin]]:
    """Modules of the base, with their place in the other file; parts that one of the two lacks are left out."""
    theirs = {target.stem: target.origin for target in tuned.layers.targets(convolutions=convolutions)}
    for target in base.layers.targets(convolutions=convolutions):
        origin = theirs.pop(target.stem, None)
        if origin is None:
            if base.layers.part(target.stem) in tuned.layers.parts:
                raise _lacking(tuned, target.stem)
            continue
        ours, other = base.layers.shape(target.origin), tuned.layers.shape(origin)
        if ours != other:
            raise ModelError(
                f"{tuned.path.name} and {base.path.name} are of different sizes: {target.stem} is {_words(other)} in the one and {_words(ours)} in the other. Choose the model that {tuned.path.name} was trained from."
            )
        yield target, origin
    left = next((stem for stem in theirs if base.layers.part(stem) in base.layers.parts), None)
    if left is not None:
        raise _lacking(base, left)


def _words(shape: tuple[int, ...]) -> str:
    return size_words(shape if math.prod(shape[2:]) > 1 else shape[:2])


def _lacking(file: BaseFile, stem: str) -> ModelError:
    return ModelError(f"{file.path.name} lacks layer {stem}, which the other model has. Copy or download it again, whole.")  # fmt: skip


def _delta(tuned: torch.Tensor, base: torch.Tensor) -> torch.Tensor | None:
    """What was changed, fp32; None where nothing was but the number format."""
    coarse = max(tuned.dtype, base.dtype, key=lambda dtype: torch.finfo(dtype).eps)
    if torch.equal(tuned.to(coarse).float(), base.to(coarse).float()):
        return None
    return (tuned.double() - base.double()).float() if torch.float64 in (tuned.dtype, base.dtype) else tuned.float() - base.float()  # fmt: skip


def _fill(out: Tensors, targets: Sequence[Target], base: BaseFile) -> None:
    """Adds layers of zeros to those that must be in a file together with others that are."""
    there = {target.together for target in targets if f"{target.stem}.alpha" in out}
    for target in targets:
        if target.together in there - {""} and f"{target.stem}.alpha" not in out:
            outputs, *inputs = base.layers.shape(target.origin)
            lora_tools.put(out, target.stem, torch.zeros(1, math.prod(inputs)), torch.zeros(outputs, 1), inputs)
