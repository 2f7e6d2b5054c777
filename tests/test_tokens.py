"""Token counts must be those of the tokenizer that the training itself uses."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from transformers import CLIPTokenizer

import resources
from tests import tiny_models
from trainer import tokens
from trainer.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

DEMO = resources.path("demo", "model")
TEXTS = [
    "", " ", "zorblin", "zorblin, meadow, flat drawing", "Zorblin, NIGHT, Ink Drawing", "a  b\t\tc\nd", "it's we'll I'm they've he'd you're can't",
    "1girl, solo, 2024, 007", "(masterpiece:1.2), [blurry], {best}", "blue_eyes, long_hair, looking_at_viewer", "wow!!! really?!", "!", "a ! b!c",
    "Ångström café naïve", "Cafe\u0301 A\u030angstro\u0308m", "東京の夜, 猫", "Здравствуй, мир", "مرحبا", "🐸🌙 frog under a moon 🏳️‍🌈", "<|startoftext|> a <|endoftext|>",
    "<lora:zorblin:0.8>", "score_9, score_8_up, source_anime", "-- ... --- // \\\\ ##", "x" * 300, ", ".join(["plain background"] * 60),
    "don't, DON'T, don’t", "½ ² Ⅷ ①", "a\u00a0b\u3000c", "\u200bzero\u200bwidth", "trailing comma, ,, ,", "photo of a cat; f/1.8, 50mm @ ISO-100",
    "İstanbul ẞ ﬁne", "\x00 null \x07 bell",
]  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The demo's tokenizer as it ships; the same without tokenizer.json; one that pads with "!", as SDXL's second does."""
    root = tmp_path_factory.mktemp("tokenizers")
    plain = root / "vocabulary"
    shutil.copytree(DEMO / "tokenizer", plain)
    (plain / "tokenizer.json").unlink()
    tiny_models._tokenizer("!").save_pretrained(root / "exclamation")
    return {"demo": DEMO / "tokenizer", "vocabulary": plain, "exclamation": root / "exclamation"}


@pytest.mark.parametrize("kind", ["demo", "vocabulary", "exclamation"])
def test_counts_are_those_of_the_tokenizer_that_trains(kind: str, folders: dict[str, Path]) -> None:
    theirs = CLIPTokenizer.from_pretrained(folders[kind], local_files_only=True)
    expected = {t: len(theirs(t, add_special_tokens=False, verbose=False).input_ids) for t in TEXTS}
    assert {t: tokens.count(t, folders[kind]) for t in TEXTS} == expected
    assert len(TEXTS) >= 30 and max(expected.values()) > 100


def test_the_cut_falls_where_the_model_stops_reading() -> None:
    folder = DEMO / "tokenizer"
    text = ", ".join(f"meadow {i}" for i in range(40))
    seen = text[: tokens.characters_within(text, folder, 75)]
    assert len(seen) < len(text) and tokens.count(seen, folder) == 75
    assert tokens.characters_within("meadow", folder, 75) == len("meadow")


def test_an_estimate_is_near_without_a_vocabulary() -> None:
    assert tokens.estimate("") == 0
    assert tokens.estimate("a red cat, beach, flat drawing") == 8  # as CLIP's own vocabulary counts it
    assert tokens.estimate("1girl, blue_eyes") == 6


def test_a_model_without_vocabulary_has_no_tokenizer_folder(tmp_path: Path) -> None:
    assert tokens.tokenizer_folder(DEMO) == DEMO / "tokenizer"
    assert tokens.tokenizer_folder(tmp_path) is None
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "vocab.json").write_text("{}")
    assert tokens.tokenizer_folder(tmp_path) is None


def test_a_broken_tokenizer_is_named_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("no json")
    with pytest.raises(ModelError, match=r"The tokenizer in .* cannot be read \(.*\)\. Copy the model again\."):
        tokens.count("a", tmp_path)
    with pytest.raises(ModelError, match=r"The tokenizer in .*nowhere cannot be read"):
        tokens.count("a", tmp_path / "nowhere")
