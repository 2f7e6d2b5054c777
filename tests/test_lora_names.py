"""Which layers of true-size models get adapters, and their names in LoRA files: kohya's tables, written out.

The models are made on the meta device (shapes without memory); their parameter counts are the published ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from trainer import families

if TYPE_CHECKING:
    from pathlib import Path

USUAL = ("attention", "feed_forward", "projections")
ALL = (*USUAL, "convolutions")

BLOCK = [*(f"attn{n}_to_{w}" for n in (1, 2) for w in ("q", "k", "v", "out_0")), "ff_net_0_proj", "ff_net_2"]
TEXT_LAYER = [*(f"self_attn_{w}_proj" for w in ("q", "k", "v", "out")), "mlp_fc1", "mlp_fc2"]


def attention_stems(places: dict[str, int]) -> set[str]:
    """places: depth (number of transformer blocks) by name of the attention module."""
    inner = {f"{p}_transformer_blocks_{d}_{s}" for p, depth in places.items() for d in range(depth) for s in BLOCK}
    return {f"lora_unet_{name}" for name in inner | {f"{p}_proj_{w}" for p in places for w in ("in", "out")}}


def text_stems(prefix: str, layers: int) -> set[str]:
    return {f"{prefix}_text_model_encoder_layers_{n}_{s}" for n in range(layers) for s in TEXT_LAYER}


# SD 1.x and 2.x: diffusers names
SD_ATTENTION = attention_stems(
    {f"down_blocks_{b}_attentions_{i}": 1 for b in range(3) for i in range(2)}
    | {"mid_block_attentions_0": 1}
    | {f"up_blocks_{b}_attentions_{i}": 1 for b in (1, 2, 3) for i in range(3)}
)
SD_RESNETS = [
    *(f"down_blocks_{b}_resnets_{i}" for b in range(4) for i in range(2)),
    *(f"mid_block_resnets_{i}" for i in range(2)),
    *(f"up_blocks_{b}_resnets_{i}" for b in range(4) for i in range(3)),
]
SD_SHORTCUTS = ["down_blocks_1_resnets_0", "down_blocks_2_resnets_0", *(r for r in SD_RESNETS if r.startswith("up"))]
SD_CONVOLUTIONS = {
    *(f"lora_unet_{r}_{s}" for r in SD_RESNETS for s in ("conv1", "conv2", "time_emb_proj")),
    *(f"lora_unet_{r}_conv_shortcut" for r in SD_SHORTCUTS),
    *(f"lora_unet_down_blocks_{b}_downsamplers_0_conv" for b in range(3)),
    *(f"lora_unet_up_blocks_{b}_upsamplers_0_conv" for b in range(3)),
}

# SDXL: names of the original code
XL_ATTENTION = attention_stems(
    {f"input_blocks_{n}_1": depth for n, depth in ((4, 2), (5, 2), (7, 10), (8, 10))}
    | {"middle_block_1": 10}
    | {f"output_blocks_{n}_1": depth for n, depth in enumerate((10, 10, 10, 2, 2, 2))}
)
XL_RESNETS = [
    *(f"input_blocks_{n}_0" for n in (1, 2, 4, 5, 7, 8)),
    *("middle_block_0", "middle_block_2"),
    *(f"output_blocks_{n}_0" for n in range(9)),
]
XL_SHORTCUTS = ["input_blocks_4_0", "input_blocks_7_0", *(r for r in XL_RESNETS if r.startswith("output"))]
XL_CONVOLUTIONS = {
    *(f"lora_unet_{r}_{s}" for r in XL_RESNETS for s in ("in_layers_2", "out_layers_3", "emb_layers_1")),
    *(f"lora_unet_{r}_skip_connection" for r in XL_SHORTCUTS),
    *("lora_unet_input_blocks_3_0_op", "lora_unet_input_blocks_6_0_op"),
    *("lora_unet_output_blocks_2_2_conv", "lora_unet_output_blocks_5_2_conv"),
}


@dataclass(frozen=True)
class TrueSize:
    """A family's models as they are published, and what kohya writes for them. encoders: class, configuration."""

    unet: dict[str, Any]
    parameters: int
    encoders: dict[str, tuple[type[Any], dict[str, int]]]
    layers: set[str]
    convolutions: set[str]
    text: set[str]
    counts: tuple[int, int, int]  # modules in the UNet, the same with convolutions, in the text encoders


def clip(hidden: int, layers: int, heads: int, **more: int) -> dict[str, int]:
    sizes = {"hidden_size": hidden, "intermediate_size": 4 * hidden}
    return sizes | {"num_hidden_layers": layers, "num_attention_heads": heads} | more


