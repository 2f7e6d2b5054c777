"""Proof of load of a file under PEFT's names: diffusers' own loader must place each layer, with the numbers that were trained."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import safetensors
import safetensors.torch

from trainer import checkpoint, clients, families, loaded_layers, lora_file, preflight
from trainer.errors import ModelError, RunError
from trainer.families import clients as rules
from trainer.loaded_layers import Layer, Layers
from trainer.proof import Proof
from trainer.tasks import Tell, each, quiet

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from trainer.families.backbone import Backbone
    from trainer.run_folder import RunFolder

_STEPS = {"F16": 2**-10, "BF16": 2**-7, "F32": 2**-20}  # two roundings, as a share of a number
_TINY = 2**-24  # fp16's last step below 2^-14, where it no longer rounds by a share
_PROGRAMS = ("diffusers",)
_SKIPPED = "that is done for kohya's names"


def prove(run: RunFolder, step: int, path: Path, tell: Tell = quiet) -> Proof:
    """Loads the file with diffusers into a model without weights, and compares each layer's change with the checkpoint's.

    Raises:
        ModelError: it would not load as it was trained, or the base model, whose layers it must fit, is gone.
        RunError: the checkpoint cannot be read.
        Cancelled: by `tell`.
    """
    tell("Reading the file", 0, 0)
    settings = run.settings()
    backbone = families.load(preflight.base_path(settings.base), settings.vae)
    configs = {part: backbone.source.config(part) for part in ("unet", *backbone.family.text_parts)}
    source = checkpoint.lora_file(run, step)
    try:
        trained = _trained(safetensors.torch.load_file(source), backbone, configs)
    except (OSError, KeyError, safetensors.SafetensorError):
        raise RunError(f"The checkpoint {source} is damaged; the file cannot be compared with it.") from None
    parts = [part for part in configs if any(place[0] == part for place in trained)]
    try:
        found = loaded_layers.by_diffusers(path, loaded_layers.frames(backbone, parts, configs))
    except NotImplementedError:  # diffusers made room for a layer by its name and found no numbers to put there
        raise clients.fault(path, "diffusers finds no numbers for a layer", "it would be left out") from None
    if odd := sorted(found.keys() ^ trained.keys()):
        said = "was trained and is not loaded" if odd[0] in trained else "was never trained and is loaded"
        raise clients.fault(
            path, f"layer {odd[0][1]} of {odd[0][0]} {said}", "pictures would not look like the previews"
        )
    dtype = next(iter(lora_file.read_header(path).dtypes.values()))
    for place in each(sorted(trained), "Comparing layers", tell):
        if not _is_same(trained[place], found[place], dtype):
            raise clients.fault(
                path, f"layer {place[1]} of {place[0]} holds other numbers than were trained", "pictures would not look like the previews",
            )  # fmt: skip
    return Proof(_PROGRAMS, math.nan, len(trained), _SKIPPED)


def _trained(tensors: dict[str, torch.Tensor], backbone: Backbone, configs: dict[str, dict[str, object]]) -> Layers:
    """The checkpoint's layers where the rules of other programs place them."""
    blocks = rules.blocks_of(configs["unet"], {part: configs[part] for part in backbone.family.text_parts})
    table, out = rules.slots(backbone.family.id, blocks), {}
    for stem in dict.fromkeys(key.split(".")[0] for key in tensors):
        if stem not in table:
            raise ModelError(
                f"The checkpoint has a layer {stem} that its base model has not. Choose the model it was trained on."
            )
        down, up = (tensors[f"{stem}.lora_{half}.weight"] for half in ("down", "up"))
        magnitude = tensors.get(f"{stem}.dora_scale")
        scale = float(tensors[f"{stem}.alpha"]) / len(down)
        layer = Layer(down, up, scale, None if magnitude is None else magnitude.flatten())
        out[table[stem].part, table[stem].module] = layer
    return out


def _is_same(mine: Layer, theirs: Layer, dtype: str) -> bool:
    """Whether they change the weights alike, but for rounding of the halves U and D: |dU D + U dD| <= |dU| |D| + |U| |dD|."""
    if mine.down.shape[1:] != theirs.down.shape[1:] or len(mine.up) != len(theirs.up):
        return False
    if (mine.magnitude is None) != (theirs.magnitude is None):
        return False
    step, root = _STEPS[dtype], math.sqrt(mine.scale)  # the file shares the scale out to both halves
    if mine.magnitude is not None and theirs.magnitude is not None:
        apart = (mine.magnitude - theirs.magnitude).abs()
        if not bool((apart <= step * mine.magnitude.abs() + _TINY).all()):
            return False
    up, down = float(mine.up.norm()) * root, float(mine.down.norm()) * root
    coarse = _TINY * (math.sqrt(mine.up.numel()) * down + math.sqrt(mine.down.numel()) * up)
    distance = math.sqrt(max(0.0, _squared([(mine, 1.0), (theirs, -1.0)])))
    return distance <= step * up * down + coarse  # not for NaN


def _squared(layers: list[tuple[Layer, float]]) -> float:
    """The squared length of a sum of changes: |U D|^2 is the sum of (U'U)(DD'), so that nothing dense is made."""
    halves = [
        (layer.down.flatten(1).double(), layer.up.flatten(1).double() * layer.scale * sign) for layer, sign in layers
    ]
    return sum(float(((left[1].T @ right[1]) * (left[0] @ right[0].T)).sum()) for left in halves for right in halves)
