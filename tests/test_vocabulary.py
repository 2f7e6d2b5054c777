"""CLIP's vocabulary as it ships: known ids, the tokenizer of a single file, token counts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

import resources
from trainer import tokens
from trainer.families import FAMILIES
from trainer.families.single_file import FileSource
from trainer.families.vocabulary import merges, vocabulary

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import CLIPTokenizer

# From OpenAI's CLIP, clip.tokenize; the first is in its README.
KNOWN = {
    "a photo of a cat": [320, 1125, 539, 320, 2368],
    "a diagram": [320, 22697],
    "a dog": [320, 1929],
    "Hello World!": [3306, 1002, 256],
}


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    """That of SD 1.x single files."""
    source = FileSource.__new__(FileSource)
    source._configs = resources.path("configs", "sd1")
    return source.tokenizer("text_encoder")


def test_the_vocabulary_has_clips_ids() -> None:
    table = vocabulary()
    assert len(table) == 49408 and len(merges()) == 48894 and sorted(table.values()) == list(range(49408))
    assert [table[t] for t in ("<|startoftext|>", "<|endoftext|>", "!", "cat</w>", "a</w>")] == [
        49406,
        49407,
        0,
        2368,
        320,
    ]


@pytest.mark.parametrize("text", KNOWN)
def test_texts_have_the_known_ids(text: str, tokenizer: CLIPTokenizer) -> None:
    assert tokenizer(text).input_ids == [49406, *KNOWN[text], 49407]
    assert tokens.count(text, resources.path("clip")) == len(KNOWN[text])


@pytest.mark.parametrize(
    "text",
    ["1girl, blue_eyes, (masterpiece:1.2)", "東京の夜", "it's we'll", "Ångström café", "🐸🌙", "x" * 90, "½ ² Ⅷ"],
)
def test_the_counter_counts_as_the_tokenizer(text: str, tokenizer: CLIPTokenizer) -> None:
    assert tokens.count(text, resources.path("clip")) == len(tokenizer(text, add_special_tokens=False).input_ids)


def test_each_family_pads_as_published() -> None:
    source = FileSource.__new__(FileSource)
    pads = {}
    for family in FAMILIES.values():
        source._configs = resources.path("configs", family.id)
        for part in family.text_parts:
            pads[family.id, part] = source.tokenizer(part).pad_token_id
    assert pads == {
        ("sd1", "text_encoder"): 49407,
        ("sd2", "text_encoder"): 0,
        ("sdxl", "text_encoder"): 49407,
        ("sdxl", "text_encoder_2"): 0,
    }


def test_a_single_file_is_counted_with_clips_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").write_bytes(b"")
    assert tokens.tokenizer_folder(tmp_path / "m.safetensors") == resources.path("clip")


def test_the_table_is_small_and_its_licence_lies_beside_it() -> None:
    assert resources.path("clip", "merges.txt.xz").stat().st_size < 200_000
    assert "MIT License" in resources.path("clip", "LICENSE.txt").read_text(encoding="utf-8")
    begin = time.perf_counter()
    vocabulary()
    assert time.perf_counter() - begin < 2
