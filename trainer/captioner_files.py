"""Models that describe pictures: which kinds are known, how a folder is recognised, which files it needs. Imports no torch."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from trainer.errors import ModelError
from trainer.families.weight_files import choose, is_index

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

TAGGER_FILES = ("model.onnx", "selected_tags.csv")
_PLAIN_FILE = re.compile(r"[\w-][\w.-]*\.(json|txt)", re.ASCII)


@dataclass(frozen=True)
class Kind:
    """A kind of captioner.

    says: what comes of a picture. architecture: its class in transformers, empty for taggers. prompt: what one may tell it:
    how much it writes, how its sentence begins, or nothing.
    """

    id: str
    title: str
    says: Literal["tags", "sentence"]
    architecture: str = ""
    prompt: Literal["length", "beginning", ""] = ""


KINDS = {
    kind.id: kind
    for kind in (
        Kind("tagger", "WD tagger", "tags"),
        Kind("blip", "BLIP", "sentence", "BlipForConditionalGeneration", "beginning"),
        Kind("blip2", "BLIP-2", "sentence", "Blip2ForConditionalGeneration", "beginning"),
        Kind("florence2", "Florence-2", "sentence", "Florence2ForConditionalGeneration", "length"),
    )
}
EXAMPLES = {
    "tagger": "SmilingWolf/wd-swinv2-tagger-v3",
    "blip": "Salesforce/blip-image-captioning-large",
    "blip2": "Salesforce/blip2-opt-2.7b",
    "florence2": "florence-community/Florence-2-base",
}
KNOWN = "BLIP, BLIP-2, Florence-2 (config.json with weights) and WD taggers (model.onnx with selected_tags.csv)"


def kind_in(names: Collection[str], config: Mapping[str, Any] | None) -> Kind | None:
    """The kind of a folder with these files and this `config.json`; None when it is none that is known."""
    if set(TAGGER_FILES) <= set(names):
        return KINDS["tagger"]
    architectures = (config or {}).get("architectures")
    named = architectures if isinstance(architectures, list) else []
    return next((kind for kind in KINDS.values() if kind.architecture and kind.architecture in named), None)


def kind_of(folder: Path) -> Kind:
    """The kind of the captioner in a folder.

    Raises:
        ModelError: there is none, it is of an unknown kind, or it is not whole.
    """
    if not folder.is_dir():
        raise ModelError(f"There is no folder {folder}. Choose the folder of a captioner: {KNOWN}.")
    names = {path.name for path in folder.iterdir()}
    if set(TAGGER_FILES) <= names:
        return KINDS["tagger"]
    if lonely := set(TAGGER_FILES) & names:
        (missing,) = set(TAGGER_FILES) - lonely
        raise ModelError(f"{folder} holds {lonely.pop()}, but no {missing}. A tagger needs both; download it again.")
    config = _config(folder)
    kind = kind_in(names, config)
    if kind is None:
        named = config.get("architectures") or config.get("model_type") if config else None
        what = f"a model of another kind ({_words(named)})" if named else "no captioner"
        raise ModelError(f"{folder} holds {what}. Captioners that can be used are {KNOWN}.")
    if is_old_florence(config):
        raise ModelError(
            f"{folder} is a Florence-2 that runs Python code of its own, which this program does not do. Use one in the "
            f"format of transformers, e.g. {EXAMPLES[kind.id]}."
        )
    if choose(names) is None:
        raise ModelError(f"{folder} has no weights (model.safetensors), or not all of them. Download it again.")
    return kind


def is_whole(folder: Path) -> bool:
    """Whether a folder holds a captioner of which nothing is missing."""
    try:
        kind_of(folder)
    except (ModelError, OSError):
        return False
    return True


def is_old_florence(config: Mapping[str, Any] | None) -> bool:
    """Whether it is a Florence-2 from before transformers knew it, whose weights have other names."""
    vision = (config or {}).get("vision_config")
    return isinstance(vision, dict) and "dim_embed" in vision


def missing_package(kind: Kind) -> str:
    """What must be installed before a kind can be used, as a sentence; empty when all is there."""
    if kind.architecture or importlib.util.find_spec("onnxruntime") is not None:
        return ""
    return f"Taggers need the package onnxruntime, which is not installed. Install it with: {sys.executable} -m pip install onnxruntime"


def wanted(names: Collection[str], config: Mapping[str, Any] | None) -> list[str] | None:
    """The files of a repository that its captioner needs; None when it is none that can be used."""
    kind = kind_in(names, config)
    if kind is None or is_old_florence(config):
        return None
    if not kind.architecture:
        return list(TAGGER_FILES)
    weights = choose(names)
    plain = sorted(name for name in names if _PLAIN_FILE.fullmatch(name) and not is_index(name))
    return None if weights is None else [*plain, *weights.files]


def _config(folder: Path) -> dict[str, Any] | None:
    path = folder / "config.json"
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error}). Download the model again.") from None
    return values if isinstance(values, dict) else None


def _words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
