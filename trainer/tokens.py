"""How many tokens of its prompt a caption takes, counted as the base model's own CLIP tokenizer does. Imports no torch."""

from __future__ import annotations

import json
import math
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

import resources
from trainer.errors import ModelError, os_message
from trainer.families import vocabulary as clip

if TYPE_CHECKING:
    from pathlib import Path

_SPECIAL = ("unk_token", "bos_token", "eos_token", "pad_token")
_SPLIT = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_PIECE = re.compile(r"[^\W\d_]+|\d|(?:[^\w\s]|_)+")
_LETTERS_IN_A_TOKEN = 8  # of CLIP's vocabulary: common words are one token, rarer ones two or three


def tokenizer_folder(base: Path) -> Path | None:
    """The folder of a model's (first) tokenizer, for a single file that of CLIP's own vocabulary; None when it has none."""
    if base.is_file():
        return resources.path("clip")
    folder = base / "tokenizer"
    pair = (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file()
    return folder if pair or (folder / "tokenizer.json").is_file() else None


def count(text: str, folder: Path) -> int:
    """How many tokens the text takes, without the start and end tokens.

    Raises:
        ModelError: the tokenizer in the folder cannot be read.
    """
    return len(_read(folder).encode(text, add_special_tokens=False).ids)


def characters_within(text: str, folder: Path, limit: int) -> int:
    """So many characters of the text are covered by its first `limit` tokens; the model never sees the rest.

    Raises:
        ModelError: the tokenizer in the folder cannot be read.
    """
    offsets = _read(folder).encode(text, add_special_tokens=False).offsets
    return len(text) if len(offsets) <= limit else int(offsets[limit][0])


def estimate(text: str) -> int:
    """About how many tokens the text takes, for a base whose vocabulary is not there."""
    return sum(math.ceil(len(piece) / _LETTERS_IN_A_TOKEN) for piece in _PIECE.findall(text))


@lru_cache(maxsize=4)
def _read(folder: Path) -> Tokenizer:
    """The tokenizer of a folder: about 0.2 s for CLIP's 49,408 tokens, later calls are free."""
    try:
        if (folder / "tokenizer.json").is_file():
            tokenizer = Tokenizer.from_str((folder / "tokenizer.json").read_text(encoding="utf-8"))
            tokenizer.no_truncation()
            tokenizer.no_padding()
        else:
            tokenizer = _from_vocabulary(folder)
        tokenizer.add_special_tokens(_special_tokens(folder))
    except OSError as error:
        raise ModelError(os_message(f"The tokenizer in {folder} cannot be read", error)) from None
    except Exception as error:  # the tokenizers library raises bare Exceptions
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"The tokenizer in {folder} cannot be read ({reason}). Copy the model again.") from error
    return tokenizer


def _from_vocabulary(folder: Path) -> Tokenizer:
    """From vocab.json and merges.txt, as transformers' CLIPTokenizer builds it.

    https://github.com/huggingface/transformers/blob/v5.0.0/src/transformers/models/clip/tokenization_clip.py
    """
    if (folder / clip.MERGES_FILE).is_file():
        vocabulary, merges = clip.vocabulary(), list(clip.merges())
    else:
        vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
        lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
        pairs = (line.split() for line in lines if not line.startswith("#version"))
        merges = [(pair[0], pair[1]) for pair in pairs if len(pair) == 2]
    unknown = _named(folder).get("unk_token", AddedToken("<|endoftext|>", special=True)).content
    model = models.BPE(
        vocab=vocabulary, merges=merges, continuing_subword_prefix="", end_of_word_suffix="</w>", fuse_unk=False, unk_token=unknown
    )  # fmt: skip
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    return tokenizer


def _special_tokens(folder: Path) -> list[AddedToken]:
    """Tokens that are found in a text before it is split: start, end, and the padding, which is "!" in some models."""
    named = _named(folder)
    standard = {
        "bos_token": "<|startoftext|>",
        **dict.fromkeys(("unk_token", "eos_token", "pad_token"), "<|endoftext|>"),
    }
    found = [named.get(kind, AddedToken(standard[kind], special=True)) for kind in _SPECIAL]
    return list({token.content: token for token in found}.values())


def _named(folder: Path) -> dict[str, AddedToken]:
    """The special tokens that the folder's configuration names."""
    given: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            given |= json.loads((folder / name).read_text(encoding="utf-8"))
    out = {}
    for kind in _SPECIAL:
        value = given.get(kind)
        if isinstance(value, str):
            out[kind] = AddedToken(value, special=True, normalized=False)
        elif isinstance(value, dict) and "content" in value:
            flags = {k: bool(value.get(k, False)) for k in ("single_word", "lstrip", "rstrip", "normalized")}
            out[kind] = AddedToken(value["content"], special=True, **flags)
    return out
