"""Tiny random models of each family, in diffusers folders, in the true architecture; a row for each row of the family table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from tokenizers import pre_tokenizers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

if TYPE_CHECKING:
    from pathlib import Path

WIDTH = 32  # of the text states; SDXL has two encoders side by side


def make(family: str, folder: Path, *, prediction: str = "epsilon") -> Path:
    """Saves a tiny model of that family; about 3 MB."""
    torch.manual_seed(0)
    MAKERS[family](folder, prediction)
    return folder


def _tokenizer(pad: str = "<|endoftext|>") -> CLIPTokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, *(c + "</w>" for c in alphabet), "c a", "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={t: i for i, t in enumerate(tokens)}, merges=[], model_max_length=77, pad_token=pad)


def _text(kind: type[Any], tokenizer: CLIPTokenizer, layers: int = 3) -> Any:
    config = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=64, num_hidden_layers=layers, num_attention_heads=4,
        projection_dim=WIDTH, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return kind(config)


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8, 16, 16), layers_per_block=1, norm_num_groups=4, sample_size=64,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip


def _unet(**changes: Any) -> UNet2DConditionModel:
    config = {
        "sample_size": 8, "block_out_channels": (16, 32, 32, 32), "layers_per_block": 2, "cross_attention_dim": WIDTH, "attention_head_dim": 2,
        "norm_num_groups": 4, "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",), "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    } | changes  # fmt: skip
    return UNet2DConditionModel(**config)


def _scheduler(prediction: str) -> DDIMScheduler:
    return DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=prediction,
    )


def _make_sd(folder: Path, prediction: str, *, linear: bool) -> None:
    tokenizer = _tokenizer("!" if linear else "<|endoftext|>")
    StableDiffusionPipeline(
        vae=_vae(), text_encoder=_text(CLIPTextModel, tokenizer), tokenizer=tokenizer, unet=_unet(use_linear_projection=linear),
        scheduler=_scheduler(prediction), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip


def _make_sdxl(folder: Path, prediction: str) -> None:
    first, second = _tokenizer(), _tokenizer("!")
    unet = _unet(
        block_out_channels=(16, 32, 32), down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), transformer_layers_per_block=(1, 2, 3), use_linear_projection=True,
        cross_attention_dim=2 * WIDTH, addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=WIDTH + 6 * 8,
    )  # fmt: skip
    StableDiffusionXLPipeline(
        vae=_vae(), text_encoder=_text(CLIPTextModel, first), text_encoder_2=_text(CLIPTextModelWithProjection, second), tokenizer=first,
        tokenizer_2=second, unet=unet, scheduler=_scheduler(prediction),
    ).save_pretrained(folder)  # fmt: skip


MAKERS = {
    "sd1": lambda folder, prediction: _make_sd(folder, prediction, linear=False),
    "sd2": lambda folder, prediction: _make_sd(folder, prediction, linear=True),
    "sdxl": _make_sdxl,
}
