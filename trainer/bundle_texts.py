"""The words of a Civitai bundle: description in Markdown, settings without private paths. Imports no torch."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING

import tomli_w

from trainer import lora_file, settings_file
from trainer.families import lora_names
from trainer.settings import DEMO, TrainingSettings, info

if TYPE_CHECKING:
    from trainer.lora_file import Header

_NAME_ONLY = ("base", "vae", "data", "start_from")  # what one needs to know to repeat the run; other paths go


@dataclass(frozen=True)
class Hashes:
    """Of a LoRA file, as Civitai computes them. autov1: "" below 1 MiB, where it is the hash of nothing."""

    autov1: str
    autov2: str
    autov3: str
    sha256: str
    crc32: str


def hashes(path: Path, header: Header) -> Hashes:
    """The file's hashes, from two readings.

    Raises:
        OSError: it cannot be read.
    """
    crc = 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            crc = zlib.crc32(chunk, crc)
    whole = lora_file.file_sha256(path)
    short = lora_file.short_hash(path) if path.stat().st_size > 0x100000 else ""
    return Hashes(short, whole[:10], lora_file.file_sha256(path, header.data_start)[:12], whole, f"{crc:08X}")


def settings_text(settings: TrainingSettings) -> str:
    """run.toml as it can be shown to the world: folders are left out, of files only the names stay; it says so at its top."""
    values = settings_file.to_dict(settings)
    taken = [name for name in values if name not in _NAME_ONLY and _is_private(settings, name)]
    for name in taken:
        del values[name]
    shortened = []
    for name in _NAME_ONLY:
        value = str(values.get(name, ""))
        if name in values and value != DEMO and (plain := _file_name(value)) != value:
            shortened.append(name)
            values[name] = plain
            if not plain:
                del values[name]
    for concept in values.get("concepts", []):
        concept["folder"] = _file_name(concept["folder"]) or "pictures"
        shortened = list(dict.fromkeys([*shortened, "concepts"]))
    lines = ["# The settings of this LoRA, for LoRA Atelier: lora-atelier train settings.toml --data YOUR_PICTURES"]
    if taken:
        lines.append(f"# Taken out, as private: {_labels(taken)}.")
    if shortened:
        lines.append(f"# Of these only the name is left, without its folder: {_labels(shortened)}.")
    return without_home("\n".join(lines) + "\n" + tomli_w.dumps(values))


def _is_private(settings: TrainingSettings, name: str) -> bool:
    """Whether it holds paths."""
    value = getattr(settings, name, None)
    several = value if isinstance(value, tuple) else (value,)
    return (name == "left_out" and bool(value)) or any(isinstance(v, Path) and v != Path() for v in several)


def without_home(text: str) -> str:
    """The text with ~ for the user's home folder, in all spellings."""
    home = Path.home()
    for spelling in (str(home), home.as_posix(), str(home).replace("\\", "\\\\")):
        if len(spelling) > 1:  # a service without a home has /
            text = text.replace(spelling, "~")
    return text


def description(file: Path, header: Header, settings: TrainingSettings) -> str:
    """description.md, which is meant to be pasted into the model's page. file: the LoRA in the bundle."""
    told = header.metadata
    trigger = told.get("modelspec.trigger_phrase", "")
    title = told.get("modelspec.title") or file.stem
    parts = [f"# {_line(title)}"]
    if text := told.get("modelspec.description", "").strip():
        parts.append(text)
    words = f"**Trigger words:** `{_line(trigger)}`" if trigger else "**Trigger words:** none"
    base = f"**Base model:** {_line(_base(told))}"
    strength = "**Recommended strength:** 1; 0.6 to 0.8 leaves more to the base model and to other LoRAs"
    parts.append("  \n".join((words, strength, base)))
    if skip := told.get("modelspec.encoder_layer", "1"):
        parts[-1] += f"  \n**Clip skip:** {skip}" if skip != "1" else ""
    parts += ["## How to use it", _usage(file, trigger)]
    parts += ["## Training", _table(_training(told, settings))]
    parts += ["## File", _table(_file_rows(file, header))]
    parts.append("Made with LoRA Atelier.")
    return without_home("\n\n".join(parts) + "\n")


