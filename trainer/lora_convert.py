"""Renames LoRA files between kohya's names and those of diffusers and PEFT.

kohya   lora_unet_<path with underscores>.lora_down.weight, .lora_up.weight, .alpha
PEFT    unet.<path>.lora_A.weight, .lora_B.weight; scale 1, so alpha / rank is folded in
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import torch

from trainer import export, lora_file, lora_tools, metadata_tools
from trainer.errors import ModelError
from trainer.families import lora_names

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from trainer.families import Family
    from trainer.lora_tools import Layer, Tensors

_CONFIGURATION = "lora_adapter_metadata"  # where diffusers keeps PEFT's settings
_KEY = re.compile(r"(?P<module>.+?)\.(?:lora_(?P<side>[AB])(?:\.(?!weight$)\w+)?\.weight|lora\.(?P<word>down|up)\.weight|(?P<alpha>alpha))")  # fmt: skip
_LORA = re.compile(r"\.lora_[AB]\.|\.lora\.(down|up)\.weight$")
_PART = re.compile(r"(?:base_model\.model\.)?(?:(?P<part>unet|text_encoder(?:_2)?)\.(?:base_model\.model\.)?)?(?P<module>.+)")  # fmt: skip


def to_peft(lora: Mapping[str, Layer], name: str) -> Tensors:
    """Under diffusers' names, with alpha / rank folded in.

    Raises:
        ModelError: a layer is of no family that is known.
    """
    out: Tensors = {}
    for stem, layer in lora.items():
        found = lora_names.path(stem)
        if found is None:
            raise ModelError(f"{name} has a layer that no known family of models has: {stem}. It cannot be renamed.")
        down, up = layer.halves()
        out[f"{'.'.join(found)}.lora_A.weight"] = down.reshape(layer.down.shape).contiguous()
        out[f"{'.'.join(found)}.lora_B.weight"] = up.reshape(layer.up.shape).contiguous()
    return out


def to_kohya(
    tensors: Mapping[str, torch.Tensor], family: Family, name: str, configuration: Mapping[str, Any] | None = None
) -> Tensors:
    """Under kohya's names for that family, with an alpha for each layer.

    configuration: PEFT's, by part and field ("unet.lora_alpha"); without it, and without an alpha in the file, alpha is
    the rank, as diffusers takes it.

    Raises:
        ModelError: a key is not one that is known.
    """
    if any("lora_magnitude_vector" in key for key in tensors):
        raise ModelError(f"{name} is a DoRA, which cannot be converted. Use a LoRA trained without DoRA.")
    out: Tensors = {}
    for key, value in tensors.items():
        found = _KEY.fullmatch(key)
        part, module = _place(found["module"]) if found else ("", "")
        if found is None or part not in ("unet", *family.text_parts):
            raise ModelError(f"{name} holds {key}, which is no layer of {family.title} in PEFT's or diffusers' names.")
        stem = lora_names.stem(part, module, family)
        if found["alpha"]:
            out[f"{stem}.alpha"] = value.float().reshape(())
            continue
        is_down = found["side"] == "A" or found["word"] == "down"
        out[f"{stem}.lora_{'down' if is_down else 'up'}.weight"] = value.float().contiguous()
        if is_down:
            alpha = _alpha(configuration or {}, part, module, len(value))
            out.setdefault(f"{stem}.alpha", torch.tensor(alpha))
    lora_tools.layers(out, name)  # each has both halves
    return out


def convert_file(source: Path, out: Path, to: str, precision: str | None = None) -> lora_tools.Made:
    """Writes the LoRA under the names of `to` ("kohya" or "peft") and reads it back; an existing `out` is replaced.

    Raises:
        ModelError: the file cannot be read, is no LoRA of a known family, or has these names already.
        RunError: the file cannot be written, or is the source.
        DivergedError: a number does not fit in the precision.
    """
    lora_tools.keep_sources([source], out)
    header = lora_file.read_header(source)
    is_kohya = any(key.endswith(".lora_down.weight") for key in header.shapes)
    if not is_kohya and not any(_LORA.search(key) for key in header.shapes):
        raise ModelError(f"{source.name} holds no LoRA layers in names that are known (kohya, PEFT, diffusers).")
    if is_kohya == (to == "kohya"):
        raise ModelError(f"{source.name} has {to}'s names already; there is nothing to convert.")
    tensors, told = lora_tools.read(source), dict(header.metadata)
    configuration = lora_file.table(told.pop(_CONFIGURATION, None))
    if to == "peft":
        made = to_peft(lora_tools.layers(tensors, source.name), source.name)
        told = _with_ranks(told, made, ".lora_A.weight")
    else:
        family = lora_names.family_of(told, header.shapes)
        if family is None:
            raise ModelError(f"It cannot be told from {source.name} which family of models it was made for.")
        made = to_kohya(tensors, family, source.name, configuration)
        told = _about(family) | told
        alphas = {float(v) for k, v in made.items() if k.endswith(".alpha")}
        told = _with_ranks(told, made, ".lora_down.weight")
        told["ss_network_alpha"] = f"{alphas.pop():g}" if len(alphas) == 1 else metadata_tools.VARYING
    precision = precision or lora_tools.precision_of(header)
    difference = export.write(out, made, told, precision)
    ranks = [len(v) for k, v in made.items() if k.endswith((".lora_A.weight", ".lora_down.weight"))]
    return lora_tools.Made(len(ranks), (min(ranks), max(ranks)), 1.0, precision, difference)


def _place(module: str) -> tuple[str, str]:
    """Part and path of a module as PEFT or diffusers write it; ("", "") when it is unknown."""
    found = _PART.fullmatch(module)
    if found is None:
        return "", ""
    return found["part"] or lora_names.root_part(found["module"]), found["module"]


def _alpha(configuration: Mapping[str, Any], part: str, module: str, rank: int) -> float:
    alpha = configuration.get(f"{part}.lora_alpha", rank)
    patterns = configuration.get(f"{part}.alpha_pattern")
    for pattern, value in (patterns if isinstance(patterns, dict) else {}).items():
        plain = pattern.replace("\\.", ".").removeprefix("^")
        if module == plain or module.endswith(f".{plain}"):
            alpha = value
    if not isinstance(alpha, int | float) or not math.isfinite(alpha):
        raise ModelError(f"The file's {_CONFIGURATION} gives layer {module} an alpha that is no number: {alpha}.")
    return float(alpha * math.sqrt(rank) if configuration.get(f"{part}.use_rslora") else alpha)


def _with_ranks(told: dict[str, str], tensors: Tensors, ending: str) -> dict[str, str]:
    downs = [value for key, value in tensors.items() if key.endswith(ending)]
    wide = [len(d) for d in downs if math.prod(d.shape[2:]) > 1]
    return metadata_tools.sized(told, [len(d) for d in downs if math.prod(d.shape[2:]) == 1], wide)


def _about(family: Family) -> dict[str, str]:
    """What clients must know of the base when the file does not say."""
    return {
        "ss_base_model_version": family.kohya_version, "ss_v2": str(family.is_v2), "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": family.architecture, "modelspec.implementation": family.implementation,
    }  # fmt: skip
