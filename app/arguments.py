"""Command-line flags made from the settings model, so that every setting has one and none is written twice."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from trainer import presets, settings_file
from trainer.errors import ConfigError
from trainer.settings import GROUPS, TrainingSettings, info


def add_settings(parser: argparse.ArgumentParser) -> None:
    """One flag a setting, in the settings' groups, e.g. `--learning-rate`, `--flip` / `--no-flip`, `--preview PROMPT`."""
    groups = {title: parser.add_argument_group(title) for title in GROUPS}
    for name, field in TrainingSettings.model_fields.items():
        about = info(name)
        flag, help_text = "--" + name.replace("_", "-"), about.help.replace("%", "%%")
        group = groups[about.group]
        if name == "previews":
            group.add_argument(
                "--preview",
                dest=name,
                action="append",
                metavar="PROMPT",
                help="A prompt to draw while training; may be given several times.",
            )
        elif field.annotation is bool:
            group.add_argument(flag, dest=name, action=argparse.BooleanOptionalAction, default=None, help=help_text)
        else:
            group.add_argument(
                flag, dest=name, metavar=_metavar(name, about.unit), help=f"{help_text} ({_default(field.default)})"
            )


def given(arguments: argparse.Namespace) -> dict[str, Any]:
    """The settings that stand on the command line, as raw values for `settings_file.check`."""
    out: dict[str, Any] = {}
    for name in TrainingSettings.model_fields:
        value = getattr(arguments, name, None)
        if value is None:
            continue
        if name == "previews":
            value = [{"prompt": prompt} for prompt in value]
        elif name in ("targets", "more_data", "left_out"):
            value = [part.strip() for part in value.split(",") if part.strip()]
        elif name == "max_tokens" and value.isdigit():
            value = int(value)
        out[name] = value
    return out


def add_run(parser: argparse.ArgumentParser, run_file: str) -> None:
    """Adds what says which run is meant, for `settings_of`. run_file: help of the run file."""
    parser.add_argument("run_file", nargs="?", type=Path, metavar="RUN.toml | RUN_FOLDER", help=run_file)
    parser.add_argument("--preset", choices=presets.NAMES, help="start from the usual values for this kind of LoRA")
    add_settings(parser)


def settings_of(options: argparse.Namespace) -> TrainingSettings:
    """The settings of a new run: flags win over the file (`run_file`), the file over the preset.

    Raises:
        ConfigError: nothing was given, or a value cannot be used.
    """
    path: Path | None = options.run_file
    flags = given(options)
    values: dict[str, Any] = dict(presets.load(options.preset).values) if options.preset else {}
    if path is not None:
        values |= settings_file.read_dict(path)
    if path is None and not options.preset and not flags:
        raise ConfigError(
            "", "Nothing to train. Give a run file, or --data FOLDER with --preset style, character or object."
        )
    return settings_file.from_dict(values | flags, where=path.name if path else "the command line")


def _metavar(name: str, unit: str) -> str:
    options = settings_file.choices(TrainingSettings, name)
    if options and name == "targets":
        return ",".join(options)
    if options:
        return "{" + ",".join(map(str, options)) + "}"
    return (
        unit.upper()
        if unit
        else ("PATH" if "folder" in name or isinstance(TrainingSettings.model_fields[name].default, Path) else "VALUE")
    )


def _default(value: object) -> str:
    if isinstance(value, tuple):
        return "default: " + ",".join(map(str, value))
    return "default: none" if value in (None, "", Path()) else f"default: {value}"
