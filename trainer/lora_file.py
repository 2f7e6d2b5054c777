"""Reads what a .safetensors file says about itself: header, metadata, places of tensors, hashes. Imports no torch.

Format: https://github.com/huggingface/safetensors#format - 8 bytes header length (little endian), JSON header, data.
"""

from __future__ import annotations

import hashlib
import json
import math
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

from trainer.errors import ModelError, os_message

if TYPE_CHECKING:
    from pathlib import Path

MAX_HEADER_BYTES = 100_000_000  # the format's own limit
DTYPE_BYTES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "F8_E4M3FNUZ": 1, "F8_E5M2FNUZ": 1, "C64": 8, "I8": 1, "U8": 1, "BOOL": 1}  # fmt: skip
MAX_DIMENSIONS = 32


@dataclass(frozen=True)
class Header:
    """A file's header. shapes, dtypes by tensor name; data_start: offset of the data section in bytes.

    spans: where each tensor's bytes lie in the file, (first, one past the last).
    """

    metadata: dict[str, str]
    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, str]
    data_start: int
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)


def read_header(path: Path) -> Header:
    """The header of a .safetensors file; no tensor is read.

    Raises:
        ModelError: the file is missing, cut off, or not in this format.
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ModelError(f"{path} is a folder; give a .safetensors file.")
        if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for without end
            raise ModelError(f"{path} is no file; give a .safetensors file.")
        with path.open("rb") as file:
            return _parse(file, status.st_size, path.name)
    except FileNotFoundError:
        raise ModelError(f"There is no file {path}.") from None
    except OSError as error:
        raise ModelError(os_message(f"{path} cannot be read", error)) from None


def _parse(file: BinaryIO, size: int, name: str) -> Header:
    length = int.from_bytes(file.read(8), "little")
    if size < 10 or length > min(size - 8, MAX_HEADER_BYTES):
        raise ModelError(f"{name} is not a .safetensors file, or it is cut off.")
    entries = _json(file.read(length), name)
    metadata = _metadata(entries.pop("__metadata__", None), name)
    shapes: dict[str, tuple[int, ...]] = {}
    dtypes: dict[str, str] = {}
    spans: list[tuple[int, int, str]] = []
    for key, entry in entries.items():
        shapes[key], dtypes[key], span = _entry(key, entry, name)
        spans.append((*span, key))
    end = 0
    for start, stop, key in sorted(spans):
        if start != end:
            raise ModelError(f"{name} is damaged: {shown(key)} overlaps another tensor, or leaves a gap.")
        end = stop
    data = 8 + length
    if data + end > size:
        raise ModelError(f"{name} is cut off: {data + end - size:,} bytes are missing. Copy it again.")
    if data + end < size:
        raise ModelError(f"{name} is damaged: {size - data - end:,} bytes follow its last tensor. Copy it again.")
    return Header(metadata, shapes, dtypes, data, {key: (data + a, data + b) for a, b, key in spans})


def _json(raw: bytes, name: str) -> dict[str, Any]:
    try:
        entries = json.loads(raw.decode(), object_pairs_hook=_without_duplicates, parse_constant=_no_constant)
        if b"\\u" in raw:
            json.dumps(entries, ensure_ascii=False).encode()  # half a surrogate pair is no text and cannot be shown
    except (ValueError, RecursionError):
        raise ModelError(f"{name} is not a .safetensors file: its header cannot be read.") from None
    if not isinstance(entries, dict):
        raise ModelError(f"{name} is not a .safetensors file: its header is no table.")
    return entries


def _metadata(given: Any, name: str) -> dict[str, str]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise ModelError(f"{name} is damaged: what it says about itself is no table.")
    if (odd := next((key for key, value in given.items() if not isinstance(value, str)), None)) is not None:
        raise ModelError(f"{name} is damaged: what it says under {shown(odd)} is no text, so no program can load it.")
    return given


def _entry(key: str, entry: Any, name: str) -> tuple[tuple[int, ...], str, tuple[int, int]]:
    """Shape, dtype and place of one tensor."""
    values: Any = entry if isinstance(entry, dict) else {}
    shape, dtype, span = (values.get(field) for field in ("shape", "dtype", "data_offsets"))
    makes_sense = isinstance(shape, list) and isinstance(span, list) and len(span) == 2 and isinstance(dtype, str)
    if not makes_sense or any(type(n) is not int for n in (*shape, *span)):
        raise ModelError(f"{name} is damaged: its header has an entry that makes no sense ({shown(key)}).")
    if dtype not in DTYPE_BYTES:
        raise ModelError(f"{name} holds numbers of a kind that is not known ({shown(dtype)}, in {shown(key)}).")
    # So many lengths, or such long ones, would take minutes to multiply.
    misfit = len(shape) > MAX_DIMENSIONS or any(not 0 <= n < 1 << 63 for n in (*shape, *span))
    if misfit or span[1] - span[0] != math.prod(shape) * DTYPE_BYTES[dtype]:
        raise ModelError(f"{name} is damaged: the size of {shown(key)} does not fit its shape.")
    return tuple(shape), dtype, (span[0], span[1])


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A table of the header; the format forbids a name that is given twice."""
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("a name is given twice")
    return out


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def shown(text: str, length: int = 120) -> str:
    """Text from a file on one line of a message: not endless, and without characters that steer a terminal."""
    short = text if len(text) <= length else f"{text[: length - 1]}…"
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in short)


def file_sha256(path: Path, start: int = 0) -> str:
    """sha256 of the file from an offset on, as 64 hex digits.

    From the data section's start this is `sshs_model_hash` (Civitai's AutoV3 is its first 12 digits); from 0 it is SHA256
    (AutoV2: first 10 digits).
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(start)
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def short_hash(path: Path) -> str:
    """A1111's older model hash, `ss_sd_model_hash`: the first 8 hex digits of sha256 over 64 KB, 1 MB into the file."""
    with path.open("rb") as file:
        file.seek(0x100000)
        return hashlib.sha256(file.read(0x10000)).hexdigest()[:8]


def table(text: str | None) -> dict[str, Any]:
    """The JSON table in a metadata value; empty when it holds none."""
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
