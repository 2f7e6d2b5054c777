"""What the data set doctor can mend at a click: first a plan, which changes nothing, then its execution, which can be undone.

Imports no torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from trainer import captions, doctor_undo, pixels, prompt_syntax
from trainer.doctor_checks_captions import readable
from trainer.doctor_subject import key_of, path_of, settings_of
from trainer.doctor_undo import Change, Move, Write
from trainer.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from trainer.dataset import DataSet, Picture
    from trainer.doctor_findings import Finding
    from trainer.settings import TrainingSettings


@dataclass(frozen=True)
class Plan:
    """What a repair would change.

    Attributes:
        sentence: what it does, e.g. "Rename 3 files".
        left_out: keys of pictures that are not to be trained any more; for `TrainingSettings.left_out`.
        texts: the new text of the caption file, by the picture it belongs to.
        moves: files that get another name or are set aside.
    """

    sentence: str
    left_out: tuple[str, ...] = ()
    texts: Mapping[Path, str] = field(default_factory=dict)
    moves: tuple[Move, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.left_out or self.texts or self.moves)


@dataclass(frozen=True)
class Done:
    """What was done. undo: names it for `doctor_undo.undo`, or empty; renamed: old to new keys; problems: sentences."""

    sentence: str
    undo: str = ""
    left_out: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def plan(found: Finding, data: DataSet | None, settings: TrainingSettings) -> Plan:
    """What the finding's repair would do. data: as it was examined; it may have changed since, which is looked at again.

    Raises:
        DataError: the finding has no repair.
    """
    if found.repair not in REPAIRS:
        raise DataError(f'For "{found.title}" there is no repair.')
    pictures = {p.key: p for p in data.pictures} if data else {}
    return REPAIRS[found.repair](found, pictures, settings)


def carry_out(wanted: Plan, settings: TrainingSettings, *, by_moving: bool = False) -> Done:
    """Changes the files. What is left out is only named in the result, as it is a setting, unless `by_moving`.

    by_moving: for a folder without a project: what is left out is set aside, with its captions.

    Raises:
        DataError: nothing can be kept in the folder, so that nothing was changed.
    """
    changes: list[Change] = [*wanted.moves]
    if by_moving:
        changes += _aside([path_of(key, settings) for key in wanted.left_out])
    for picture, text in wanted.texts.items():
        file = captions.caption_file(picture)
        before = None if file is None else file.read_bytes()
        after = text.encode("utf-8")
        if before != after:
            changes.append(Write(file or picture.with_suffix(captions.CAPTION_SUFFIXES[0]), before, after))
    left_out = () if by_moving else wanted.left_out
    if not changes:
        return Done(wanted.sentence if left_out else "There was nothing to mend.", left_out=left_out)
    outcome = doctor_undo.carry_out(root_of(settings), wanted.sentence, changes)
    renamed = {
        key_of(move.path, settings): key_of(move.to, settings)
        for move in wanted.moves
        if move.to is not None and move.to.exists() and not move.path.exists()
    }
    files = f"{outcome.changed} {'file' if outcome.changed == 1 else 'files'}"
    sentence = f"{wanted.sentence}: {files} changed." if outcome.changed else "Nothing could be changed."
    return Done(sentence, outcome.id if outcome.changed else "", left_out, renamed, outcome.problems)


def root_of(settings: TrainingSettings) -> Path:
    """The folder that keeps what can be undone."""
    if settings.data != Path():
        return settings.data
    for path in (*settings.more_data, *(c.folder.expanduser() for c in settings.concepts)):
        return path if path.is_dir() else path.parent
    raise ConfigError("data", "There are no pictures to mend: give a folder.")


def _leave_out(found: Finding, pictures: Mapping[str, Picture], settings: TrainingSettings) -> Plan:
    """Of duplicates, all but the first of each group; nothing in it is touched."""
    names = [key for group in found.groups for key in group[1:]] if found.groups else list(found.pictures)
    return Plan(f"Leave out {_counted(len(set(names)), 'picture')}", tuple(dict.fromkeys(names)))


def _rename(found: Finding, pictures: Mapping[str, Picture], settings: TrainingSettings) -> Plan:
    """The caption goes along where its name holds the picture's whole name (`a.png.txt`)."""
    moves: list[Move] = []
    for key, ending in found.endings.items():
        path = path_of(key, settings)
        right = path.with_suffix(ending)
        if ending not in pixels.SUFFIXES or not path.is_file() or right.exists():
            continue
        moves.append(Move(path, right))
        for suffix in captions.CAPTION_SUFFIXES:
            if (file := path.with_name(path.name + suffix)).is_file():
                moves.append(Move(file, right.with_name(right.name + suffix)))
    return Plan(f"Rename {_counted(len(moves), 'file')}", moves=tuple(moves))


