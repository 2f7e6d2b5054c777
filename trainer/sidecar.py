"""The files beside a LoRA that A1111, Forge and InvokeAI look for: its picture and its trigger words. Imports no torch."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from trainer.families import lora_names

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def picture_beside(file: Path) -> Path:
    """Where A1111, Forge and Civitai helpers look for a LoRA's picture."""
    return file.with_name(f"{file.stem}.preview.png")


def words_beside(file: Path) -> Path:
    """Where A1111, Forge and InvokeAI look for a LoRA's trigger words; none of them reads those in the file."""
    return file.with_name(f"{file.stem}.json")


def words(metadata: Mapping[str, str]) -> str:
    """The text of `words_beside`. metadata: of the LoRA file."""
    family = lora_names.family_of(metadata, {})
    values = {
        "description": metadata.get("modelspec.description", "").strip(),
        # A1111's names are SD1, SD2 and SDXL; it hides a LoRA of another version than the loaded model's.
        "sd version": family.title.replace(" ", "").removesuffix(".x") if family else "Unknown",
        "activation text": metadata.get("modelspec.trigger_phrase", ""),
        "preferred weight": 1.0,
        "notes": "",
    }
    return json.dumps(values, indent=4, ensure_ascii=False) + "\n"
