"""What a LoRA file is, told from its header alone: method, names, trainer, family; or what else it is. Imports no torch."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from trainer.errors import ModelError
from trainer.families import FAMILIES, headers, lora_keys, lora_names
from trainer.families.kinds import LORA_FAMILIES, LORA_FORMATS, OTHER_THINGS
from trainer.lora_file import shown, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from trainer.families import Family
    from trainer.lora_file import Header

Magnitudes = Literal["", "outputs", "inputs"]
Naming = Literal["", "kohya", "LyCORIS", "PEFT", "diffusers", "old diffusers", "OMI", "ComfyUI"]
NAMINGS: dict[Naming, str] = {
    "": "", "kohya": "kohya's", "LyCORIS": "LyCORIS'", "PEFT": "PEFT's", "diffusers": "diffusers'", "old diffusers": "those of diffusers before 0.24",
    "OMI": "OMI's (OneTrainer)", "ComfyUI": "ComfyUI's",
}  # fmt: skip
_PLAIN = "LoRA"
_EXPLAINED = {
    "LoHa": "products of two LoRAs", "LoKr": "Kronecker products", "OFT": "rotations", "GLoRA": "four factors a layer", "IA3": "factors, no matrices",
    "VeRA": "shared random matrices", "AdaLoRA": "singular values", "full differences": "whole weights instead of low-rank ones",
}  # fmt: skip
_FULL = re.compile(r"\.(diff|diff_b|w_norm|b_norm)$")
_EXTRAS = (
    (re.compile(r"\.[wb]_norm$"), "changes of norm layers"),
    (re.compile(r"\.diff(_b)?$"), "whole differences of weights"),
    (re.compile(r"\.bias$"), "biases"),
    (re.compile(r"lora_embedding_[AB]"), "changes of embeddings"),
)
_MARK_OF_OLD = re.compile(r"[._]lora(_linear_layer)?\.(down|up)\.weight$")
_MARK_OF_OMI = re.compile(r"clip_[lg]\.|unet\.(input_blocks|middle_block|output_blocks)\.")


@dataclass(frozen=True)
class LoraKind:
    """What a file is.

    method: "LoRA", "LoCon", "LoCon (Tucker)", with ", DoRA" after it, or another method; "" when it is no LoRA at all.
    naming: whose names its layers have. software: what trained it, "" when it does not tell. family: that it is for, if known.
    magnitudes: of DoRA, for each output of a layer or for each input, "" without. usable: whether it can be read.
    sentence: what it is, or why it cannot be used.
    """

    method: str
    naming: Naming
    software: str
    family: Family | None
    magnitudes: Magnitudes
    usable: bool
    sentence: str

    @property
    def is_dora(self) -> bool:
        """Whether it has magnitudes."""
        return self.magnitudes != ""


def identify(path: Path) -> LoraKind:
    """What a file is; no weight is read.

    Raises:
        ModelError: it is missing, damaged, in no format that is known, or would run code.
    """
    header = headers.read(path)
    return identify_header(header, path.name, header.data_start)


def identify_header(header: Header, name: str, size_bytes: int = 0) -> LoraKind:
    """What a file of that name with that header is."""
    keys = {n: key for n in header.shapes if (key := lora_keys.split(n)) is not None}
    has_halves = any(key.piece in ("down", "up") for key in keys.values())
    rest = [n for n in header.shapes if n not in keys and not n.startswith(lora_keys.BUNDLED)]
    things = [t for kind, t, pattern in OTHER_THINGS if kind == "controlnet" and any(pattern.search(n) for n in rest)]
    method = "" if things else next((t for t, p in LORA_FORMATS if t != _PLAIN and any(p.search(n) for n in rest)), "")
    if not has_halves and not method and not things and any(_FULL.search(n) for n in rest):
        method = "full differences"
    if method:
        return _other_method(header, name, method)
    if not has_halves or things:
        what = things[0] if things else _what(header, name, size_bytes)
        return LoraKind("", "", "", None, "", False, f"{name} is {what}, not a LoRA. Choose a LoRA file.")
    return _lora(header, name, keys, _extras(rest, name))


def require_lora(path: Path, family: Family | None = None, *, dora: bool | None = None) -> LoraKind:
    """What a file is that is to be used as a LoRA. family: of the base model, dora: the setting, where they are known.

    Raises:
        ModelError: it cannot be read, is no LoRA that can be used, or was made for another family or without DoRA.
    """
    kind = identify(path)
    if not kind.usable:
        raise ModelError(kind.sentence)
    if family is not None and kind.family is not None and kind.family is not family:
        raise ModelError(
            f"{path.name} was made for {kind.family.title}, and the base model is {family.title}. "
            f"Choose a LoRA made for {family.title}, or the base model that this one was made for."
        )
    if kind.magnitudes == "inputs":
        raise ModelError(
            f"{path.name} is a DoRA with a magnitude for each input, as OneTrainer and older LyCORIS write. Only those with one "
            "for each output can be trained further (in OneTrainer: decompose output axis); the tools can bake it into a model."
        )
    if kind.is_dora and dora is False:
        raise ModelError(f"{path.name} was trained with DoRA, which is off. Switch DoRA on to train it further.")
    return kind


def _lora(header: Header, name: str, keys: Mapping[str, lora_keys.Key], problem: str) -> LoraKind:
    """problem: with what it holds besides LoRA layers."""
    halves = {n: key for n, key in keys.items() if key.piece in ("down", "up")}
    magnitudes = _magnitudes(header, keys)
    method = _method(header, keys, has_magnitudes=magnitudes != "")
    naming, software = _naming(halves), software_of(header.metadata)
    family = lora_names.family_of(header.metadata, header.shapes)
    if problem := _other_family(halves, name) or problem:
        return LoraKind(method, naming, software, None, magnitudes, False, problem)
    told = [f"{name} is {_a(method)}"]
    told += [f"for {family.title}"] if family else []
    told += [f"in {NAMINGS[naming]} names"] if naming != "old diffusers" else ["in the names of diffusers before 0.24"]
    sentence = " ".join(told) + (f", made with {software}." if software else ".")
    return LoraKind(method, naming, software, family, magnitudes, True, sentence)


def _method(header: Header, keys: Mapping[str, lora_keys.Key], *, has_magnitudes: bool) -> str:
    pieces = {key.piece for key in keys.values()}
    wide = any(
        len(s) == 4 and s[2] * s[3] > 1 for n, s in header.shapes.items() if n in keys and keys[n].piece == "down"
    )
    method = "LoCon (Tucker)" if "mid" in pieces else "LoCon" if wide else _PLAIN
    return (f"{method}, DoRA" if method != _PLAIN else "DoRA") if has_magnitudes else method


def _naming(halves: Mapping[str, lora_keys.Key]) -> Naming:
    """Whose names most layers have."""
    counts: Counter[Naming] = Counter()
    for name in halves:
        if name.startswith("lora_"):
            counts["kohya"] += 1
        elif name.startswith("lycoris_"):
            counts["LyCORIS"] += 1
        elif "base_model.model." in name:
            counts["PEFT"] += 1
        elif _MARK_OF_OMI.match(name):
            counts["OMI"] += 1
        elif name.startswith(("diffusion_model.", "model.diffusion_model.", "text_encoders.")):
            counts["ComfyUI"] += 1
        else:
            counts["old diffusers" if _MARK_OF_OLD.search(name) else "diffusers"] += 1
    if counts["old diffusers"] or counts["OMI"]:  # such files have layers that do not show it
        counts["old diffusers" if counts["old diffusers"] else "OMI"] += counts["diffusers"]
    return counts.most_common(1)[0][0]


def software_of(metadata: Mapping[str, str]) -> str:
    """The trainer that wrote a file, as far as it tells."""
    ours, module = metadata.get("modelspec.implementation_version", ""), metadata.get("ss_network_module", "")
    if ours.startswith("LoRA Atelier"):
        return ours
    said = table(metadata.get("software"))
    if isinstance(name := said.get("name"), str):
        version = said.get("version")
        return shown(f"{name} {version}" if isinstance(version, str) else name)
    if metadata.get("software"):
        return shown(metadata["software"])
    if any(key.startswith("ot_") for key in metadata):
        return "OneTrainer"
    if module.startswith("lycoris"):
        return "kohya sd-scripts with LyCORIS"
    if module.startswith("networks.") or "ss_sd_scripts_commit_hash" in metadata:
        return "kohya sd-scripts"
    return "ComfyUI" if "workflow" in metadata or "prompt" in metadata else ""


def _other_method(header: Header, name: str, method: str) -> LoraKind:
    known = f" ({_EXPLAINED[method]})" if method in _EXPLAINED else ""
    what = f"holds {method}" if method.startswith("full") else f"is {_a(method)}"
    sentence = f"{name} {what}{known}, which cannot be used here. Use a LoRA, LoCon or DoRA."
    family = next((t for t, p in LORA_FAMILIES if any(p.search(n) for n in header.shapes)), "")
    known_family = None if family else lora_names.family_of(header.metadata, header.shapes)
    return LoraKind(method, "", software_of(header.metadata), known_family, "", False, sentence)


def _other_family(halves: Mapping[str, lora_keys.Key], name: str) -> str:
    """Why the layers are of no family that can be trained; "" when they are of one."""
    first: dict[str, str] = {}
    for n, key in halves.items():
        first.setdefault(key.module, n)
    odd = [n for module, n in first.items() if lora_keys.place(module) is None]
    title = next((t for t, pattern in LORA_FAMILIES if any(pattern.search(n) for n in odd)), "")
    ours = ", ".join(family.title for family in FAMILIES.values())
    if title == "AnimateDiff":
        return f"{name} is a motion LoRA for AnimateDiff, which moves pictures. Choose a LoRA for {ours}."
    if title:
        return f"{name} is a LoRA for {title}, which is not supported. Choose a LoRA for {ours}."
    unknown = next((n for n in odd if not n.startswith(lora_keys.PLAIN_STEMS)), None)
    if unknown is None:
        return ""
    return f"{name} is a LoRA for a model that is not known; it holds {shown(unknown)}. Choose a LoRA for {ours}."


def _extras(rest: Sequence[str], name: str) -> str:
    """Why what it holds besides LoRA layers cannot be left out; "" when there is nothing."""
    if not rest:
        return ""
    what = next((words for pattern, words in _EXTRAS if any(pattern.search(n) for n in rest)), "something else")
    odd = next((n for n in rest if any(p.search(n) for p, words in _EXTRAS if words == what)), rest[0])
    return (
        f"{name} also holds {what} besides its LoRA layers ({shown(odd)}), which cannot be used here. Use a plain LoRA."
    )


def _magnitudes(header: Header, keys: Mapping[str, lora_keys.Key]) -> Magnitudes:
    """Which of the two kinds of DoRA it is, by the shapes: (out, 1), (out,) or peft's (1, out, 1, 1), or (1, in)."""
    found: Magnitudes = ""
    if all(key.piece != "magnitude" for key in keys.values()):
        return found
    outputs = {key.module: header.shapes[n][:1] for n, key in keys.items() if key.piece == "up"}
    for n, key in keys.items():
        if key.piece == "magnitude":
            found = "outputs"
            shape = header.shapes[n]
            if n.endswith(".dora_scale") and len(shape) > 1 and shape[0] == 1 and outputs.get(key.module) != (1,):
                return "inputs"
    return found


def _what(header: Header, name: str, size_bytes: int) -> str:
    """What a file without LoRA layers is, as a noun."""
    found = headers.identify_header(header, name, size_bytes)
    match found.kind:
        case "base" | "inpainting" | "editing" | "refiner":
            return f"a whole checkpoint ({found.title})"
        case "vae" | "controlnet":
            return found.title
        case "text encoder":
            return "a text encoder"
        case "embedding":
            return "a textual-inversion embedding"
        case "unet":
            return "a UNet"
        case "other":
            return found.title if found.title.startswith(("a ", "an ")) else f"{_a(found.title)} model"
    count = len(header.shapes)
    return (
        f"a file of {count:,} tensor{'s' * (count > 1)} of a kind that is not known, e.g. {_first(header.shapes)}"
        if count
        else "empty"
    )


def _first(names: Iterable[str]) -> str:
    return shown(next(iter(names)))


def _a(title: str) -> str:
    return f"an {title}" if title.startswith(("OFT", "IA3", "AdaLoRA", "SD", "A", "E", "I")) else f"a {title}"
