"""CLIP's vocabulary of 49,408 tokens, built from the byte-pair merges that ship with the app. Imports no torch.

Sennrich et al. 2016, https://arxiv.org/abs/1508.07909, over bytes; the table is OpenAI's (resources/clip/LICENSE.txt).
"""

from __future__ import annotations

import functools
import lzma

import resources

MERGES_FILE = "merges.txt.xz"
START, END = "<|startoftext|>", "<|endoftext|>"


@functools.lru_cache(maxsize=1)
def merges() -> tuple[tuple[str, str], ...]:
    """The 48,894 pairs that are joined, most frequent first; about 20 ms."""
    text = lzma.decompress(resources.path("clip", MERGES_FILE).read_bytes()).decode("utf-8")
    pairs = (line.split(" ") for line in text.splitlines())
    return tuple((pair[0], pair[1]) for pair in pairs)


def vocabulary() -> dict[str, int]:
    """Token to id: the bytes, the bytes that end a word, the joined pairs, start and end."""
    letters = _letters()
    tokens = [*letters, *(c + "</w>" for c in letters), *(a + b for a, b in merges()), START, END]
    return {token: i for i, token in enumerate(tokens)}


def _letters() -> list[str]:
    """A visible character for each byte, in the vocabulary's order: printable bytes as they are, then the others from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [chr(b) for b in printable] + [chr(256 + n) for n in range(256 - len(printable))]
