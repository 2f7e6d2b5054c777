"""LoRA layers' names in both worlds: kohya's stems (`lora_unet_...`) and module paths (diffusers, PEFT). Imports no torch.

`Backbone.stems` names the modules of a loaded model; here names are turned around without one.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

from trainer.families import FAMILIES
from trainer.families.original import unet_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from trainer.families import Family

_UNET = "lora_unet_"
_ORIGINAL = re.compile(r"(input_blocks|middle_block|output_blocks|time_embed_\d|label_emb|out_2$)")
_WORDS = (  # of module paths that hold an underscore themselves
    "down_blocks", "up_blocks", "mid_block", "transformer_blocks", "to_q", "to_k", "to_v", "to_out", "proj_in", "proj_out", "time_emb_proj",
    "conv_shortcut", "conv_in", "conv_out", "time_embedding", "add_embedding", "linear_1", "linear_2", "text_model", "self_attn",
    "q_proj", "k_proj", "v_proj", "out_proj",
)  # fmt: skip
_TOKEN = re.compile(rf"(?:{'|'.join(_WORDS)}|[^_]+)(?=_|$)")
_UNET_ROOTS = ("down_blocks", "up_blocks", "mid_block", "conv_in", "conv_out", "time_embedding", "add_embedding")
_RESNET = ("conv1", "conv2", "time_emb_proj", "conv_shortcut")


def path(stem: str) -> tuple[str, str] | None:
    """Part and module path of a kohya stem, e.g. ("unet", "down_blocks.1.attentions.0.proj_in"); None when it is unknown."""
    if stem.startswith(_UNET):
        module = _unet_path(stem.removeprefix(_UNET))
        return ("unet", module) if module.split(".")[0] in _UNET_ROOTS else None
    for prefix, part in _text_prefixes().items():
        if stem.startswith(f"{prefix}_"):
            module = _joined(stem.removeprefix(f"{prefix}_"))
            return (part, module) if module.startswith("text_model.") else None
    return None


def stem(part: str, module: str, family: Family) -> str:
    """The stem that kohya's files of this family have for a module.

    Raises:
        KeyError: the family has no such part.
    """
    if part != "unet":
        return f"{family.text_parts[part]}_text_model_{module.removeprefix('text_model.')}".replace(".", "_")
    return _UNET + (unet_name(module) if _writes_original(family) else module).replace(".", "_")


def root_part(module: str) -> str:
    """The part that a module path without a part belongs to, or ""."""
    return "unet" if module.split(".")[0] in _UNET_ROOTS else ""


def in_one_spelling(stems: Iterable[str]) -> dict[str, str]:
    """The name to write for each stem: SDXL files come in two spellings, which one file must never mix.

    Where both occur the original one is written, as kohya does; A1111 finds only that one for every layer.
    """
    stems = list(stems)
    unet = [s for s in stems if s.startswith(_UNET)]
    originals = [s for s in unet if _ORIGINAL.match(s.removeprefix(_UNET))]
    names = {s: s for s in stems}
    if originals and len(originals) < len(unet):
        for s in set(unet) - set(originals):
            found = path(s)
            names[s] = s if found is None else _UNET + unet_name(found[1]).replace(".", "_")
    return names


def family_of(metadata: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]]) -> Family | None:
    """The family a LoRA file was made for: as it says, else as its layers show; None when neither tells."""
    said, architecture = metadata.get("ss_base_model_version"), metadata.get("modelspec.architecture")
    for family in FAMILIES.values():
        if said in (family.kohya_version, family.kohya_version_v):
            return family
    for family in FAMILIES.values():
        if architecture in (family.architecture, family.architecture_v):
            return family
    two_encoders = [f for f in FAMILIES.values() if len(f.text_parts) > 1]
    second = ("text_encoder_2.", *(f"{prefix}_" for f in two_encoders for prefix in f.text_parts.values()))
    if any(name.startswith(second) or _ORIGINAL.match(name.removeprefix(_UNET)) for name in shapes):
        return two_encoders[0]
    for name, shape in shapes.items():
        if re.search(r"attn2[._]to_[kv]\.lora(_down|_A|\.down)", name) and len(shape) > 1:
            return next((f for f in FAMILIES.values() if f.context_width == shape[1]), None)
    return None


def _writes_original(family: Family) -> bool:
    """Kohya writes the names of the code that the family was published with."""
    return family.implementation != "diffusers"


def _text_prefixes() -> dict[str, str]:
    return {prefix: part for family in FAMILIES.values() for part, prefix in family.text_parts.items()}


def _joined(text: str) -> str:
    return ".".join(_TOKEN.findall(text))


def _unet_path(body: str) -> str:
    if not _ORIGINAL.match(body):
        return _joined(body)
    for theirs, ours in _originals().items():
        if body == theirs or body.startswith(theirs + "_"):
            rest = _joined(body[len(theirs) + 1 :])
            return f"{ours}.{rest}" if rest else ours
    return ""


@functools.cache
def _originals() -> dict[str, str]:
    """Module paths by the original's names with underscores, longest first."""
    paths = [f"mid_block.resnets.{i}.{name}" for i in (0, 1) for name in _RESNET] + ["mid_block.attentions.0"]
    for side, layers in (("down", 2), ("up", 3)):
        for block in range(4):
            paths.append(f"{side}_blocks.{block}.{side}samplers.0.conv")
            for i in range(layers):
                paths.append(f"{side}_blocks.{block}.attentions.{i}")
                paths += [f"{side}_blocks.{block}.resnets.{i}.{name}" for name in _RESNET]
    paths += ["conv_in", "conv_out", *(f"{e}_embedding.linear_{n}" for e in ("time", "add") for n in (1, 2))]
    table = {unet_name(p).replace(".", "_"): p for p in paths}
    return dict(sorted(table.items(), key=lambda item: -len(item[0])))
