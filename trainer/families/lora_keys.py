"""Keys of LoRA files, whoever wrote them: which layer's which tensor each one is. Imports no torch.

kohya       lora_unet_<path with underscores>.lora_down.weight, .lora_up.weight, .alpha, .dora_scale (DoRA), .lora_mid.weight (Tucker)
PEFT        base_model.model.<path>.lora_A.weight, .lora_B.weight, .lora_magnitude_vector (DoRA)
diffusers   unet.<path>.lora_A.weight; before 0.24 unet.<path>.lora.down.weight; before 0.22 unet.<path>.processor.to_q_lora.down.weight
OMI         unet.<path of the original code>.lora_down.weight, clip_l.<path>, clip_g.<path> (OneTrainer)
ComfyUI     diffusion_model.<path of the original code>.lora_down.weight
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from trainer.families import lora_names

if TYPE_CHECKING:
    from trainer.families import Family

Piece = Literal["down", "up", "mid", "alpha", "magnitude"]

_KEY = re.compile(
    r"(?P<module>.+?)(?:"
    r"\.lora_(?P<word>down|up|mid)(?:\.weight)?"
    r"|\.lora_(?P<letter>[AB])(?:\.(?!weight$|bias$)[^.]+)?(?:\.weight)?"
    r"|[._]lora(?:_linear_layer)?\.(?P<old>down|up)\.weight"
    r"|(?:_lora)?\.(?P<alpha>alpha)"
    r"|\.(?:dora_scale|magnitude|lora_magnitude_vector(?:\.(?!weight$)[^.]+)?(?:\.weight)?)"
    r")"
)
_PLACE = re.compile(
    r"(?:base_model\.model\.)*"
    r"(?:(?P<part>unet|text_encoder|text_encoder_2|te1?|te2|(?:model\.)?diffusion_model|(?:text_encoders\.)?clip_[lg](?:\.transformer)?)\."
    r"(?:base_model\.model\.)*)?(?P<path>.+)"
)
_SECOND_PARTS = ("text_encoder_2", "te2", "clip_g")
_ORIGINAL = re.compile(r"(input_blocks|middle_block|output_blocks|time_embed|label_emb|out)\.\d")
_LAYER = re.compile(r"(?:text_model\.)?(encoder\.layers\.\d+\.(?:self_attn|mlp)\.\w+)")
_OLD_PROJECTIONS = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}
PLAIN_STEMS = ("lora_unet_", "lora_te_", "lora_te1_", "lora_te2_")
_LYCORIS = "lycoris_"  # LyCORIS used without kohya's scripts puts this before every path of the UNet
BUNDLED = "bundle_emb."  # OneTrainer puts the embeddings that were trained along into the same file
_WIDE_TEXT = 1280  # width of SDXL's second text encoder


@dataclass(frozen=True)
class Key:
    """One tensor's place. module: the layer as the file names it."""

    module: str
    piece: Piece


def split(key: str) -> Key | None:
    """Which layer's which tensor a key is; None when it is no part of a LoRA."""
    found = None if key.startswith(BUNDLED) else _KEY.fullmatch(key)
    if found is None:
        return None
    if found["alpha"]:
        return Key(found["module"], "alpha")
    if word := found["word"] or found["old"] or {"A": "down", "B": "up"}.get(found["letter"] or ""):
        return Key(found["module"], word)  # type: ignore[arg-type]
    return Key(found["module"], "magnitude")


def place(module: str, width: int = 0) -> tuple[str, str] | None:
    """Part and diffusers path of a layer, however it is named; None when no family that is known has it.

    width: of its inputs, which tells the text encoders apart where a file does not name them.
    """
    if module.startswith(PLAIN_STEMS):
        return lora_names.path(module)
    if module.startswith(_LYCORIS):
        return lora_names.path("lora_unet_" + module.removeprefix(_LYCORIS))
    part, path = _parted(module)
    if part == "":
        is_text = _LAYER.match(path) is not None
        part = ("text_encoder_2" if width == _WIDE_TEXT else "text_encoder") if is_text else "unet"
    if part != "unet":
        return _in_text_encoder(part, path)
    if _ORIGINAL.match(path):
        return lora_names.path("lora_unet_" + path.replace(".", "_"))
    path = path.replace(".processor.", ".")
    path += ".0" if path.endswith(".to_out") else ""
    return ("unet", path) if lora_names.root_part(path) else None


def stem(module: str, family: Family, width: int = 0) -> str | None:
    """The name of a layer in kohya's files of that family; None when it is of no family that is known.

    Names that are kohya's already stay, also of layers that are not known.
    """
    found = place(module, width)
    if found is None:
        return module if module.startswith(PLAIN_STEMS) else None
    if found[0] != "unet" and found[0] not in family.text_parts:
        return None
    return lora_names.stem(*found, family)


def bare(module: str) -> str:
    """A layer's path without the part that it is in, as PEFT's settings speak of it."""
    return _parted(module)[1]


def part_named(module: str) -> str:
    """The part that a dotted name begins with ("unet", "text_encoder", "text_encoder_2"), or ""."""
    return _parted(module)[0]


def _parted(module: str) -> tuple[str, str]:
    found = _PLACE.fullmatch(module)
    if found is None:
        return "", module
    said = (found["part"] or "").removesuffix(".transformer").removeprefix("text_encoders.")
    if said in ("", "unet") or said.endswith("diffusion_model"):
        return "unet" if said else "", found["path"]
    return "text_encoder_2" if said in _SECOND_PARTS else "text_encoder", found["path"]


def _in_text_encoder(part: str, path: str) -> tuple[str, str] | None:
    found = _LAYER.fullmatch(path)
    if found is None:
        return None
    before, _, last = found[1].rpartition(".")
    return part, f"text_model.{before}.{_OLD_PROJECTIONS.get(last, last)}"
