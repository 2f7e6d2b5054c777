"""Which files of a part's folder are its weights: one format, one variant, and every shard of it. Imports no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_FILE = re.compile(
    r"(?P<stem>diffusion_pytorch_model|model|pytorch_model)(?P<early>\.\w+)?(?P<shard>-\d+-of-(?P<count>\d+))?(?P<late>\.\w+)?"
    r"\.(?P<format>safetensors|bin)"
)
_INDEX = re.compile(
    r"(diffusion_pytorch_model|model|pytorch_model)\.(?P<format>safetensors|bin)\.index(?P<variant>\.\w+)?\.json"
)


@dataclass(frozen=True)
class Weights:
    """files: their names, with the index of shards; variant: "" or "fp16"; is_safe: whether they are .safetensors."""

    files: tuple[str, ...]
    variant: str
    is_safe: bool


def choose(names: Iterable[str], *, small: bool = False) -> Weights | None:
    """The whole set of weights to load from a folder with these files; None when there is none.

    .safetensors wins over .bin. small: fp16 wins over the plain files, which usually are fp32 and twice as large. Other
    variants (non_ema) and formats (ONNX, OpenVINO, Flax) are no weights that training can use.
    """
    names = sorted(names)
    variants = ("fp16", "") if small else ("", "fp16")
    for format_ in ("safetensors", "bin"):
        for variant in variants:
            if files := _whole(names, format_, variant):
                return Weights(files, variant, format_ == "safetensors")
    return None


def is_index(name: str) -> bool:
    """Whether it is the list of a sharded model's files."""
    return _INDEX.fullmatch(name) is not None


def _whole(names: list[str], format_: str, variant: str) -> tuple[str, ...]:
    """The one file of that kind, or all its shards with their index; empty when it is not whole."""
    found = [m for n in names if (m := _FILE.fullmatch(n)) and m["format"] == format_ and _variant(m) == variant]
    if single := [m.string for m in found if not m["shard"]]:
        return (single[0],)
    index = [
        n
        for n in names
        if (m := _INDEX.fullmatch(n)) and m["format"] == format_ and (m["variant"] or "")[1:] == variant
    ]
    if not index or not found or len(found) < max(int(m["count"]) for m in found):
        return ()
    return (*(m.string for m in found), index[0])


def _variant(match: re.Match[str]) -> str:
    return (match["early"] or match["late"] or "")[1:]
