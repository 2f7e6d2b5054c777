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
_ORIGINAL_WORDS = 7  # at most, in a name of `_originals`
_WORDS = (  # of module paths that hold an underscore themselves
    "down_blocks", "up_blocks", "mid_block", "transformer_blocks", "to_q", "to_k", "to_v", "to_out", "proj_in", "proj_out", "time_emb_proj",
    "conv_shortcut", "conv_in", "conv_out", "time_embedding", "add_embedding", "linear_1", "linear_2", "text_model", "self_attn",
    "q_proj", "k_proj", "v_proj", "out_proj",
)  # fmt: skip
_TOKEN = re.compile(rf"(?:{'|'.join(_WORDS)}|[^_]+)(?=_|$)")
_UNET_PATH = re.compile(
    r"(?:(?:down|up)_blocks\.[0-9]|mid_block)\.(?:resnets|attentions|downsamplers|upsamplers)\.[0-9](?:\.|$)|conv_(?:in|out)$|(?:time|add)_embedding\.linear_[12]$"
)
_SECOND = ("text_encoder_2.", "clip_g.", "te2.", "text_encoders.clip_g.")
_CONTEXT = re.compile(r"attn2[._](?:processor[._])?to_[kv](?:\.lora(?:_down|_A|\.down)|_lora\.down)")
_SAID = {  # how trainers begin what they say of the base: kohya, OneTrainer, ai-toolkit, ModelSpec
    ("sdxl", "stable-diffusion-xl"): "sdxl", ("sd_v2", "sd_2", "sd2", "stable-diffusion-v2"): "sd2",
    ("sd_v1", "sd_1", "sd1", "stable-diffusion-v1"): "sd1",
}  # fmt: skip
_RESNET = ("conv1", "conv2", "time_emb_proj", "conv_shortcut")


def path(stem: str) -> tuple[str, str] | None:
    """Part and module path of a kohya stem, e.g. ("unet", "down_blocks.1.attentions.0.proj_in"); None when it is unknown."""
    if stem.startswith(_UNET):
        module = _unet_path(stem.removeprefix(_UNET))
        return ("unet", module) if _UNET_PATH.match(module) else None
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
    return "unet" if _UNET_PATH.match(module) else ""


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
    """The family a LoRA file was made for; None when nothing tells.

    The width of what the UNet attends to tells it best, as some trainers say "SD 1.5" of everything; then what the file
    says, then which layers it has.
    """
    for name, shape in shapes.items():
        if _CONTEXT.search(name) and len(shape) > 1:
            found = next((f for f in FAMILIES.values() if f.context_width == shape[1]), None)
            if found is not None:
                return found
            break
    return _said_family(metadata) or _family_of_layers(shapes)


def _said_family(metadata: Mapping[str, str]) -> Family | None:
    said = [metadata.get(key, "").lower() for key in ("ss_base_model_version", "modelspec.architecture")]
    for starts, family in _SAID.items():
        if any(text.startswith(starts) for text in said):
            return FAMILIES[family]
    return FAMILIES["sd2"] if metadata.get("ss_v2", "").lower() == "true" else None


def _family_of_layers(shapes: Mapping[str, tuple[int, ...]]) -> Family | None:
    two_encoders = [f for f in FAMILIES.values() if len(f.text_parts) > 1]
    second = (*_SECOND, *(f"{prefix}_" for f in two_encoders for prefix in f.text_parts.values()))
    is_deep = re.compile(r"transformer_blocks[._][1-9]")  # only SDXL has more than one in a row
    for name in shapes:
        if name.startswith(second) or _ORIGINAL.match(name.removeprefix(_UNET)) or is_deep.search(name):
            return two_encoders[0]
    return None


def _writes_original(family: Family) -> bool:
    """Kohya writes the names of the code that the family was published with."""
    return family.implementation != "diffusers"


@functools.cache
def _text_prefixes() -> dict[str, str]:
    return {prefix: part for family in FAMILIES.values() for part, prefix in family.text_parts.items()}


def _joined(text: str) -> str:
    return ".".join(_TOKEN.findall(text))


def _unet_path(body: str) -> str:
    if not _ORIGINAL.match(body):
        return _joined(body)
    words = body.split("_", _ORIGINAL_WORDS)
    for count in range(len(words), 1, -1):
        theirs = "_".join(words[:count])
        if (ours := _originals().get(theirs)) is not None:
            rest = _joined(body[len(theirs) + 1 :])
            return f"{ours}.{rest}" if rest else ours
    return ""


@functools.cache
def _originals() -> dict[str, str]:
    """Module paths by the original's names with underscores."""
    paths = [f"mid_block.resnets.{i}.{name}" for i in (0, 1) for name in _RESNET] + ["mid_block.attentions.0"]
    for side, layers in (("down", 2), ("up", 3)):
        for block in range(4):
            paths.append(f"{side}_blocks.{block}.{side}samplers.0.conv")
            for i in range(layers):
                paths.append(f"{side}_blocks.{block}.attentions.{i}")
                paths += [f"{side}_blocks.{block}.resnets.{i}.{name}" for name in _RESNET]
    paths += ["conv_in", "conv_out", *(f"{e}_embedding.linear_{n}" for e in ("time", "add") for n in (1, 2))]
    table = {unet_name(p).replace(".", "_"): p for p in paths}
    # Where no attention comes before it, as in SD's first block, the upsampler is number 1 rather than 2.
    table |= {name.replace("_2_conv", "_1_conv"): p for name, p in table.items() if p.endswith("upsamplers.0.conv")}
    return table