def _set_aside(found: Finding, pictures: Mapping[str, Picture], settings: TrainingSettings) -> Plan:
    moves = tuple(_aside([path_of(key, settings) for key in found.pictures]))
    return Plan(f"Set aside {_counted(len(found.pictures), 'file')}", moves=moves)


def _aside(paths: Sequence[Path]) -> Iterator[Move]:
    """The files, and the captions of those that are pictures unless another picture needs them too."""
    gone = set(paths)
    for path in paths:
        if not path.is_file():
            continue
        yield Move(path)
        if path.suffix.lower() not in pixels.SUFFIXES or (file := captions.caption_file(path)) is None:
            continue
        twins = [p for p in path.parent.glob(f"{_escaped(path.stem)}.*") if p.suffix.lower() in pixels.SUFFIXES]
        if file not in gone and (file.stem == path.name or set(twins) <= gone):
            gone.add(file)
            yield Move(file)


def _recode(found: Finding, pictures: Mapping[str, Picture], settings: TrainingSettings) -> Plan:
    texts = {picture.path: text for picture, text in _texts(found, pictures)}
    return Plan(f"Write {_counted(len(found.pictures), 'caption')} anew as UTF-8", texts=texts)


def _add_trigger(found: Finding, pictures: Mapping[str, Picture], settings: TrainingSettings) -> Plan:
    texts = {}
    for picture, text in _texts(found, pictures):
        trigger = settings_of(picture, settings).trigger
        lines = text.split("\n") if text else [""]
        if settings.caption_lines == "variants":
            lines = [captions.with_trigger(line, trigger) if line or len(lines) == 1 else line for line in lines]
        elif captions.with_trigger(" ".join(lines), trigger) != " ".join(lines):
            lines[0] = captions.with_trigger("", trigger) if not lines[0] else f"{trigger}, {lines[0]}"
        texts[picture.path] = "\n".join(lines)
    return Plan(f"Put the trigger word in front of {_counted(len(texts), 'caption')}", texts=texts)


def _unify_tag(found: Finding, pictures: Mapping[str, Picture], settings: TrainingSettings) -> Plan:
    wrong = set(found.spellings)
    texts = _with_tags(found, pictures, settings, lambda tag: found.tag if tag in wrong else tag)
    return Plan(f'Write "{found.tag}" in {_counted(len(texts), "caption")}', texts=texts)


def _remove_tag(found: Finding, pictures: Mapping[str, Picture], settings: TrainingSettings) -> Plan:
    texts = _with_tags(found, pictures, settings, lambda tag: "" if tag == found.tag else tag)
    return Plan(f'Remove "{found.tag}" from {_counted(len(texts), "caption")}', texts=texts)


def _with_tags(
    found: Finding, pictures: Mapping[str, Picture], settings: TrainingSettings, change: Callable[[str], str]
) -> dict[Path, str]:
    out = {}
    for picture, text in _texts(found, pictures):
        edited = "\n".join(_edited(line, settings, change) for line in text.split("\n"))
        if edited != text:
            out[picture.path] = edited
    return out


def _edited(line: str, settings: TrainingSettings, change: Callable[[str], str]) -> str:
    """A line of a caption with its tags changed, each once; separators, weights and line breaks stay."""
    separator = settings.keep_separator
    groups = [
        prompt_syntax.split_tags(g, brackets=settings.prompt_weights)
        for g in (line.split(separator) if separator else [line])
    ]
    seen: set[str] = set()
    out, is_changed = [], False
    for group in groups:
        kept = []
        for tag in map(str.strip, group):
            bare = prompt_syntax.unweighted(tag).strip() if settings.prompt_weights else tag
            new = change(bare)
            is_changed |= new != bare
            if new and not (new in seen and new != bare):
                kept.append(tag.replace(bare, new))
            seen.add(new)
        out.append(", ".join(kept))
    return (f" {separator} ".join(out) if separator else out[0]) if is_changed else line


def _texts(found: Finding, pictures: Mapping[str, Picture]) -> Iterator[tuple[Picture, str]]:
    """The pictures with the text of their caption files as it is now, lines kept; a file that pictures share comes once."""
    seen = set()
    for key in found.pictures:
        if (picture := pictures.get(key)) is None or not picture.path.exists():
            continue
        file = captions.caption_file(picture.path) or picture.path.with_suffix(captions.CAPTION_SUFFIXES[0])
        if file not in seen:
            seen.add(file)
            yield picture, readable(file.read_bytes()) if file.is_file() else ""


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _escaped(stem: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", stem)


Repair = Callable[["Finding", "Mapping[str, Picture]", "TrainingSettings"], Plan]
REPAIRS: dict[str, Repair] = {
    "leave_out": _leave_out, "rename": _rename, "set_aside": _set_aside, "recode": _recode, "add_trigger": _add_trigger,
    "unify_tag": _unify_tag, "remove_tag": _remove_tag,
}  # fmt: skip
