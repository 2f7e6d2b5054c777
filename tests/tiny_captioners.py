"""Tiny random captioners in the true architectures: BLIP, BLIP-2 and Florence-2, with processors of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    BertTokenizer,
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Processor,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipProcessor,
    Florence2Config,
    Florence2ForConditionalGeneration,
    Florence2Processor,
    PreTrainedTokenizerFast,
)
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

if TYPE_CHECKING:
    from pathlib import Path

SIDE = 32
WORDS = [
    "a",
    "photo",
    "of",
    "dog",
    "cat",
    "bird",
    "red",
    "blue",
    "green",
    "on",
    "the",
    "grass",
    "with",
    "big",
    "old",
    "new",
]


def blip(folder: Path) -> Path:
    """Writes words of WORDS."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = BertTokenizer(vocab={word: i for i, word in enumerate([*special, *WORDS])})
    tokenizer.add_special_tokens({"bos_token": "[DEC]"})
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BlipConfig(
        projection_dim=16,
        vision_config=small | {"image_size": SIDE, "patch_size": 16, "projection_dim": 16, "initializer_range": 0.02},
        text_config=small | {
            "vocab_size": len(tokenizer), "encoder_hidden_size": 16, "projection_dim": 16, "max_position_embeddings": 128,
            "bos_token_id": tokenizer.bos_token_id, "pad_token_id": 0, "eos_token_id": 3, "sep_token_id": 3,
        },
    )  # fmt: skip
    processor = BlipProcessor(BlipImageProcessorPil(size={"height": SIDE, "width": SIDE}), tokenizer)
    return _save(folder, BlipForConditionalGeneration, config, processor, 12)


def blip2(folder: Path) -> Path:
    """Writes any letters."""
    images = BlipImageProcessorPil(size={"height": SIDE, "width": SIDE})
    processor = Blip2Processor(images, _letters(), num_query_tokens=4)
    count = len(processor.tokenizer)
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Blip2Config(
        num_query_tokens=4, image_token_index=processor.tokenizer.convert_tokens_to_ids("<image>"),
        vision_config=small | {"intermediate_size": 32, "image_size": SIDE, "patch_size": 16},
        qformer_config=small | {"num_hidden_layers": 2, "intermediate_size": 32, "encoder_hidden_size": 16, "vocab_size": count},
        text_config=small | {
            "model_type": "opt", "vocab_size": count, "ffn_dim": 32, "max_position_embeddings": 256, "word_embed_proj_dim": 16,
            "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1,
        },
    )  # fmt: skip
    return _save(folder, Blip2ForConditionalGeneration, config, processor, 6)


def florence2(folder: Path) -> Path:
    """Writes any letters."""
    tokenizer = _letters(extra_special_tokens={"image_token": "<image>"})
    size = {"height": 2 * SIDE, "width": 2 * SIDE}
    images = CLIPImageProcessorPil(size=size, crop_size=size, do_center_crop=False)
    images.image_seq_length = 5  # one for each of 2 x 2 patches, one for all of them
    config = Florence2Config(
        image_token_id=tokenizer.image_token_id,
        vision_config={
            "depths": (1, 1, 1, 1), "embed_dim": (8, 8, 16, 16), "num_heads": (1, 1, 2, 2), "num_groups": (1, 1, 2, 2), "window_size": 4,
            "projection_dim": 16, "drop_path_rate": 0.0,
        },
        text_config={
            "model_type": "bart", "vocab_size": len(tokenizer), "d_model": 16, "encoder_layers": 1, "decoder_layers": 1,
            "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32,
            "max_position_embeddings": 512, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1, "decoder_start_token_id": 2,
        },
    )  # fmt: skip
    return _save(folder, Florence2ForConditionalGeneration, config, Florence2Processor(images, tokenizer), 8)


def _letters(**more: Any) -> PreTrainedTokenizerFast:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", *letters])}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=made, **special, **more)


def _save(folder: Path, kind: Any, config: Any, processor: Any, scale: float) -> Path:
    """scale: of the weights, so that different pictures give different words."""
    torch.manual_seed(0)
    model = kind(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
