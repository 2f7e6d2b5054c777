"""What files that tools made from other files say about themselves: sizes, origins, words. Imports no torch."""

from __future__ import annotations

import datetime
import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainer import __version__
from trainer.lora_file import table
from trainer.metadata import Words, retold

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from trainer.families import Family
    from trainer.metadata import Hashes

VARYING = "Dynamic"  # kohya's word for ranks that differ from layer to layer
_FIRST = ("ss_base_model_version", "ss_v2", "modelspec.architecture", "modelspec.implementation")
_AGREED = (
    "ss_sd_model_name", "ss_sd_model_hash", "ss_new_sd_model_hash", "ss_vae_name", "ss_vae_hash", "ss_new_vae_hash", "ss_clip_skip",
    "ss_max_token_length", "ss_resolution", "modelspec.prediction_type", "modelspec.resolution", "modelspec.encoder_layer",
)  # fmt: skip
_JOINED = ("trigger_phrase", "tags", "author", "license")


@dataclass(frozen=True)
class Source:
    """One of the files that were merged. title: what it is called, e.g. its file name when it does not say."""

    title: str
    metadata: Mapping[str, str]
    weight: float


def title_of(metadata: Mapping[str, str], fallback: str) -> str:
    """What the file calls itself."""
    return metadata.get("modelspec.title") or metadata.get("ss_output_name") or fallback


def sized(metadata: Mapping[str, str], usual: Iterable[int], wide: Iterable[int]) -> dict[str, str]:
    """The metadata with ranks of layers whose alpha is their rank. wide: of 3x3 convolutions, usual: of all others."""
    args = {k: v for k, v in table(metadata.get("ss_network_args")).items() if k not in ("conv_dim", "conv_alpha")}
    ranks, wide_ranks = set(usual), set(wide)
    if wide_ranks:
        args |= {"conv_dim": _one(wide_ranks), "conv_alpha": _one(wide_ranks)}
    dim = _one(ranks or wide_ranks)
    told = {"ss_network_module": "networks.lora", "ss_network_dim": dim, "ss_network_alpha": dim}
    return dict(metadata) | told | {"ss_network_args": json.dumps(args)}


def merged(sources: Sequence[Source], title: str | None = None) -> dict[str, str]:
    """What the merged file says, but for its sizes and hashes.

    How each was trained is left out, as it would be true of none. What the files say differently about their base model
    is left out too.
    """
    told = _made_now() | {"modelspec.merged_from": ", ".join(s.title for s in sources)}
    for key in (*_FIRST, *_AGREED):
        said = list(dict.fromkeys(s.metadata[key] for s in sources if s.metadata.get(key)))
        if said and (len(said) == 1 or key in _FIRST):
            told[key] = said[0]
    for key in _JOINED:
        parts = [part.strip() for s in sources for part in s.metadata.get(f"modelspec.{key}", "").split(",")]
        told[f"modelspec.{key}"] = ", ".join(dict.fromkeys(part for part in parts if part))
    if frequency := _tag_frequency(sources):
        told["ss_tag_frequency"] = json.dumps(frequency)
    return retold(told, Words(title or " + ".join(s.title for s in sources), f"Merged from {_recipe(sources)}."))


def baked(base: Mapping[str, str], base_name: str, sources: Sequence[Source]) -> dict[str, str]:
    """What a checkpoint says into which LoRAs were baked: what it said, and the recipe.

    base: of the checkpoint. Hashes of tensors in it are those of the old file and must be made anew.
    """
    names = [base.get("modelspec.merged_from") or base_name, *(s.title for s in sources)]
    recipe = f"With {_recipe(sources)}."
    told = dict(base) | {
        "modelspec.merged_from": ", ".join(names),
        "modelspec.description": " ".join(filter(None, (base.get("modelspec.description"), recipe))),
    }
    return {"format": "pt"} | told  # without it transformers refuses the file


@dataclass(frozen=True)
class Extracted:
    """Where a LoRA was extracted from. base, tuned: names of the files, without folders; hashes: of the base."""

    family: Family
    v_prediction: bool
    base: str
    tuned: str
    hashes: Hashes


def extracted(facts: Extracted, title: str) -> dict[str, str]:
    """What an extracted LoRA says, but for its sizes and hashes."""
    family, v = facts.family, facts.v_prediction
    told = _made_now() | {
        "ss_sd_model_name": facts.base, "ss_sd_model_hash": facts.hashes.short, "ss_new_sd_model_hash": facts.hashes.sha256,
        "ss_base_model_version": family.kohya_version_v if v else family.kohya_version, "ss_v2": str(family.is_v2),
        "modelspec.architecture": family.architecture_v if v else family.architecture,
        "modelspec.implementation": family.implementation, "modelspec.prediction_type": "v" if v else "epsilon",
        "modelspec.resolution": f"{family.resolution}x{family.resolution}",
    }  # fmt: skip
    return retold(told, Words(title, f"Extracted from the difference of {facts.tuned} and {facts.base}."))


def _made_now() -> dict[str, str]:
    return {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.date": datetime.datetime.now(datetime.UTC).replace(microsecond=0, tzinfo=None).isoformat(),
        "modelspec.implementation_version": f"LoRA Atelier {__version__}",
    }


def _recipe(sources: Sequence[Source]) -> str:
    return ", ".join(f"{s.title} x {s.weight:g}" for s in sources)


def _tag_frequency(sources: Sequence[Source]) -> dict[str, dict[str, int]]:
    """All tables together; A1111 shows these tags, and fails on any that is not two levels with counts."""
    out: dict[str, Counter[str]] = {}
    for source in sources:
        for folder, tags in table(source.metadata.get("ss_tag_frequency")).items():
            if isinstance(tags, dict):
                counts = {tag: n for tag, n in tags.items() if isinstance(n, int)}
                out.setdefault(folder, Counter()).update(counts)
    return {folder: dict(tags.most_common()) for folder, tags in out.items() if tags}


def _one(ranks: set[int]) -> str:
    return str(next(iter(ranks))) if len(ranks) == 1 else VARYING
