"""Names of the original layout, against diffusers' own conversion, at true size and with values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from diffusers.loaders import single_file_utils as theirs

from tests import single_files
from trainer.families import FAMILIES, original

if TYPE_CHECKING:
    from pathlib import Path


def converted(
    family: str, part: str, tensors: dict[str, torch.Tensor], config: dict[str, Any], model: Any
) -> dict[str, torch.Tensor]:
    """A part as diffusers' own conversion makes it from a single file's tensors."""
    if part == "unet":
        return theirs.convert_ldm_unet_checkpoint(tensors, config)
    if part == "vae":
        return theirs.convert_ldm_vae_checkpoint(tensors, config)
    prefix = single_files.PLACES[family][part].prefix
    if single_files.PLACES[family][part].style == "openclip":
        out = theirs.convert_open_clip_checkpoint(model, tensors, prefix=prefix)
    else:
        out = theirs.convert_ldm_clip_checkpoint(tensors)
    return {k.removeprefix("text_model."): v for k, v in out.items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_true_size_names_and_shapes_are_those_of_diffusers_conversion(family: str) -> None:
    tensors = single_files.true_size(family)
    for part, config, model in single_files.parts_on_meta(family):
        wanted = {k.removeprefix("text_model."): v.shape for k, v in model.state_dict().items()}
        got = {k: v.shape for k, v in converted(family, part, tensors, config, model).items() if k in wanted}
        assert got == wanted, part


@pytest.mark.parametrize("family", FAMILIES)
def test_values_are_those_of_diffusers_conversion(family: str, tiny_models: dict[str, Path]) -> None:
    tensors = single_files.tensors_of(family, tiny_models[family])
    for part in single_files.PLACES[family]:
        wanted, config = single_files.folder_tensors(tiny_models[family], part)
        model = single_files.KINDS[part].from_pretrained(tiny_models[family] / part)
        got = converted(family, part, dict(tensors), config, model)
        for name, tensor in wanted.items():
            key = name.removeprefix("text_model.")
            assert torch.equal(got[key], tensor), f"{part} {name}"


def test_names_that_everybody_knows() -> None:
    """Copied from published files."""
    up = ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3)
    for ours, published in (
        ("conv_in.weight", "input_blocks.0.0.weight"),
        (
            "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight",
            "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight",
        ),
        ("down_blocks.0.downsamplers.0.conv.weight", "input_blocks.3.0.op.weight"),
        ("up_blocks.0.upsamplers.0.conv.weight", "output_blocks.2.1.conv.weight"),
        ("up_blocks.1.upsamplers.0.conv.bias", "output_blocks.5.2.conv.bias"),
        ("up_blocks.3.resnets.2.conv_shortcut.weight", "output_blocks.11.0.skip_connection.weight"),
        ("mid_block.resnets.1.time_emb_proj.weight", "middle_block.2.emb_layers.1.weight"),
        ("conv_norm_out.bias", "out.0.bias"),
    ):
        assert original.unet_name(ours, 2, up) == published
    assert original.vae_name("decoder.up_blocks.0.resnets.1.norm2.weight", 4) == "decoder.up.3.block.1.norm2.weight"
    assert original.vae_name("encoder.mid_block.attentions.0.to_out.0.bias", 4) == "encoder.mid.attn_1.proj_out.bias"
    assert original.vae_name("quant_conv.weight", 4) == "quant_conv.weight"


def test_counts_are_those_of_published_files() -> None:
    """UNet 686 and 1680 tensors, autoencoder 248, CLIP-L 196; OpenCLIP has 12 a layer and 6 more (two embeddings, norm, projection, scale)."""
    for family, unet, vae in (("sd1", 686, 248), ("sd2", 686, 248), ("sdxl", 1680, 248)):
        names = single_files.true_size(family)
        assert sum(n.startswith("model.diffusion_model.") for n in names) == unet
        assert sum(n.startswith("first_stage_model.") for n in names) == vae
    assert sum(n.startswith("cond_stage_model.") for n in single_files.true_size("sd1")) == 196
    assert sum(n.startswith("cond_stage_model.") for n in single_files.true_size("sd2")) == 24 * 12 + 6
    assert sum(n.startswith("conditioner.embedders.0.") for n in single_files.true_size("sdxl")) == 196
    assert sum(n.startswith("conditioner.embedders.1.") for n in single_files.true_size("sdxl")) == 32 * 12 + 6
