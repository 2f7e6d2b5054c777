"""What other programs make of a LoRA file, from its names, shapes and metadata, by their own rules. Imports no torch.

A fault of the file is an error; what a program merely cannot do with it (DoRA, odd targets) is a limit of that program.
Which program reads what: A1111 v1.10.1, Forge dfdcbab, ComfyUI v0.8.0, InvokeAI 6.14, diffusers 0.42.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trainer import lora_file
from trainer.errors import ModelError, os_message
from trainer.families import clients as rules

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.families import Family
    from trainer.families.clients import Blocks, Slot
    from trainer.lora_file import Header

PROGRAMS = ("A1111", "Forge", "ComfyUI", "InvokeAI", "diffusers")
DTYPES = ("F16", "BF16", "F32")  # that all of them read
MAX_HEADER_BYTES = 64 << 20  # Civitai's reader
ADVICE = "It is not kept. Export again; if that happens again, please report it."

_KINDS = ("lora_down.weight", "lora_up.weight", "alpha", "dora_scale")
_TABLES = ("ss_tag_frequency", "ss_dataset_dirs", "ss_bucket_info", "ss_network_args")
_FORBIDDEN = ("none", "addams")  # A1111 keeps these prompt aliases for itself


@dataclass(frozen=True)
class Reading:
    """A file that has no faults.

    stems: the name of each layer in the file, by (part, module path without `text_model.`). limits: why a program does not
    use it as it is, by program: the beginning of a sentence that ends with the program. dtype: "F16", "BF16" or "F32".
    """

    stems: dict[tuple[str, str], str]
    limits: dict[str, str]
    dtype: str
    is_dora: bool

    @property
    def programs(self) -> tuple[str, ...]:
        """Those that load it."""
        return tuple(p for p in PROGRAMS if p not in self.limits)

    @property
    def sentences(self) -> tuple[str, ...]:
        """The limits, without full stops."""
        by_reason: dict[str, list[str]] = {}
        for program, reason in self.limits.items():
            by_reason.setdefault(reason, []).append(program)
        own_way = ["Forge and ComfyUI compute DoRA in a way of their own, hence the difference"] * self.is_dora
        return (*own_way, *(f"{reason} {' and '.join(programs)}" for reason, programs in by_reason.items()))

    def without(self, program: str, why: str) -> Reading:
        """The same, with one program more that does not load the file."""
        return replace(self, limits=self.limits | {program: why})


def read(path: Path, family: Family, blocks: Blocks) -> Reading:
    """Looks at the file as each program does; its numbers are only hashed.

    Raises:
        ModelError: the file is damaged, or some program would not load it as it is; the sentence says what would happen.
    """
    header = lora_file.read_header(path)
    try:
        _check_container(path, header)
        groups = _grouped(path, header)
        table, others = rules.slots(family.id, blocks), rules.other_spelling(family.id, blocks)
        for stem, kinds in groups.items():
            _check_name(path, stem, table, others)
            _check_layer(path, stem, kinds, table[stem], header)
        _check_metadata(path, header, family)
    except OSError as error:
        raise ModelError(os_message(f"{path} cannot be read", error)) from None
    stems = {(table[stem].part, table[stem].module): stem for stem in groups}
    dora = any("dora_scale" in kinds for kinds in groups.values())
    return Reading(stems, _limits(header, family, groups, dora), next(iter(header.dtypes.values())), dora)


def fault(path: Path, what: str, then: str) -> ModelError:
    """The error for a file that would not work as it was trained: what is wrong, and what would happen."""
    return ModelError(f"{path.name} would not work as it was trained: {what}; {then}. {ADVICE}")


def _check_container(path: Path, header: Header) -> None:
    with path.open("rb") as file:
        file.seek(8)
        first = file.read(2)
    if first != b'{"':
        raise fault(path, 'its header does not begin with {"', "A1111 and Forge refuse it")
    if header.data_start > MAX_HEADER_BYTES:
        raise fault(path, f"its header has {header.data_start / 1e6:.0f} MB", "Civitai refuses it above 67 MB")
    found = sorted({*header.dtypes.values()})
    if odd := [dtype for dtype in found if dtype not in DTYPES]:
        name = next(k for k, dtype in header.dtypes.items() if dtype in odd)
        raise fault(path, f"{name} is saved as {odd[0]}", "A1111 and others read only fp16, bf16 and fp32")
    if len(found) > 1:
        raise fault(path, f"it mixes the formats {' and '.join(found)}", "programs differ in what they make of that")


def _grouped(path: Path, header: Header) -> dict[str, set[str]]:
    """The kinds of tensors of each layer, by its name."""
    groups: dict[str, set[str]] = {}
    for key in header.shapes:
        stem, _, kind = key.partition(".")
        if kind not in _KINDS:
            raise fault(
                path, f"no program knows what {key} is", "diffusers refuses the file, the others leave that out"
            )
        groups.setdefault(stem, set()).add(kind)
    if not groups:
        raise fault(path, "it holds no layers", "it does nothing")
    for stem, kinds in groups.items():
        for kind in _KINDS[:2]:
            if kind not in kinds:
                raise fault(
                    path, f"layer {stem} has no {kind}", "ComfyUI and A1111 leave it out, diffusers refuses the file"
                )
        if "alpha" not in kinds:
            raise fault(
                path, f"layer {stem} has no alpha", "A1111, Forge, ComfyUI and InvokeAI take its rank for it, diffusers another layer's, so its strength is wrong",
            )  # fmt: skip
    return groups


def _check_name(path: Path, stem: str, table: dict[str, Slot], others: set[str]) -> None:
    if stem in table:
        return
    if stem in others:
        raise fault(
            path, f"layer {stem} has a name in another spelling than this family's files", "A1111 leaves it out, and diffusers leaves out the rest where both are mixed",
        )  # fmt: skip
    if stem.startswith("lora_te") and "_text_model_" not in stem:
        raise fault(
            path, f"layer {stem} lacks text_model in its name", "every program leaves the text encoder's layers out"
        )
    raise fault(path, f"the base model has no layer {stem}", "A1111, Forge and ComfyUI leave it out without a word")


def _check_layer(path: Path, stem: str, kinds: set[str], slot: Slot, header: Header) -> None:
    down, up = (header.shapes[f"{stem}.{kind}"] for kind in _KINDS[:2])
    if header.shapes[f"{stem}.alpha"] not in ((), (1,)):
        raise fault(path, f"the alpha of layer {stem} is not one number", "no program loads it")
    if slot.kernel == rules.LINEAR:
        right = len(down) == 2 and len(up) == 2
    else:
        right = len(down) == 4 and down[2:] == (slot.kernel, slot.kernel) and len(up) == 4 and up[2:] == (1, 1)
    if not right:
        form = "a matrix" if slot.kernel == rules.LINEAR else f"a {slot.kernel}x{slot.kernel} convolution"
        raise fault(
            path, f"layer {stem} has the shapes {_shape(down)} and {_shape(up)}, but is {form}", "diffusers and kohya's tools refuse it",
        )  # fmt: skip
    if up[1] != down[0]:
        raise fault(
            path, f"the halves of layer {stem} do not fit, {_shape(down)} and {_shape(up)}: one is transposed", "A1111 and ComfyUI leave it out, diffusers refuses the file",
        )  # fmt: skip


def _check_metadata(path: Path, header: Header, family: Family) -> None:
    told, wanted = header.metadata, rules.FACTS[family.id].a1111
    for program, version in (("A1111", rules.a1111_version(told)), ("Forge", rules.forge_version(told))):
        if version and version != wanted:
            raise fault(
                path,
                f"its metadata makes {program} take it for {version}",
                f"{program} hides it from its list with an {wanted} model",
            )
    for key, value in told.items():
        if value.startswith("{") and not isinstance(_json(value), dict):
            raise fault(path, f"{key} begins with a brace and is no JSON table", "A1111's list of LoRAs stops at it")
        if key in _TABLES and not isinstance(_json(value), dict):
            raise fault(path, f"{key} is no JSON table", "A1111 cannot show what the file says")
    folders = lora_file.table(told.get("ss_tag_frequency"))
    if any(not isinstance(tags, dict) or any(type(n) is not int for n in tags.values()) for tags in folders.values()):
        raise fault(path, "ss_tag_frequency is no table of tags by folder", "A1111 cannot show its tags")
    alias = told.get("ss_output_name", "")
    if alias.lower() in _FORBIDDEN or any(sign in alias for sign in ":,<>"):
        raise fault(path, f'its name "{alias}" cannot stand in a prompt', "A1111 and Forge cannot use it by its name")
    said = {told.get("sshs_model_hash"), told.get("modelspec.hash_sha256", "").removeprefix("0x")} - {None, ""}
    if said and said != {lora_file.file_sha256(path, header.data_start)}:
        raise fault(
            path,
            "the hash in its metadata is that of another file",
            "Civitai links pictures made with it to another model",
        )


def _limits(header: Header, family: Family, groups: dict[str, set[str]], dora: bool) -> dict[str, str]:
    """Why a program does not use the file fully, though nothing is wrong with it; by program."""
    facts = rules.FACTS[family.id]
    out: dict[str, str] = {}
    if dora:
        out |= dict.fromkeys(("A1111", "InvokeAI"), "DoRA's magnitudes are misread by") | {
            "diffusers": "DoRA's magnitudes are ignored by"
        }
    for part in facts.openclip:
        begin = f"{facts.prefixes[part]}_text_model_encoder_layers_"
        attention = [s.removeprefix(begin) for s in groups if s.startswith(begin) and "_self_attn_" in s]
        layers = {name.split("_")[0] for name in attention}
        if len(attention) < 4 * len(layers):
            out["A1111"] = "Text-encoder layers that lack one of q, k, v and out are left out by"
    taken = rules.invokeai_version({k: v for k, v in header.shapes.items() if len(v) > 1})
    if taken != facts.a1111:
        out["InvokeAI"] = f"It is taken for {taken} by" if taken else "Its family is not recognised by"
    return out


def _json(text: str) -> object:
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "one number"
