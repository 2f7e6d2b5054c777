"""What a diffusers weight is called in a single file of the original layout (CompVis, sgm, OpenCLIP). Imports no torch.

The single-file layout was never written down; these names are those of the published code:
https://github.com/CompVis/stable-diffusion (SD 1.x), https://github.com/Stability-AI/generative-models (SDXL),
https://github.com/mlfoundations/open_clip (text encoders of SD 2.x and SDXL's second).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Container

Style = Literal["unet", "vae", "clip", "openclip", "diffusers"]

UNET_PREFIX, EMA_PREFIX = "model.diffusion_model.", "model_ema."

# Where a part can lie in a single file: prefix and naming style; the first whose marker is there is taken.
PLACES: dict[str, tuple[tuple[str, Style], ...]] = {
    "unet": ((UNET_PREFIX, "unet"),),
    "vae": (
        ("first_stage_model.", "vae"), ("vae.", "vae"), ("", "vae"),
        ("first_stage_model.", "diffusers"), ("vae.", "diffusers"), ("", "diffusers"),
    ),
    "text_encoder": (
        ("cond_stage_model.transformer.text_model.", "clip"), ("cond_stage_model.transformer.", "clip"), ("cond_stage_model.model.", "openclip"),
        ("conditioner.embedders.0.transformer.text_model.", "clip"), ("conditioner.embedders.0.transformer.", "clip"),
    ),
    "text_encoder_2": (("conditioner.embedders.1.model.", "openclip"), ("conditioner.embedders.1.transformer.text_model.", "clip")),
}  # fmt: skip
_MARKERS: dict[Style, tuple[str, ...]] = {
    "unet": ("input_blocks.0.0.weight",),
    "vae": ("encoder.down.0.block.0.conv1.weight",),
    "clip": ("embeddings.position_embedding.weight",),
    "openclip": ("positional_embedding",),
}
_DIFFUSERS_MARKERS = ("encoder.down_blocks.0.resnets.0.conv1.weight",)


@dataclass(frozen=True)
class Place:
    """Where a part lies in a single file."""

    prefix: str
    style: Style


@dataclass(frozen=True)
class Origin:
    """Which tensor of the file a weight is made from.

    third: it is that third (0, 1, 2) of the tensor's rows, as OpenCLIP keeps query, key and value in one.
    transposed: rows and columns are exchanged.
    """

    name: str
    third: int | None = None
    transposed: bool = False


def place(part: str, names: Container[str]) -> Place | None:
    """Where the part lies in a file with tensors of these names; None when it holds none."""
    for prefix, style in PLACES[part]:
        markers = _DIFFUSERS_MARKERS if style == "diffusers" else _MARKERS[style]
        if any(prefix + marker in names for marker in markers):
            return Place(prefix, style)
    return None


def origin(name: str, at: Place, config: dict[str, Any]) -> Origin:
    """The tensor of the file from which a part's weight is made. config: the part's diffusers configuration."""
    match at.style:
        case "unet":
            return Origin(
                at.prefix + unet_name(name, config.get("layers_per_block", 2), config.get("up_block_types", ()))
            )
        case "vae":
            return Origin(at.prefix + vae_name(name, len(config["block_out_channels"])))
        case "clip":
            if name.startswith("text_projection"):
                return Origin(at.prefix.removesuffix("text_model.") + name)
            return Origin(at.prefix + name.removeprefix("text_model."))
        case "openclip":
            return _openclip(name.removeprefix("text_model."), at.prefix)
        case "diffusers":
            return Origin(at.prefix + name)


_RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
_OUTSIDE = {
    "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2", "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2", "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
}  # fmt: skip


def unet_name(name: str, layers_per_block: int = 2, up_block_types: tuple[str, ...] | list[str] = ()) -> str:
    """A UNet's module path or weight, e.g. `down_blocks.1.attentions.0.proj_in` as `input_blocks.4.1.proj_in`.

    up_block_types: tell whether an upsampler follows an attention and is therefore number 2 rather than 1 in its block;
    without them it is 2, as in SDXL.
    """
    down, up = layers_per_block + 1, layers_per_block + 1
    match name.split("."):
        case ["down_blocks", b, "resnets" | "attentions" as kind, i, *rest]:
            return _block(f"input_blocks.{down * int(b) + int(i) + 1}", kind, rest)
        case ["down_blocks", b, "downsamplers", "0", "conv", *rest]:
            return ".".join([f"input_blocks.{down * int(b) + down}.0.op", *rest])
        case ["mid_block", "resnets", i, *rest]:
            return ".".join([f"middle_block.{2 * int(i)}", *_resnet(rest)])
        case ["mid_block", "attentions", "0", *rest]:
            return ".".join(["middle_block.1", *rest])
        case ["up_blocks", b, "resnets" | "attentions" as kind, i, *rest]:
            return _block(f"output_blocks.{up * int(b) + int(i)}", kind, rest)
        case ["up_blocks", b, "upsamplers", "0", "conv", *rest]:
            attends = not up_block_types or "CrossAttn" in up_block_types[int(b)]
            return ".".join([f"output_blocks.{up * int(b) + up - 1}.{2 if attends else 1}.conv", *rest])
    return _with(_OUTSIDE, name)


def _block(block: str, kind: str, rest: list[str]) -> str:
    return ".".join([block, "1", *rest] if kind == "attentions" else [block, "0", *_resnet(rest)])


def _resnet(rest: list[str]) -> list[str]:
    return [_RESNET.get(rest[0], rest[0]), *rest[1:]] if rest else []


_VAE = {"conv_shortcut": "nin_shortcut", "group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v"}


def vae_name(name: str, blocks: int) -> str:
    """An autoencoder's weight; blocks: resolutions it has, which the original decoder counts from the other end."""
    match name.split("."):
        case [side, "down_blocks", b, "resnets", i, *rest]:
            where = [side, "down", b, "block", i]
        case [side, "down_blocks", b, "downsamplers", "0", *rest]:
            where = [side, "down", b, "downsample"]
        case [side, "up_blocks", b, "resnets", i, *rest]:
            where = [side, "up", str(blocks - 1 - int(b)), "block", i]
        case [side, "up_blocks", b, "upsamplers", "0", *rest]:
            where = [side, "up", str(blocks - 1 - int(b)), "upsample"]
        case [side, "mid_block", "resnets", i, *rest]:
            where = [side, "mid", f"block_{int(i) + 1}"]
        case [side, "mid_block", "attentions", "0", "to_out", "0", *rest]:
            where = [side, "mid", "attn_1", "proj_out"]
        case [side, "mid_block", "attentions", "0", *rest]:
            where = [side, "mid", "attn_1"]
        case [side, "conv_norm_out", *rest]:
            where = [side, "norm_out"]
        case parts:
            return ".".join(parts)
    return ".".join([*where, *(_VAE.get(part, part) for part in rest)])


_OPENCLIP = {
    "embeddings.token_embedding.weight": "token_embedding.weight", "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm": "ln_final",
}  # fmt: skip
_OPENCLIP_LAYER = {
    "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj", "self_attn.out_proj": "attn.out_proj",
}  # fmt: skip


def _openclip(name: str, prefix: str) -> Origin:
    """A CLIP text encoder's weight as OpenCLIP names it."""
    if name == "text_projection.weight":
        return Origin(prefix + "text_projection", transposed=True)
    match name.split("."):
        case ["encoder", "layers", i, "self_attn", "q_proj" | "k_proj" | "v_proj" as which, kind]:
            return Origin(f"{prefix}transformer.resblocks.{i}.attn.in_proj_{kind}", third="qkv".index(which[0]))
        case ["encoder", "layers", i, *rest]:
            return Origin(f"{prefix}transformer.resblocks.{i}.{_with(_OPENCLIP_LAYER, '.'.join(rest))}")
    return Origin(prefix + _with(_OPENCLIP, name))


def _with(table: dict[str, str], name: str) -> str:
    """The name with the beginning that stands in the table exchanged."""
    for ours, theirs in table.items():
        if name == ours or name.startswith(ours + "."):
            return theirs + name[len(ours) :]
    return name
