"""Reads what a .safetensors file says about itself: header, metadata, hashes, a readable description. Imports no torch.

Format: https://github.com/huggingface/safetensors#format - 8 bytes header length (little endian), JSON header, data.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

from trainer.errors import ModelError, os_message

if TYPE_CHECKING:
    from pathlib import Path

MAX_HEADER_BYTES = 100_000_000  # the format's own limit
DTYPE_BYTES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1, "BOOL": 1}  # fmt: skip


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
        size = path.stat().st_size
        with path.open("rb") as file:
            return _parse(file, size, path)
    except FileNotFoundError:
        raise ModelError(f"There is no file {path}.") from None
    except IsADirectoryError:
        raise ModelError(f"{path} is a folder; give a .safetensors file.") from None
    except OSError as error:
        raise ModelError(os_message(f"{path} cannot be read", error)) from None


def _parse(file: BinaryIO, size: int, path: Path) -> Header:
    length = int.from_bytes(file.read(8), "little")
    if size < 10 or length > min(size - 8, MAX_HEADER_BYTES):
        raise ModelError(f"{path.name} is not a .safetensors file, or it is cut off.")
    try:
        entries = json.loads(file.read(length), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError):
        raise ModelError(f"{path.name} is not a .safetensors file: its header cannot be read.") from None
    if not isinstance(entries, dict):
        raise ModelError(f"{path.name} is not a .safetensors file: its header is no table.")
    metadata = entries.pop("__metadata__", None) or {}
    shapes: dict[str, tuple[int, ...]] = {}
    spans: list[tuple[int, int, str]] = []
    try:
        for name, entry in entries.items():
            shape, (start, stop) = entry["shape"], entry["data_offsets"]
            if not isinstance(shape, list) or any(type(n) is not int for n in (*shape, start, stop)):
                raise TypeError
            if stop - start != math.prod(shape) * DTYPE_BYTES[entry["dtype"]] or min(start, *shape, 0) < 0:
                raise ModelError(f"{path.name} is damaged: the size of {name} does not fit its shape.")
            shapes[name] = tuple(shape)
            spans.append((start, stop, name))
    except (KeyError, TypeError, ValueError):
        raise ModelError(f"{path.name} is damaged: its header has an entry that makes no sense.") from None
    end = 0
    for start, stop, name in sorted(spans):
        if start != end:
            raise ModelError(f"{path.name} is damaged: {name} overlaps another tensor, or leaves a gap.")
        end = stop
    if 8 + length + end > size:
        raise ModelError(f"{path.name} is cut off: {8 + length + end - size:,} bytes are missing. Copy it again.")
    strings = {str(k): v for k, v in metadata.items() if isinstance(v, str)} if isinstance(metadata, dict) else {}
    data = 8 + length
    dtypes = {name: entry["dtype"] for name, entry in entries.items()}
    return Header(strings, shapes, dtypes, data, {name: (data + a, data + b) for a, b, name in spans})


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A table of the header; the format forbids a name that is given twice."""
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("a name is given twice")
    return out


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


@dataclass(frozen=True)
class Description:
    """What a LoRA file holds, for people. rows: (name, value) by heading."""

    title: str
    rows: dict[str, list[tuple[str, str]]]


def describe(path: Path) -> Description:
    """A readable account of a LoRA file: base, rank, alpha, trigger words, training settings, hashes.

    Raises:
        ModelError: the file cannot be read or holds no LoRA.
    """
    header = read_header(path)
    modules = {k.split(".lora_down.")[0]: s for k, s in header.shapes.items() if ".lora_down." in k and s}
    if not modules:
        raise ModelError(
            f"{path.name} holds no LoRA layers in the usual (kohya) format: {len(header.shapes)} tensors, e.g. {next(iter(header.shapes), 'none')}."
        )
    m = header.metadata
    ranks = sorted({shape[0] for shape in modules.values()})
    parts = _count_by_prefix(modules)
    frequency = table(m.get("ss_tag_frequency"))
    folders = [folder for folder in frequency.values() if isinstance(folder, dict)]
    tags = sorted(((n, t) for folder in folders for t, n in folder.items() if isinstance(n, int)), reverse=True)
    rows = {
        "File": [
            ("size", f"{path.stat().st_size / 1e6:.1f} MB"),
            ("precision", ", ".join(sorted({header.dtypes[k] for k in header.dtypes}))),
            ("layers", ", ".join(f"{n} in {part}" for part, n in parts.items())),
            ("rank", ", ".join(map(str, ranks))),
            ("alpha", m.get("ss_network_alpha", "not said")),
            ("DoRA", "yes" if any(k.endswith(".dora_scale") for k in header.shapes) else "no"),
        ],
        "About": [
            (
                "base model",
                f"{m.get('ss_sd_model_name', 'not said')} ({m.get('ss_base_model_version', 'family not said')})",
            ),
            ("architecture", m.get("modelspec.architecture", "not said")),
            ("trigger words", m.get("modelspec.trigger_phrase") or "not said"),
            ("most frequent tags", ", ".join(f"{t} ({n})" for n, t in tags[:8]) or "not said"),
            *(
                (key, m[f"modelspec.{key}"])
                for key in ("author", "description", "license", "date")
                if m.get(f"modelspec.{key}")
            ),
        ],
        "Training": [(k.removeprefix("ss_").replace("_", " "), m[k]) for k in _TRAINING if m.get(k, "None") != "None"],
        "Hashes": [
            ("AutoV2 (whole file)", file_sha256(path)[:10]),
            ("AutoV3 (tensors)", file_sha256(path, header.data_start)[:12]),
            ("said in the file", m.get("sshs_model_hash", "not said")[:12]),
        ],
    }
    return Description(m.get("modelspec.title") or m.get("ss_output_name") or path.stem, rows)


_TRAINING = (
    "ss_steps", "ss_epoch", "ss_num_train_images", "ss_num_reg_images", "ss_total_batch_size", "ss_resolution", "ss_unet_lr", "ss_text_encoder_lr",
    "ss_optimizer", "ss_lr_scheduler", "ss_min_snr_gamma", "ss_noise_offset", "ss_clip_skip", "ss_mixed_precision", "ss_seed",
)  # fmt: skip


def _count_by_prefix(modules: dict[str, Any]) -> dict[str, int]:
    names = {"unet": "the UNet", "te": "the text encoder", "te1": "text encoder 1", "te2": "text encoder 2"}
    out: dict[str, int] = {}
    for stem in modules:
        found = re.match(r"lora_(unet|te1|te2|te)_", stem)
        name = names[found[1]] if found else "other parts"
        out[name] = out.get(name, 0) + 1
    return out


def table(text: str | None) -> dict[str, Any]:
    """The JSON table in a metadata value; empty when it holds none."""
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