CLIP_L = (CLIPTextModel, clip(768, 12, 12))
OPENCLIP_H = (CLIPTextModel, clip(1024, 23, 16))
OPENCLIP_G = (CLIPTextModelWithProjection, clip(1280, 32, 20, projection_dim=1280))
TRUE_SIZES = {
    "sd1": TrueSize(
        {"cross_attention_dim": 768}, 859_520_964, {"text_encoder": CLIP_L},
        SD_ATTENTION, SD_CONVOLUTIONS, text_stems("lora_te", 12), (192, 278, 72),
    ),
    "sd2": TrueSize(
        {"cross_attention_dim": 1024, "attention_head_dim": (5, 10, 20, 20), "use_linear_projection": True},
        865_910_724,
        {"text_encoder": OPENCLIP_H},
        SD_ATTENTION, SD_CONVOLUTIONS, text_stems("lora_te", 23), (192, 278, 138),
    ),
    "sdxl": TrueSize(
        {
            "block_out_channels": (320, 640, 1280), "cross_attention_dim": 2048,
            "transformer_layers_per_block": (1, 2, 10),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "attention_head_dim": (5, 10, 20), "use_linear_projection": True, "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816,
        }, 2_567_463_684,
        {"text_encoder": CLIP_L, "text_encoder_2": OPENCLIP_G},
        XL_ATTENTION, XL_CONVOLUTIONS, text_stems("lora_te1", 12) | text_stems("lora_te2", 32), (722, 788, 72 + 192),
    ),
}  # fmt: skip


def test_every_family_has_its_true_size_here() -> None:
    assert list(TRUE_SIZES) == list(families.FAMILIES)


@pytest.mark.parametrize("family", TRUE_SIZES)
def test_a_true_size_model_gets_kohyas_modules_under_kohyas_names(family: str, tiny_models: dict[str, Path]) -> None:
    true = TRUE_SIZES[family]
    backbone = families.load(tiny_models[family])
    with torch.device("meta"):
        backbone.unet = UNet2DConditionModel(**true.unet)
        backbone.text_encoders = {
            part: kind(CLIPTextConfig(**config)) for part, (kind, config) in true.encoders.items()
        }
    assert sum(p.numel() for p in backbone.unet.parameters()) == true.parameters
    usual, full, text = true.counts
    for targets, expected, count in ((USUAL, true.layers, usual), (ALL, true.layers | true.convolutions, full)):
        modules = backbone.lora_modules(targets, text=True)
        stems = [backbone.stems(part, name)[0] for part, names in modules.items() for name in names]
        assert len(stems) == len(set(stems)) == count + text
        assert set(stems) == expected | true.text
    assert list(backbone.lora_modules(USUAL, text=False)) == ["unet"]


def test_the_table_of_sdxl_holds_keys_of_real_files() -> None:
    """The hard cases of the block arithmetic, as they stand in kohya's files."""
    assert {
        "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k",
        "lora_unet_input_blocks_8_1_transformer_blocks_9_ff_net_0_proj",
        "lora_unet_middle_block_1_proj_in",
        "lora_unet_output_blocks_0_1_transformer_blocks_9_attn1_to_out_0",
        "lora_unet_output_blocks_5_1_proj_out",
        "lora_unet_input_blocks_3_0_op",
        "lora_unet_middle_block_2_emb_layers_1",
        "lora_unet_output_blocks_2_2_conv",
        "lora_unet_output_blocks_8_0_skip_connection",
    } <= XL_ATTENTION | XL_CONVOLUTIONS


def test_sdxl_also_reads_diffusers_names(tiny_models: dict[str, Path]) -> None:
    backbone = families.load(tiny_models["sdxl"])
    assert backbone.stems("unet", "down_blocks.1.attentions.0.proj_in") == (
        "lora_unet_input_blocks_4_1_proj_in",
        "lora_unet_down_blocks_1_attentions_0_proj_in",
    )


@pytest.mark.parametrize(
    ("family", "counts"), [("sd1", (128, 32, 32, 85)), ("sd2", (128, 32, 32, 85)), ("sdxl", (224, 56, 22, 65))]
)
def test_each_kind_of_layer_can_be_chosen_alone(
    family: str, counts: tuple[int, ...], tiny_models: dict[str, Path]
) -> None:
    """Tiny SD: 16 transformer blocks in 16 places as the true one (and one conv_shortcut less); tiny SDXL: 28 in 11."""
    backbone = families.load(tiny_models[family])
    backbone.load_unet(torch.float32, torch.device("cpu"))
    backbone.load_text_encoders(torch.float32, torch.device("cpu"))
    of_text = {"attention": 12, "feed_forward": 6}  # 3 layers
    for target, count in zip(ALL, counts, strict=True):
        found = {part: len(names) for part, names in backbone.lora_modules([target], text=True).items()}
        text = {part: of_text[target] for part in backbone.family.text_parts if target in of_text}
        assert found == {"unet": count} | text
