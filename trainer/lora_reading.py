"""Reads LoRA files of any trainer into one form: kohya's names, plain halves, an alpha for each layer.

Read are kohya's, OneTrainer's, ai-toolkit's, ComfyUI's, LyCORIS' LoCon (also Tucker), diffusers' old and new and PEFT's files, all
with or without DoRA. What else a file may be is said in a sentence (`trainer.lora_kinds`). Nothing is unpickled.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from trainer import lora_kinds
from trainer.errors import ModelError
from trainer.families import FAMILIES, lora_keys, lora_names
from trainer.lora_file import shown, table
from trainer.number_formats import FLOATS, INTEGERS
from trainer.weights_file import Reader

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from trainer.families import Family
    from trainer.families.lora_keys import Piece
    from trainer.lora_kinds import LoraKind

CONFIGURATION = "lora_adapter_metadata"  # where diffusers keeps PEFT's settings
_CONFIGURATION_FILE = "adapter_config.json"  # where PEFT keeps them, beside the file
_MAX_CONFIGURATION_BYTES = 1_000_000
_DTYPES = FLOATS | INTEGERS
_KEPT = (torch.float32, torch.float16, torch.bfloat16)
_SIMPLE_PATTERN = re.compile(
    r"[\w.\\^$*+\[\]-]{1,300}"
)  # PEFT's patterns are regular expressions, which can take for ever
_MAX_REPEATS, _MAX_PATH = 2, 150

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Lora:
    """A LoRA as it was read.

    tensors: under kohya's names. metadata: as in the file, without PEFT's settings, but with the family as kohya names it.
    """

    tensors: Tensors
    metadata: dict[str, str]
    kind: LoraKind


def read(path: Path, family: Family | None = None) -> Lora:
    """A LoRA file, copied into memory, so that the file is free.

    family: of the base model it is to go with, where that is known; else it is told from the file.

    Raises:
        ModelError: the file cannot be read, is no LoRA that can be used, or is damaged.
    """
    with Reader(path) as reader:
        header = reader.header
        kind = lora_kinds.identify_header(header, path.name)
        if not kind.usable:
            raise ModelError(kind.sentence)
        wanted = [n for n in header.shapes if not n.startswith(lora_keys.BUNDLED)]
        tensors = {n: _tensor(reader, n, path.name) for n in wanted}
    metadata = dict(header.metadata)
    configuration = table(metadata.pop(CONFIGURATION, None)) or _beside(path, kind)
    about = _about(kind.family, metadata) if kind.family else {}
    return Lora(normalised(tensors, path.name, family or kind.family, configuration), metadata | about, kind)


def read_kohya(path: Path) -> tuple[Tensors, dict[str, str]]:
    """Tensors under kohya's names, and metadata, as `read`.

    Raises:
        ModelError: as `read`.
    """
    lora = read(path)
    return lora.tensors, lora.metadata


def normalised(
    tensors: Mapping[str, torch.Tensor],
    name: str,
    family: Family | None,
    configuration: Mapping[str, Any] | None = None,
) -> Tensors:
    """Under kohya's names for that family (None: the first with these layers), with an alpha for each layer.

    configuration: PEFT's, by field, or by part and field ("unet.lora_alpha"). Without it, and without an alpha in the file,
    alpha is the rank, as all but diffusers take it. Magnitudes are (out, 1) or (out, 1, 1, 1), as kohya's files have them.

    Raises:
        ModelError: a key is not known, or a layer is not whole.
    """
    family = family or next(iter(FAMILIES.values()))
    widths = {
        k.module: v.shape[1]
        for n, v in tensors.items()
        if (k := lora_keys.split(n)) and k.piece == "down" and v.dim() > 1
    }
    layers: dict[str, dict[Piece, torch.Tensor]] = {}
    modules: dict[str, str] = {}
    for key, value in tensors.items():
        found = lora_keys.split(key)
        stem = lora_keys.stem(found.module, family, widths.get(found.module, 0)) if found else None
        if found is None or stem is None:
            raise ModelError(f"{name} holds {shown(key)}, which is no layer of {family.title} in names that are known.")
        pieces = layers.setdefault(stem, {})
        if found.piece in pieces:
            raise ModelError(f"{name} is damaged: it holds layer {shown(stem)} twice, the second time as {shown(key)}.")
        # peft's (1, out, 1, 1) would look like one for each input
        is_pefts = found.piece == "magnitude" and not key.endswith(".dora_scale")
        pieces[found.piece] = value.flatten() if is_pefts else value
        modules.setdefault(stem, found.module)
    out: Tensors = {}
    for stem, pieces in layers.items():
        down, up = _halves(pieces, shown(stem), name)
        out[f"{stem}.lora_down.weight"], out[f"{stem}.lora_up.weight"] = down, up
        alpha = pieces.get("alpha")
        if alpha is not None and (alpha.numel() != 1 or not bool(alpha.isfinite().all())):
            raise ModelError(f"{name} is damaged: the alpha of layer {shown(stem)} is not a number.")
        number = _alpha(configuration or {}, modules[stem], len(down), name) if alpha is None else float(alpha)
        out[f"{stem}.alpha"] = torch.tensor(number)
        if (magnitude := pieces.get("magnitude")) is not None:
            out[f"{stem}.dora_scale"] = _magnitude(magnitude, down, up, shown(stem), name)
    return out


def _about(family: Family, said: Mapping[str, str]) -> dict[str, str]:
    """What clients must know of the base; some trainers leave it out or write it as only they read it."""
    version, architecture = said.get("ss_base_model_version"), said.get("modelspec.architecture")
    about = {"ss_v2": str(family.is_v2)}
    if version not in (family.kohya_version, family.kohya_version_v):
        about["ss_base_model_version"] = family.kohya_version
    if architecture not in (family.architecture, family.architecture_v):
        about |= {"modelspec.architecture": family.architecture, "modelspec.implementation": family.implementation}
    return about | {"modelspec.sai_model_spec": said.get("modelspec.sai_model_spec", "1.0.1")}


def _tensor(reader: Reader, key: str, name: str) -> torch.Tensor:
    """A tensor with memory of its own; numbers of other kinds than usual as fp32."""
    header = reader.header
    dtype = _DTYPES.get(header.dtypes[key])
    if dtype is None:
        raise ModelError(f"{name} holds numbers of a kind that no LoRA has ({header.dtypes[key]}, in {shown(key)}).")
    shape, data = header.shapes[key], reader.tensor(key)
    tensor = torch.frombuffer(data, dtype=dtype).reshape(shape) if data else torch.empty(shape, dtype=dtype)
    return tensor if dtype in _KEPT else tensor.float()


def _halves(pieces: Mapping[Piece, torch.Tensor], stem: str, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Down (rank, inputs, ...) and up (outputs, rank, ...); a core between them (Tucker) goes into down.

    Tucker, as LyCORIS has it: dW[o, i, h, w] = sum over p, q of up[o, p] mid[p, q, h, w] down[q, i].
    """
    down, up, mid = (pieces.get(piece) for piece in ("down", "up", "mid"))
    if mid is not None and down is not None and mid.dim() == 4 and mid.shape[1] == len(down) and down.dim() > 1:
        down = torch.einsum("pqhw,qi->pihw", mid.float(), down.flatten(1).float()).to(down.dtype)
    elif mid is not None:
        raise ModelError(f"{name} is damaged: the core of layer {stem} does not fit between its halves.")
    if down is None or up is None or down.dim() < 2 or up.dim() < 2 or up.flatten(1).shape[1] != down.shape[0]:
        raise ModelError(f"{name} is damaged: the two halves of layer {stem} do not belong together.")
    if not down.numel() or not up.numel() or not all(bool(half.isfinite().all()) for half in (down, up)):
        raise ModelError(f"{name} is damaged: layer {stem} is empty or holds numbers that are not finite.")
    return down.contiguous(), up.contiguous()


