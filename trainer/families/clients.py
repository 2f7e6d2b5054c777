"""Where other programs look for each layer of a LoRA file, and what they take its family for. Imports no torch.

Written from those programs' own rules, by walking through the blocks of a model, and apart from `lora_names` and
`Backbone.stems`, which name the layers of files that are written: the one is the proof of the other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LINEAR = 0  # the kernel of a layer that is no convolution

_BLOCK = {  # layers of a transformer block by their names in files; both spellings agree on them
    **{f"attn{n}_to_{w}": f"attn{n}.to_{w}" for n in (1, 2) for w in "qkv"},
    **{f"attn{n}_to_out_0": f"attn{n}.to_out.0" for n in (1, 2)},
    "ff_net_0_proj": "ff.net.0.proj",
    "ff_net_2": "ff.net.2",
}
_TEXT_LAYER = {f"self_attn_{w}_proj": f"self_attn.{w}_proj" for w in ("q", "k", "v", "out")} | {
    "mlp_fc1": "mlp.fc1",
    "mlp_fc2": "mlp.fc2",
}
_RESNET = (  # original name, diffusers' name, kernel
    ("in_layers.2", "conv1", 3), ("out_layers.3", "conv2", 3), ("emb_layers.1", "time_emb_proj", LINEAR), ("skip_connection", "conv_shortcut", 1),
)  # fmt: skip


@dataclass(frozen=True)
class Facts:
    """What the programs know of a family.

    prefixes: of the text encoders' layers, by part. is_original: files have the names of the original code, not diffusers'.
    openclip: text encoders whose attention A1111 keeps in one piece. a1111: what A1111 and Forge call it.
    """

    prefixes: Mapping[str, str]
    is_original: bool
    openclip: frozenset[str]
    a1111: str


FACTS = {
    "sd1": Facts({"text_encoder": "lora_te"}, False, frozenset(), "SD1"),
    "sd2": Facts({"text_encoder": "lora_te"}, False, frozenset({"text_encoder"}), "SD2"),
    "sdxl": Facts({"text_encoder": "lora_te1", "text_encoder_2": "lora_te2"}, True, frozenset({"text_encoder_2"}), "SDXL"),
}  # fmt: skip


@dataclass(frozen=True)
class Blocks:
    """How a model is built.

    widths: channels of each down block; depths: transformer blocks in each of its attentions, 0 where it has none; middle:
    the same of the middle block; resnets: in each down block; linear: whether the projections around attentions are linear;
    text: layers of each text encoder, by part.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    middle: int
    resnets: int
    linear: bool
    text: Mapping[str, int]


TRUE_SIZE = {
    "sd1": Blocks((320, 640, 1280, 1280), (1, 1, 1, 0), 1, 2, False, {"text_encoder": 12}),
    "sd2": Blocks((320, 640, 1280, 1280), (1, 1, 1, 0), 1, 2, True, {"text_encoder": 23}),
    "sdxl": Blocks((320, 640, 1280), (0, 2, 10), 10, 2, True, {"text_encoder": 12, "text_encoder_2": 32}),
}


@dataclass(frozen=True)
class Slot:
    """A layer of the model: its part, its path in diffusers (without `text_model.`), and its kernel (`LINEAR`, 1 or 3)."""

    part: str
    module: str
    kernel: int


def blocks_of(unet: Mapping[str, Any], text: Mapping[str, Mapping[str, Any]]) -> Blocks:
    """The blocks of a model with these diffusers configurations (text: by part)."""
    kinds = unet["down_block_types"]
    given = unet.get("transformer_layers_per_block", 1)
    depths = [given] * len(kinds) if isinstance(given, int) else list(given)
    return Blocks(
        tuple(unet["block_out_channels"]), tuple(d if "CrossAttn" in kind else 0 for d, kind in zip(depths, kinds, strict=True)),
        depths[-1], unet.get("layers_per_block", 2), bool(unet.get("use_linear_projection")),
        {part: config["num_hidden_layers"] for part, config in text.items()},
    )  # fmt: skip


def slots(family: str, blocks: Blocks) -> dict[str, Slot]:
    """Every layer that a file may have, by its name there."""
    facts = FACTS[family]
    out: dict[str, Slot] = {}
    for original, ours, slot in _unet(blocks):
        out["lora_unet_" + (original if facts.is_original else ours).replace(".", "_")] = slot
    for part, prefix in facts.prefixes.items():
        for n in range(blocks.text.get(part, 0)):
            for name, module in _TEXT_LAYER.items():
                slot = Slot(part, f"encoder.layers.{n}.{module}", LINEAR)
                out[f"{prefix}_text_model_encoder_layers_{n}_{name}"] = slot
    return out


def other_spelling(family: str, blocks: Blocks) -> set[str]:
    """Names of UNet layers that some programs know too, but not all, and that must not stand beside the right ones."""
    is_original = FACTS[family].is_original
    return {"lora_unet_" + (b if is_original else a).replace(".", "_") for a, b, _ in _unet(blocks)}


