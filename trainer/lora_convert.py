"""Renames LoRA files between kohya's names and those of diffusers and PEFT.

kohya   lora_unet_<path with underscores>.lora_down.weight, .lora_up.weight, .alpha, .dora_scale
PEFT    unet.<path>.lora_A.weight, .lora_B.weight, .lora_magnitude_vector; scale 1, so alpha / rank is folded in

DoRA is the same in both, magnitude * (W + dW) / ||W + dW|| for each output; only the magnitudes' shapes differ.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from trainer import export, lora_file, lora_reading, lora_tools, metadata_tools
from trainer.errors import ModelError
from trainer.families import lora_names

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch

    from trainer.families import Family
    from trainer.lora_tools import Layer, Tensors


def to_peft(lora: Mapping[str, Layer], name: str) -> Tensors:
    """Under diffusers' names, with alpha / rank folded in.

    Raises:
        ModelError: a layer is of no family that is known, or has a magnitude for each input, which peft does not know.
    """
    out: Tensors = {}
    for stem, layer in lora.items():
        found = lora_names.path(stem)
        if found is None:
            raise ModelError(f"{name} has a layer that no known family of models has: {stem}. It cannot be renamed.")
        down, up = layer.halves()
        module = ".".join(found)
        out[f"{module}.lora_A.weight"] = down.reshape(layer.down.shape).contiguous()
        out[f"{module}.lora_B.weight"] = up.reshape(layer.up.shape).contiguous()
        if layer.magnitude is not None:
            if len(layer.magnitude) != len(up):
                raise ModelError(
                    f"{name} is a DoRA with a magnitude for each input of a layer, where PEFT has one for each output. It cannot be renamed."
                )
            shape = (-1,) if layer.down.dim() == 2 else (1, -1, *[1] * (layer.down.dim() - 2))
            # WORKAROUND: transformers 5.23 looks for PEFT's own name of it, where diffusers takes either.
            ending = "" if found[0] == "unet" else ".weight"
            out[f"{module}.lora_magnitude_vector{ending}"] = layer.magnitude.float().reshape(shape).contiguous()
    return out


def to_kohya(
    tensors: Mapping[str, torch.Tensor], family: Family, name: str, configuration: Mapping[str, Any] | None = None
) -> Tensors:
    """Under kohya's names for that family, with an alpha for each layer.

    configuration: PEFT's, by part and field ("unet.lora_alpha"); without it, and without an alpha in the file, alpha is
    the rank, as diffusers takes it.

    Raises:
        ModelError: a key is not one that is known, or a layer is not whole.
    """
    return lora_reading.normalised(tensors, name, family, configuration)


def convert_file(source: Path, out: Path, to: str, precision: str | None = None) -> lora_tools.Made:
    """Writes the LoRA under the names of `to` ("kohya" or "peft") and reads it back; an existing `out` is replaced.

    Raises:
        ModelError: the file cannot be read, is no LoRA of a known family, or has these names already.
        RunError: the file cannot be written, or is the source.
        DivergedError: a number does not fit in the precision.
    """
    lora_tools.keep_sources([source], out)
    header = lora_file.read_header(source)
    lora = lora_reading.read(source)
    is_kohya = lora.kind.naming == "kohya"
    # Kohya's own names can still be spelled as few programs read them (SDXL in diffusers' block names).
    if is_kohya == (to == "kohya") and (not is_kohya or lora.tensors.keys() >= header.shapes.keys()):
        raise ModelError(f"{source.name} has {to}'s names already; there is nothing to convert.")
    if to == "peft":
        made = to_peft(lora_tools.layers(lora.tensors, source.name, dora=True), source.name)
        told = _with_ranks(lora.metadata, made, ".lora_A.weight")
    else:
        if lora.kind.family is None:
            raise ModelError(f"It cannot be told from {source.name} which family of models it was made for.")
        made = lora.tensors
        alphas = {float(v) for k, v in made.items() if k.endswith(".alpha")}
        told = _with_ranks(lora.metadata, made, ".lora_down.weight")
        told["ss_network_alpha"] = f"{alphas.pop():g}" if len(alphas) == 1 else metadata_tools.VARYING
    precision = precision or lora_tools.precision_of(header)
    difference = export.write(out, made, told, precision)
    ranks = [len(v) for k, v in made.items() if k.endswith((".lora_A.weight", ".lora_down.weight"))]
    return lora_tools.Made(len(ranks), (min(ranks), max(ranks)), 1.0, precision, difference)


def _with_ranks(told: dict[str, str], tensors: Tensors, ending: str) -> dict[str, str]:
    downs = [value for key, value in tensors.items() if key.endswith(ending)]
    wide = [len(d) for d in downs if math.prod(d.shape[2:]) > 1]
    return metadata_tools.sized(told, [len(d) for d in downs if math.prod(d.shape[2:]) == 1], wide)
