"""What a LoRA file holds, for people: what it is, base, trigger words, training, hashes. Imports no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainer import lora_kinds
from trainer.errors import ModelError, os_message
from trainer.families import headers, lora_keys
from trainer.lora_file import file_sha256, shown, table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from trainer.lora_file import Header
    from trainer.lora_kinds import LoraKind

NOT_SAID = "not said"
_PARTS = {"unet": "the UNet", "te": "the text encoder", "te1": "text encoder 1", "te2": "text encoder 2"}
_DOTTED_PARTS = {"unet": "unet", "text_encoder": "te", "text_encoder_2": "te2"}
_TRAINING = (
    "ss_steps", "ss_epoch", "ss_num_train_images", "ss_num_reg_images", "ss_total_batch_size", "ss_resolution", "ss_unet_lr", "ss_text_encoder_lr",
    "ss_optimizer", "ss_lr_scheduler", "ss_min_snr_gamma", "ss_noise_offset", "ss_clip_skip", "ss_mixed_precision", "ss_seed",
)  # fmt: skip
_LONGEST = 2000  # characters of one value


@dataclass(frozen=True)
class Description:
    """What a LoRA file holds, for people. rows: (name, value) by heading. problem: why it cannot be used, or ""."""

    title: str
    rows: dict[str, list[tuple[str, str]]]
    problem: str = ""


def describe(path: Path) -> Description:
    """A readable account of a LoRA file, or of whatever else it is; all of it is read, for the hashes.

    Raises:
        ModelError: the file cannot be read.
    """
    header = headers.read(path)
    kind = lora_kinds.identify_header(header, path.name)
    said = header.metadata
    try:
        hashes = [("AutoV2 (whole file)", file_sha256(path)[:10])]
        if header.data_start:  # a .pt file has no data section
            hashes.append(("AutoV3 (tensors)", file_sha256(path, header.data_start)[:12]))
        size_bytes = path.stat().st_size
    except OSError as error:
        raise ModelError(os_message(f"{path} cannot be read", error)) from None
    hashes.append(("said in the file", said.get("sshs_model_hash", NOT_SAID)[:12]))
    rows = {
        "File": [*_what(header, kind), ("size", f"{size_bytes / 1e6:.1f} MB"), ("precision", _precision(header)), *_sizes(header, kind)],
        "About": _about(said, kind),
        "Training": [
            (key.removeprefix("ss_").replace("_", " "), said[key]) for key in _TRAINING if said.get(key, "None") != "None"
        ],
        "Hashes": hashes,
    }  # fmt: skip
    title = said.get("modelspec.title") or said.get("ss_output_name") or path.stem
    told = {heading: [(name, _text(value)) for name, value in pairs] for heading, pairs in rows.items()}
    return Description(shown(title), told, "" if kind.usable else kind.sentence)


def _what(header: Header, kind: LoraKind) -> list[tuple[str, str]]:
    out = [("what it is", kind.method or "no LoRA")]
    if not kind.usable:
        out.append(("note", kind.sentence))
    if kind.naming:
        out.append(("layer names", lora_kinds.NAMINGS[kind.naming]))
    out.append(("made with", kind.software or NOT_SAID))
    bundled = {key.split(".")[1] for key in header.shapes if key.startswith(lora_keys.BUNDLED)}
    return [*out, ("embeddings in it", ", ".join(sorted(bundled)))] if bundled else out


def _precision(header: Header) -> str:
    return ", ".join(sorted(set(header.dtypes.values()))) or NOT_SAID


def _sizes(header: Header, kind: LoraKind) -> list[tuple[str, str]]:
    """Layers by part and their ranks; nothing for what has none."""
    found = {n: key for n in header.shapes if kind.method and (key := lora_keys.split(n)) is not None}
    downs = {key.module: header.shapes[n] for n, key in found.items() if key.piece == "down" and header.shapes[n]}
    if not downs:
        return []
    parts: dict[str, int] = {}
    for module in downs:
        part = _part(module)
        parts[part] = parts.get(part, 0) + 1
    said = header.metadata.get("ss_network_alpha")
    has_alpha = any(key.piece == "alpha" for key in found.values())
    return [
        ("layers", ", ".join(f"{n:,} in {part}" for part, n in parts.items())),
        ("rank", ", ".join(map(str, sorted({shape[0] for shape in downs.values()})))),
        ("alpha", said or ("in each layer" if has_alpha else "none in it, taken as the rank")),
    ]


def _part(module: str) -> str:
    if found := re.match(r"lora_(unet|te1|te2|te)_", module):
        return _PARTS[found[1]]
    place = lora_keys.place(module)
    return _PARTS[_DOTTED_PARTS[place[0]]] if place else "other parts"


def _about(said: Mapping[str, str], kind: LoraKind) -> list[tuple[str, str]]:
    frequency = table(said.get("ss_tag_frequency"))
    folders = [folder for folder in frequency.values() if isinstance(folder, dict)]
    tags = sorted(((n, t) for folder in folders for t, n in folder.items() if isinstance(n, int)), reverse=True)
    base, version = (said.get(key, "") for key in ("ss_sd_model_name", "ss_base_model_version"))
    return [
        ("made for", kind.family.title if kind.family else NOT_SAID),
        ("base model", f"{base} ({version})" if base and version else base or version or NOT_SAID),
        ("architecture", said.get("modelspec.architecture", NOT_SAID)),
        ("trigger words", said.get("modelspec.trigger_phrase") or NOT_SAID),
        ("most frequent tags", ", ".join(f"{t} ({n})" for n, t in tags[:8]) or NOT_SAID),
        *((key, said[f"modelspec.{key}"]) for key in ("author", "description", "license", "date") if said.get(f"modelspec.{key}")),
    ]  # fmt: skip


def _text(value: str) -> str:
    """A value as it can be printed, on the lines that it has."""
    return "\n".join(shown(line, _LONGEST) for line in value[:_LONGEST].splitlines())
