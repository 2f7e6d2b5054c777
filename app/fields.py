"""The right editor for a setting, made from the settings model: one editor per type behind one small interface."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

from app import field_words
from app.field_base import Editor
from app.field_choices import ChoiceEditor, SeveralEditor, SwitchEditor
from app.field_numbers import NumberEditor, bounds
from app.field_texts import ColourEditor, LinesEditor, LongTextEditor, PathEditor, TextEditor
from app.texts import tr
from trainer.settings import field_info
from trainer.settings_file import choices

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["Editor", "TextEditor", "make"]


def make(model: type[BaseModel], name: str) -> Editor:
    """An editor for the field `name` of a settings model, named, described and with its unit; it shows no value yet."""
    about = field_info(model, name)
    editor = _editor(model, name)
    editor.describe(name, tr(about.label), tr(about.help))
    editor.set_unit(tr(about.unit) if about.unit else "")
    return editor


def _editor(model: type[BaseModel], name: str) -> Editor:
    field = model.model_fields[name]
    kind: Any = field.annotation
    optional = [t for t in get_args(kind) if t is not type(None)] if type(None) in get_args(kind) else []
    kind = optional[0] if optional else kind
    allowed = choices(model, name)
    if get_origin(kind) is tuple:
        return SeveralEditor(name, allowed) if allowed else LinesEditor(paths=get_args(kind)[0] is Path)
    if allowed:
        return ChoiceEditor(name, allowed)
    if kind is bool:
        return SwitchEditor()
    if kind in (int, float):
        return NumberEditor(bounds(field), whole=kind is int)
    if kind is Path:
        return PathEditor(files=field_words.FILES.get(name, ""))
    assert kind is str, f"there is no editor for {name}, a {kind}"
    if name in field_words.COLOURS:
        return ColourEditor()
    return LongTextEditor() if name in field_words.LONG_TEXTS else TextEditor()