def _magnitude(magnitude: torch.Tensor, down: torch.Tensor, up: torch.Tensor, stem: str, name: str) -> torch.Tensor:
    """DoRA's magnitudes of a layer as kohya's files have them.

    One for each output, (out, 1) or (out, 1, 1, 1), which peft writes as (out,) or (1, out, 1, 1); or one for each input,
    (1, in) or (1, in, 1, 1).
    """
    outputs, inputs = len(up), down.shape[1]
    of_inputs = magnitude.dim() > 1 and len(magnitude) == 1 and outputs > 1
    if magnitude.numel() != (inputs if of_inputs else outputs) or not bool(magnitude.isfinite().all()):
        raise ModelError(
            f"{name} is damaged: the magnitudes of layer {stem} do not fit its {inputs} inputs and {outputs} outputs."
        )
    ones = [1] * (down.dim() - 2)
    return magnitude.reshape((1, inputs, *ones) if of_inputs else (outputs, 1, *ones)).contiguous()


def _beside(path: Path, kind: LoraKind) -> dict[str, Any]:
    """PEFT's settings beside its file."""
    file = path.with_name(_CONFIGURATION_FILE)
    if kind.naming != "PEFT" or not file.is_file():
        return {}
    try:
        with file.open("rb") as opened:
            values = json.loads(opened.read(_MAX_CONFIGURATION_BYTES))
    except (OSError, ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise ModelError(
            f"{file} beside {path.name} cannot be read, so the LoRA's strength is not known. Copy it again."
        )
    return values


def _alpha(configuration: Mapping[str, Any], module: str, rank: int, name: str) -> float:
    """A layer's alpha by PEFT's settings; rsLoRA's scale, alpha / sqrt(rank), is written as alpha / rank."""
    part = lora_keys.part_named(module)
    part = part or lora_names.root_part(lora_keys.bare(module)) or "text_encoder"

    def said(field: str, usual: Any = None) -> Any:
        return configuration.get(f"{part}.{field}", configuration.get(field, usual))

    alpha, patterns = said("lora_alpha", rank), said("alpha_pattern")
    for pattern, value in (patterns if isinstance(patterns, dict) else {}).items():
        if _matches(pattern, lora_keys.bare(module), name):
            alpha = value
            break
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not math.isfinite(alpha):
        raise ModelError(f"{name} gives layer {shown(module)} an alpha that is no number: {shown(str(alpha))}.")
    return float(alpha * math.sqrt(rank) if said("use_rslora") else alpha)


def _matches(pattern: str, module: str, name: str) -> bool:
    """Whether one of PEFT's patterns means a layer: it must match the whole path, or its end after a dot."""
    module = module.replace(".processor.", ".")
    try:
        if not _SIMPLE_PATTERN.fullmatch(pattern) or pattern.count("*") + pattern.count("+") > _MAX_REPEATS:
            raise re.error("not simple")
        return len(module) <= _MAX_PATH and re.match(rf"(.*\.)?({pattern})$", module) is not None
    except re.error:
        raise ModelError(f"{name} sets alpha by a pattern that cannot be read: {shown(pattern)}.") from None
