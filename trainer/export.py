"""Writes the LoRA file that other programs load: kohya's keys and metadata, atomic, read back before "saved" is said.

Keys: `<stem>.lora_down.weight`, `<stem>.lora_up.weight`, `<stem>.alpha` (and `.dora_scale`); see `Adapter.tensors`.
"""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING

import safetensors
import safetensors.torch
import torch

from trainer import lora_file, metadata
from trainer.errors import DivergedError, RunError, os_message
from trainer.run_folder import write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from trainer.run_folder import RunFolder

_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


def write(path: Path, tensors: Mapping[str, torch.Tensor], metadata: dict[str, str], precision: str) -> float:
    """Writes the file and reads it back; returns the largest difference to `tensors` that rounding made.

    Raises:
        DivergedError: a weight is not finite in this precision; nothing is written.
        RunError: the file cannot be written, or did not come back as it was written.
    """
    cast = {key: value.to(_DTYPES[precision]).contiguous() for key, value in tensors.items()}
    bad = next((key for key, value in cast.items() if not value.isfinite().all()), None)
    if bad is not None:
        raise DivergedError(
            f"Layer {bad} holds numbers that {precision} cannot hold, so no file is written. Export in bf16 or fp32, or an earlier checkpoint."
        )
    try:
        write_atomically(path, lambda p: save_hashed(p, cast, metadata))
        same = _is_as_written(path, cast)
    except OSError as error:
        raise RunError(os_message(f"The LoRA file {path.name} could not be written", error)) from error
    except safetensors.SafetensorError as error:
        raise RunError(
            f"The LoRA file {path.name} did not read back ({error}). Check the disk and export again."
        ) from error
    if not same:
        raise RunError(
            f"The LoRA file {path.name} did not come back as it was written. Check the disk and export again."
        )
    return max(float((cast[key].float() - value).abs().max()) for key, value in tensors.items())


def _is_as_written(path: Path, tensors: Mapping[str, torch.Tensor]) -> bool:
    """Whether the file on the disk holds exactly these, read one by one."""
    with safetensors.safe_open(path, "pt") as file:
        return set(file.keys()) == tensors.keys() and all(
            torch.equal(file.get_tensor(key), value) for key, value in tensors.items()
        )


def from_checkpoint(
    folder: RunFolder, step: int, out: Path, words: metadata.Words, precision: str, *, overwrite: bool = False
) -> float:
    """Writes the LoRA of a checkpoint as a file to share, with other words in it; returns the largest rounding difference.

    Raises:
        RunError: there is no such checkpoint, it is damaged, or `out` exists already and may not be overwritten.
        ModelError: the checkpoint's file cannot be read.
        DivergedError: a weight is not finite in this precision.
    """
    steps = folder.checkpoints()
    if step not in steps:
        there = f"it has {', '.join(map(str, steps))}" if steps else "it has none yet"
        raise RunError(f"The run {folder.path} has no checkpoint of step {step}; {there}.")
    source = folder.checkpoint(step) / "lora.safetensors"
    if out.exists() and not overwrite:
        raise RunError(f"{out} exists already and is left as it is. Choose another name, or allow it to be replaced.")
    if out.absolute().is_relative_to((folder.path / "checkpoints").absolute()):
        raise RunError(f"{out} lies among the run's checkpoints, which are kept as they are. Choose another folder.")
    told = metadata.retold(lora_file.read_header(source).metadata, words)
    try:
        tensors = safetensors.torch.load_file(source)
    except (OSError, safetensors.SafetensorError) as error:
        raise RunError(f"The checkpoint {source} is damaged ({error}). Export another one.") from error
    return write(out, tensors, told, precision)


def save_hashed(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """As `save`, with `sshs_model_hash`, `sshs_legacy_hash` and `modelspec.hash_sha256` of exactly these tensors.

    As kohya: the hashes are those of a file with the `ss_*` metadata alone, which is written first and then replaced. The model
    hash is the sha256 of its data section, the legacy hash the first 8 digits of the sha256 of 64 KiB from 1 MiB on.

    Raises:
        OSError: the file cannot be written.
    """
    save(path, tensors, {k: v for k, v in metadata.items() if k.startswith("ss_")})
    with path.open("rb") as file:
        header_bytes = 8 + int.from_bytes(file.read(8), "little")
        file.seek(0x100000)
        legacy = hashlib.sha256(file.read(0x10000)).hexdigest()[:8]
        file.seek(header_bytes)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    hashes = {"sshs_model_hash": digest, "sshs_legacy_hash": legacy, "modelspec.hash_sha256": f"0x{digest}"}
    save(path, tensors, {**metadata, **hashes})


def save(path: Path, tensors: Mapping[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    """Writes the tensors without a copy of them.

    Raises:
        OSError: the file cannot be written.
    """
    try:
        safetensors.torch.save_file(dict(tensors), path, metadata)
    except safetensors.SafetensorError as error:  # how the library tells of a full disk
        found = re.search(r"\(os error (\d+)\)", str(error))
        if found is None:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1])), str(path)) from error
