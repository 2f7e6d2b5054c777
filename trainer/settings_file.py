"""Settings to and from TOML, and every mistake in them as a sentence in the words of its label. Imports no torch."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import tomli_w
from pydantic import BaseModel, ValidationError

from trainer.errors import ConfigError, os_message
from trainer.settings import DEMO, VERSION, Concept, PreviewPrompt, TrainingSettings, field_info

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}  # from version n to n + 1


def read(path: Path) -> TrainingSettings:
    """The settings in a run file. Relative paths in it are relative to the file.

    Raises:
        ConfigError: the file is missing, is not TOML, or holds a value that cannot be used.
    """
    return from_dict(read_dict(path), where=path.name)


def read_dict(path: Path) -> dict[str, Any]:
    """The values in a run file, migrated to the present version and not yet checked.

    Raises:
        ConfigError: the file is missing, is not TOML, or comes from a newer version.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError("", f"There is no run file {path}.") from None
    except IsADirectoryError:
        raise ConfigError("", f"{path} is a folder; give the run.toml in it.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("", f"{path} is not a TOML file: {error}.") from None
    except OSError as error:
        raise ConfigError("", os_message(f"{path} cannot be read", error)) from None
    version = values.pop("version", VERSION)
    if type(version) is not int or version < 1:
        raise ConfigError(
            "", f"{path} has the file version {_shown(version)}, which there never was; it should be {VERSION}."
        )
    if version > VERSION:
        raise ConfigError(
            "", f"{path} was written by a newer LoRA Atelier (file version {version}, this one reads up to {VERSION})."
        )
    for step in range(version, VERSION):
        values = MIGRATIONS[step](values)
    for name in ("data", "regularization", "validation", "start_from", "vae", "cache_folder", "runs_folder", "edits"):
        if isinstance(values.get(name), str) and values[name]:
            values[name] = str(path.parent / Path(values[name]).expanduser())
    if isinstance(more := values.get("more_data"), list):
        values["more_data"] = [str(path.parent / Path(p).expanduser()) if isinstance(p, str) and p else p for p in more]
    for concept in concepts if isinstance(concepts := values.get("concepts"), list) else []:
        if isinstance(concept, dict) and isinstance(folder := concept.get("folder"), str) and folder:
            concept["folder"] = str(path.parent / Path(folder).expanduser())
    if isinstance(base := values.get("base"), str) and base not in (DEMO, "") and (path.parent / base).exists():
        values["base"] = str(path.parent / base)
    return values


def from_dict(values: Mapping[str, Any], *, where: str = "the settings") -> TrainingSettings:
    """Checked settings.

    Raises:
        ConfigError: of the first mistake, in the words of the setting's label.
    """
    mistakes = check(values, where=where)
    if mistakes:
        raise mistakes[0]
    return TrainingSettings.model_validate(values)


def check(values: Mapping[str, Any], *, where: str = "the settings") -> list[ConfigError]:
    """All mistakes in `values`; empty when they can be used."""
    try:
        TrainingSettings.model_validate(values)
    except ValidationError as error:
        return [_sentence(details, where) for details in error.errors()]
    return []


def to_dict(settings: TrainingSettings) -> dict[str, Any]:
    """All values as TOML types; what is None is left out, as TOML has no null, and so is a path that was not given."""
    values = settings.model_dump(mode="json", exclude_none=True)
    for concept in values["concepts"]:
        if concept["folder"] == str(Path()):
            del concept["folder"]
    return {"version": VERSION} | {k: v for k, v in values.items() if getattr(settings, k) != Path()}


def dumps(settings: TrainingSettings) -> str:
    """The text of a run file."""
    return tomli_w.dumps(to_dict(settings))


def _sentence(details: Any, where: str) -> ConfigError:
    """One of pydantic's findings as our sentence."""
    location = [part for part in details["loc"] if part != "function-after"]
    name = str(location[0]) if location else ""
    kind, context, value = details["type"], details.get("ctx", {}), details["input"]
    if kind == "rule":
        return ConfigError(context["field"], context["message"])
    model: type[BaseModel] = TrainingSettings
    prefix = ""
    field = name  # what lies in a list has no row of its own in the form
    if name in _PARTS and len(location) > 2:
        model, word = _PARTS[name]
        prefix, name = f"{word} {int(location[1]) + 1}: ", str(location[2])
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(name, model.model_fields, n=1)
        hint = f' Did you mean "{near[0]}"?' if near else ""
        return ConfigError(field, f'{prefix}Unknown setting "{name}" in {where}.{hint}')
    if name not in model.model_fields:
        return ConfigError(field, f"{where}: {details['msg']}.")
    label = field_info(model, name).label
    return ConfigError(field, f"{prefix}{label} is {_shown(value)}; it {_requirement(model, name, kind, details)}.")


def _shown(value: object) -> str:
    text = str(value) if len(str(value)) <= 80 else f"{str(value)[:77]}..."
    return f'"{text}"' if isinstance(value, str) else text


def _requirement(model: type[BaseModel], name: str, kind: str, details: Any) -> str:
    if kind in ("greater_than_equal", "less_than_equal", "greater_than", "less_than"):
        return f"must lie {bounds_in_words(model, name)}"
    if kind == "multiple_of":
        return f"must be a multiple of {details['ctx']['multiple_of']}"
    if kind == "literal_error":
        return f"must be one of {', '.join(map(str, choices(model, name)))}"
    if kind in ("int_parsing", "int_parsing_size", "int_type", "int_from_float", "finite_number"):
        return "must be a whole number"
    if kind in ("float_parsing", "float_type"):
        return 'must be a number, such as 0.0001 or "1e-4"'
    if kind in ("bool_parsing", "bool_type"):
        return "must be true or false"
    if kind in _KINDS:
        return _KINDS[kind]
    return str(details["msg"]) if kind in ("colour", "targets") else f"cannot be used ({details['msg']})"


_PARTS: dict[str, tuple[type[BaseModel], str]] = {
    "previews": (PreviewPrompt, "Preview"),
    "concepts": (Concept, "Concept"),
}
_KINDS = {
    "string_type": "must be text", "path_type": "must be a path", "tuple_type": "must be a list",
    "model_type": 'must be a table, such as { prompt = "a cat" }',
}  # fmt: skip


def choices(model: type[BaseModel], name: str) -> tuple[Any, ...]:
    """The allowed values of a setting that is chosen from a list, also of one that holds several; else empty."""
    annotation = model.model_fields[name].annotation
    if get_origin(annotation) is tuple:
        annotation = get_args(annotation)[0]
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def bounds_in_words(model: type[BaseModel], name: str) -> str:
    """The range of a number in words, e.g. "between 1 and 1024"."""
    low = high = ""
    for constraint in model.model_fields[name].metadata:
        for key, words in (("ge", "{}"), ("gt", "above {}"), ("le", "{}"), ("lt", "below {}")):
            if (bound := getattr(constraint, key, None)) is not None:
                text = words.format(f"{bound:g}" if bound < 100_000 else f"{bound:,}")
                low, high = (text, high) if key.startswith("g") else (low, text)
    if low and high and "above" not in low and "below" not in high:
        return f"between {low} and {high}"
    if low and high:
        return f"{low if 'above' in low else 'at or above ' + low} and {high if 'below' in high else 'at most ' + high}"
    return (low if "above" in low else f"at or above {low}") if low else f"at or below {high}"