def _base(told: dict[str, str]) -> str:
    family = settings_title(told)
    name = told.get("ss_sd_model_name", "")
    hash = told.get("ss_new_sd_model_hash", "")[:10]
    return " ".join(part for part in (name, f"({family})" if family else "", f"`{hash}`" if hash else "") if part)


def settings_title(told: dict[str, str]) -> str:
    """The base's family in words, e.g. "SDXL" or "SD 2.x, v-prediction"; "" when the file does not say."""
    family = lora_names.family_of(told, {})
    if family is None:
        return ""
    return family.title + (", v-prediction" if told.get("modelspec.prediction_type") == "v" else "")


def _usage(file: Path, trigger: str) -> str:
    word = f"`{_line(trigger)}`"
    lines = (
        f"- **A1111, Forge, SD.Next**: into `models/Lora`; write `<lora:{file.stem}:1>`{f' and {word}' if trigger else ''} in the prompt.",
        f"- **ComfyUI**: into `models/loras`; a *Load LoRA* node with strength 1{f', and {word} in the prompt' if trigger else ''}.",
        f"- **InvokeAI**: add the file in the model manager, choose it with your base model{f', and write {word}' if trigger else ''}.",
        f'- **diffusers**: `pipe.load_lora_weights("FOLDER", weight_name="{file.name}")`',
    )
    return "\n".join(lines)


def _training(told: dict[str, str], s: TrainingSettings) -> list[tuple[str, str]]:
    folders = lora_file.table(told.get("ss_dataset_dirs")).values()
    count = sum(f.get("img_count", 0) for f in folders if isinstance(f, dict))
    seen = told.get("ss_num_train_images", "")
    repeats = f", {seen} with repeats" if seen and seen != str(count) else ""
    rows = [
        ("Pictures", f"{count}{repeats}" if count else ""), ("Steps", told.get("ss_steps", "")), ("Epochs", told.get("ss_epoch", "")),
        ("Batch size", f"{s.batch_size}" + (f" x {s.accumulation}" if s.accumulation > 1 else "")), ("Resolution", f"{s.resolution} px"),
        ("Rank, alpha", f"{told.get('ss_network_dim', s.rank)}, {told.get('ss_network_alpha', str(s.alpha)).removesuffix('.0')}"),
        ("Kind", "DoRA" if s.dora else "LoCon" if "convolutions" in s.targets else "LoRA"),
        ("Optimizer", s.optimizer), ("Learning rate", f"{s.learning_rate:g}, {s.schedule}"),
        ("Text encoder", f"trained, {s.text_encoder_learning_rate:g}" if s.train_text_encoder else "not trained"),
        ("Min-SNR gamma", f"{s.min_snr_gamma:g}" if s.min_snr_gamma else ""), ("Noise offset", f"{s.noise_offset:g}" if s.noise_offset else ""),
        ("Seed", str(s.seed)),
    ]  # fmt: skip
    return [(name, value) for name, value in rows if value]


def _file_rows(file: Path, header: Header) -> list[tuple[str, str]]:
    found = hashes(file, header)
    rows = [("Name", file.name), ("Size", f"{file.stat().st_size / 1e6:.1f} MB"), ("Precision", ", ".join(sorted(set(header.dtypes.values()))))]  # fmt: skip
    rows += [("AutoV1", found.autov1), ("AutoV2", found.autov2), ("AutoV3", found.autov3), ("SHA256", found.sha256), ("CRC32", found.crc32)]  # fmt: skip
    return [(name, value) for name, value in rows if value]


def _table(rows: list[tuple[str, str]]) -> str:
    cells = (f"| {name} | {_line(value).replace('|', chr(92) + '|')} |" for name, value in rows)
    return "\n".join(("| | |", "|---|---|", *cells))


def _line(text: str) -> str:
    return " ".join(text.split())


def _file_name(value: str) -> str:
    """A path's last part, `owner/name` of a hub as it is; "" for the home folder itself."""
    is_path = value.startswith(("/", "~", ".", "\\")) or ":" in value or "\\" in value or value.count("/") != 1
    if not is_path:
        return value
    return "" if Path(value).expanduser() == Path.home() else PureWindowsPath(value).name


def _labels(names: list[str]) -> str:
    return ", ".join(info(name).label for name in names)
