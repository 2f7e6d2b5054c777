r"""What people write into prompts beyond words: `{a|b}` alternatives and `(word:1.2)` weights. Imports no torch.

Weights as A1111 and ComfyUI write them: `(x)` is 1.1, `((x))` 1.21, `(x:1.3)` 1.3, `[x]` 1 / 1.1; `\(` is a plain bracket.
https://github.com/AUTOMATIC1111/stable-diffusion-webui/wiki/Features#attentionemphasis
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

STRONGER = 1.1  # of a pair of brackets without a number
_TOKEN = re.compile(r"\\[()\[\]\\{}|]|[()\[\]]|[^\\()\[\]]+|\\")
_DEEPEST = 20  # braces within braces
_NUMBER = re.compile(r"\s*([+-]?\d*\.?\d+)\s*")

Piece = str | tuple[tuple["Piece", ...], ...]  # text; or alternatives, each a sequence of pieces


def count_choices(text: str) -> int:
    """How many texts the alternatives in it make."""
    return _count(_parsed(text))


def all_choices(text: str) -> list[str]:
    """Every text that the alternatives in it make, the first ones first."""
    return _all(_parsed(text))


def one_choice(text: str, rng: random.Random) -> str:
    """The text with one of each of its alternatives."""
    return _one(_parsed(text), rng)


def weighted(text: str) -> list[tuple[str, float]]:
    """The text in pieces, each with its weight; brackets are gone, escaped ones are plain. Never empty.

    A bracket that is not closed counts as closed at the end; a closing one without an opening one is text.
    """
    pieces: list[list[str | float]] = []
    open_at: list[tuple[str, int]] = []  # bracket, and the first piece within

    def multiply(start: int, factor: float) -> None:
        for piece in pieces[start:]:
            piece[1] = float(piece[1]) * factor

    for token in _TOKEN.findall(text):
        if token in "([":
            open_at.append((token, len(pieces)))
        elif token == ")" and open_at and open_at[-1][0] == "(":
            start = open_at.pop()[1]
            multiply(start, _taken_number(pieces, start))
        elif token == "]" and open_at and open_at[-1][0] == "[":
            multiply(open_at.pop()[1], 1 / STRONGER)
        else:
            pieces.append([token[1:] if len(token) == 2 and token[0] == "\\" else token, 1.0])
    for bracket, start in open_at:
        multiply(start, STRONGER if bracket == "(" else 1 / STRONGER)
    out: list[tuple[str, float]] = []
    for piece, weight in pieces:
        weight = round(float(weight), 6)
        if out and out[-1][1] == weight:
            out[-1] = (out[-1][0] + str(piece), weight)
        else:
            out.append((str(piece), weight))
    return [(t, w) for t, w in out if t] or [("", 1.0)]


def unweighted(text: str) -> str:
    """The words alone, as the tokenizer sees them."""
    return "".join(piece for piece, _ in weighted(text))


def split_tags(text: str, *, brackets: bool = False) -> list[str]:
    """The comma-separated parts; brackets: commas inside of round or square ones do not count."""
    if not brackets:
        return [tag.strip() for tag in text.split(",") if tag.strip()]
    parts, depth = [""], 0
    for token in re.findall(r"\\.|.", text, re.DOTALL):
        depth = max(0, depth + (token in "([") - (token in ")]"))
        if token == "," and not depth:
            parts.append("")
        else:
            parts[-1] += token
    return [part.strip() for part in parts if part.strip()]


def _taken_number(pieces: list[list[str | float]], start: int) -> float:
    """The number after the last colon inside a pair of brackets, taken out of the text; else the usual weight."""
    if len(pieces) > start:
        text, colon, tail = str(pieces[-1][0]).rpartition(":")
        if colon and (found := _NUMBER.fullmatch(tail)):
            pieces[-1][0] = text
            return float(found[1])
    return STRONGER


def _parsed(text: str) -> list[Piece]:
    """Text and alternatives in order; braces without a bar, without a partner, or nested too deep are text."""
    return _sequence(text, 0, _partners(text), inside=False)[0]


def _partners(text: str) -> dict[int, int]:
    """Where each opening brace that has one is closed."""
    out: dict[int, int] = {}
    open_at: list[int] = []
    for found in re.finditer(r"\\.|[{}]", text, re.DOTALL):
        if found[0] == "{":
            open_at.append(found.start())
        elif found[0] == "}" and open_at:
            start = open_at.pop()
            if len(open_at) < _DEEPEST:
                out[start] = found.start()
    return out


def _sequence(text: str, at: int, partners: dict[int, int], *, inside: bool) -> tuple[list[Piece], int]:
    """Pieces from `at` up to the end, or inside of braces to the bar or brace that ends them, and where that stands."""
    out: list[Piece] = []
    start = at
    while at < len(text):
        if text[at] == "\\":
            at += 2
        elif at in partners:
            out.append(text[start:at])
            opening, options = at, []
            while at != partners[opening]:
                pieces, at = _sequence(text, at + 1, partners, inside=True)
                options.append(tuple(pieces))
            out += [tuple(options)] if len(options) > 1 else ["{", *options[0], "}"]
            start = at = at + 1
        elif inside and text[at] in "|}":
            break
        else:
            at += 1
    return [*out, text[start:at]], at


def _count(pieces: Sequence[Piece]) -> int:
    total = 1
    for piece in pieces:
        if not isinstance(piece, str):
            total *= sum(_count(option) for option in piece)
    return total


def _all(pieces: Sequence[Piece]) -> list[str]:
    parts = [[p] if isinstance(p, str) else [t for option in p for t in _all(option)] for p in pieces]
    return ["".join(choice) for choice in itertools.product(*parts)]


def _one(pieces: Sequence[Piece], rng: random.Random) -> str:
    return "".join(p if isinstance(p, str) else _one(rng.choice(p), rng) for p in pieces)