def a1111_version(metadata: Mapping[str, str]) -> str:
    """What A1111 takes the file for; "" when it does not know. It hides files of other families than the loaded model's.

    https://github.com/AUTOMATIC1111/stable-diffusion-webui/blob/v1.10.1/extensions-builtin/Lora/network.py
    """
    if metadata.get("ss_base_model_version", "").startswith("sdxl_"):
        return "SDXL"
    if metadata.get("ss_v2") == "True":
        return "SD2"
    return "SD1" if metadata else ""


def forge_version(metadata: Mapping[str, str]) -> str:
    """What Forge takes the file for; "" when it does not know."""
    architecture = metadata.get("modelspec.architecture", "")
    if architecture == "stable-diffusion-xl-v1-base/lora" or metadata.get("ss_base_model_version", "").startswith(
        "sdxl_"
    ):
        return "SDXL"
    if metadata.get("ss_v2") == "True":
        return "SD2"
    return "SD1" if architecture == "stable-diffusion-v1/lora" else ""


def invokeai_version(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """What InvokeAI takes the file for, from its layers alone; "" when it does not know and refuses the file."""
    by_width = {768: "SD1", 1024: "SD2", 2048: "SDXL"}
    if any(k.startswith("lora_te1_") for k in shapes) and any(k.startswith("lora_te2_") for k in shapes):
        return "SDXL"
    for pattern in ("attn2_to_k.lora_down.weight", "self_attn_k_proj.lora_down.weight"):
        width = next((s[1] for k, s in shapes.items() if k.endswith(pattern) and len(s) > 1), None)
        if width is not None:
            return by_width.get(width, "")
    depths = [int(found[1]) for k in shapes if (found := re.search(r"transformer_blocks_(\d+)_", k))]
    times = [s[1] for k, s in shapes.items() if "time_emb_proj.lora_down" in k and len(s) > 1]
    return "SDXL" if max(depths, default=0) >= 2 or 1280 in times else ""


def _unet(blocks: Blocks) -> Iterator[tuple[str, str, Slot]]:
    """Each layer's original path, diffusers' path, and slot."""
    for original, ours, depth in _modules(blocks):
        if depth is None:  # a resnet
            for theirs, name, kernel in _RESNET:
                if name != "conv_shortcut" or _changes_width(ours, blocks):
                    yield f"{original}.{theirs}", f"{ours}.{name}", Slot("unet", f"{ours}.{name}", kernel)
        elif depth == 0:  # between two blocks
            yield original, ours, Slot("unet", ours, 3)
        else:
            for name in ("proj_in", "proj_out"):
                kernel = LINEAR if blocks.linear else 1
                yield f"{original}.{name}", f"{ours}.{name}", Slot("unet", f"{ours}.{name}", kernel)
            for d in range(depth):
                inner = f"transformer_blocks.{d}"
                for name, module in _BLOCK.items():
                    yield (
                        f"{original}.{inner}.{name}",
                        f"{ours}.{inner}.{name}",
                        Slot("unet", f"{ours}.{inner}.{module}", LINEAR),
                    )


def _modules(blocks: Blocks) -> Iterator[tuple[str, str, int | None]]:
    """The UNet's modules in the order they are passed: original path, diffusers' path, depth of an attention.

    The original numbers all modules of one side on end; diffusers counts them in each block. Depth None: a resnet;
    0: the convolution between two blocks.
    """
    last, number = len(blocks.depths) - 1, 1
    for b, depth in enumerate(blocks.depths):
        for i in range(blocks.resnets):
            yield f"input_blocks.{number}.0", f"down_blocks.{b}.resnets.{i}", None
            if depth:
                yield f"input_blocks.{number}.1", f"down_blocks.{b}.attentions.{i}", depth
            number += 1
        if b < last:
            yield f"input_blocks.{number}.0.op", f"down_blocks.{b}.downsamplers.0.conv", 0
            number += 1
    yield "middle_block.0", "mid_block.resnets.0", None
    yield "middle_block.1", "mid_block.attentions.0", blocks.middle
    yield "middle_block.2", "mid_block.resnets.1", None
    number = 0
    for b, depth in enumerate(reversed(blocks.depths)):
        for i in range(blocks.resnets + 1):
            yield f"output_blocks.{number}.0", f"up_blocks.{b}.resnets.{i}", None
            if depth:
                yield f"output_blocks.{number}.1", f"up_blocks.{b}.attentions.{i}", depth
            if b < last and i == blocks.resnets:
                yield f"output_blocks.{number}.{2 if depth else 1}.conv", f"up_blocks.{b}.upsamplers.0.conv", 0
            number += 1


def _changes_width(resnet: str, blocks: Blocks) -> bool:
    """Whether it has a shortcut convolution: all on the way up, and the first of a wider block on the way down."""
    side, *numbers = resnet.split(".")
    if side != "down_blocks":
        return side == "up_blocks"
    block, i = int(numbers[0]), int(numbers[2])
    return i == 0 and block > 0 and blocks.widths[block] != blocks.widths[block - 1]
