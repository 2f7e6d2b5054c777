"""What the data set doctor looks at: the pictures as they will be trained, and everything else in their folders.

Imports no torch.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from trainer import batches, captions, pixels, prompt_syntax
from trainer.errors import DataError, os_message

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from trainer.batches import Entry
    from trainer.dataset import DataSet, Picture
    from trainer.pixel_measures import Measures
    from trainer.settings import TrainingSettings

OTHER_SUFFIXES = (
    ".gif", ".tif", ".tiff", ".heic", ".heif", ".jxl", ".jp2", ".jfif", ".psd", ".tga", ".ico", ".raw", ".dng", ".svg",
)  # fmt: skip
_NO_CAPTIONS = {
    "readme",
    "read me",
    "license",
    "licence",
    "notes",
    "sources",
    "prompts",
    "tags",
    "classes",
    "changelog",
}


@dataclass(frozen=True)
class Subject:
    """What is examined.

    Attributes:
        entries: the pictures as they will be trained, those of regularisation concepts among them.
        measures: of the pictures' pixels, by key.
        raw: the bytes of the caption files, by the picture's key; None when it has none, or it cannot be read.
        files: what else lies in the folders.
        prior: the regularisation folder's pictures.
        prior_measures: of these, by path.
    """

    settings: TrainingSettings
    preset: str
    entries: tuple[Entry, ...]
    measures: Mapping[str, Measures]
    raw: Mapping[str, bytes | None]
    files: OtherFiles
    prior: tuple[Picture, ...] = ()
    prior_measures: Mapping[str, Measures] = field(default_factory=dict)

    @property
    def taught(self) -> tuple[Entry, ...]:
        """The entries without those of regularisation concepts."""
        return tuple(entry for entry in self.entries if not entry.is_prior)

    def trigger(self, picture: Picture) -> str:
        """The trigger word of the picture's concept."""
        return settings_of(picture, self.settings).trigger

    def lines(self, picture: Picture) -> tuple[str, ...]:
        """The captions of a picture: one, or several where the lines of a file are variants."""
        several = self.settings.caption_lines == "variants" and picture.lines
        return picture.lines if several else (picture.caption,)

    def tags(self, picture: Picture) -> list[str]:
        """The tags of all its captions, each once and without weights; none of those that are still to be chosen from."""
        return tags_of(", ".join(self.lines(picture)), self.settings)


@dataclass(frozen=True)
class OtherFiles:
    """What lies in the folders beside pictures that can be trained. All by key.

    Attributes:
        unreadable: pictures that cannot be opened, and why.
        other_formats: pictures of formats that are not trained.
        orphans: caption files without a picture, and a guess at the reason.
    """

    unreadable: Mapping[str, str] = field(default_factory=dict)
    other_formats: tuple[str, ...] = ()
    orphans: Mapping[str, str] = field(default_factory=dict)


def settings_of(picture: Picture, settings: TrainingSettings) -> TrainingSettings:
    """The settings as they are for the picture's concept."""
    return settings.concepts[picture.concept - 1].applied(settings) if picture.concept else settings


def tags_of(caption: str, settings: TrainingSettings) -> list[str]:
    """The tags of a caption, as they are trained."""
    if settings.keep_separator:
        caption = caption.replace(settings.keep_separator, ",")
    tags = prompt_syntax.split_tags(caption, brackets=settings.prompt_weights)
    if settings.wildcards:
        tags = [tag for tag in tags if not set(tag) & set("{|}")]
    if settings.prompt_weights:
        tags = [prompt_syntax.unweighted(tag) for tag in tags]
    return list(dict.fromkeys(stripped for tag in tags if (stripped := tag.strip())))


def path_of(key: str, settings: TrainingSettings) -> Path:
    """The file that a key names."""
    return Path(key) if os.path.isabs(key) else settings.data / key


def key_of(path: Path, settings: TrainingSettings) -> str:
    """The key of a file in one of the run's folders."""
    if settings.data != Path() and path.is_relative_to(settings.data):
        return path.relative_to(settings.data).as_posix()
    return Path(os.path.abspath(path)).as_posix()


def entries_of(data: DataSet, settings: TrainingSettings) -> tuple[Entry, ...]:
    """The pictures as they will be trained."""
    return tuple(batches.entries_of(data, settings))


def raw_captions(data: DataSet) -> dict[str, bytes | None]:
    """The bytes of every caption file, by the picture's key."""
    out: dict[str, bytes | None] = {}
    for picture in data.pictures:
        file = captions.caption_file(picture.path)
        try:
            out[picture.key] = None if file is None else file.read_bytes()
        except OSError:  # the scan has said so
            out[picture.key] = None
    return out


def other_files(data: DataSet | None, settings: TrainingSettings) -> OtherFiles:
    """Looks through the folders for what the scan has passed over; only files that it did not take are opened."""
    known = {p.path for p in (*data.pictures, *data.left_out)} if data else set()
    unreadable: dict[str, str] = {}
    others: list[str] = []
    orphans: dict[str, str] = {}
    for folder, names in _folders(settings):
        suffixes = {name: os.path.splitext(name)[1].lower() for name in names}
        pictures = {name for name, suffix in suffixes.items() if suffix in pixels.SUFFIXES or suffix in OTHER_SUFFIXES}
        stems = pictures | {os.path.splitext(name)[0] for name in pictures}
        for name in names:
            path, suffix = folder / name, suffixes[name]
            if suffix in OTHER_SUFFIXES:
                others.append(key_of(path, settings))
            elif suffix in pixels.SUFFIXES and path not in known:
                if reason := _fault(path, suffix):
                    unreadable[key_of(path, settings)] = reason
            elif suffix in captions.CAPTION_SUFFIXES and (guess := _guess(name, stems)) is not None:
                orphans[key_of(path, settings)] = guess
    return OtherFiles(unreadable, tuple(others), orphans)


def _folders(settings: TrainingSettings) -> Iterator[tuple[Path, list[str]]]:
    """Every folder of the run with the names of its files, once each."""
    roots = [settings.data] if settings.data != Path() else []
    roots += [
        path for path in (*settings.more_data, *(c.folder.expanduser() for c in settings.concepts)) if path.is_dir()
    ]
    seen = set()
    for root in roots:
        for parent, folders, names in os.walk(root):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            if (absolute := os.path.abspath(parent)) not in seen:
                seen.add(absolute)
                yield Path(parent), sorted(name for name in names if not name.startswith("."))


def _fault(path: Path, suffix: str) -> str:
    """Why a file with a picture's ending was not taken; empty when there is nothing wrong with it, as with a mask."""
    if suffix not in pixels.supported_suffixes():
        return f"this machine cannot read {suffix} files"
    try:
        pixels.header_size(path)
    except DataError as error:
        return str(error).rpartition(" (")[2].rstrip(".)")
    except OSError as error:
        return os_message("it cannot be opened", error).rstrip(".")
    return ""


def _guess(name: str, stems: set[str]) -> str | None:
    """A guess at why a caption file is alone; None when it has its picture, or is none."""
    stem, suffix = os.path.splitext(name)
    is_read = suffix in captions.CAPTION_SUFFIXES
    if (stem in stems and is_read) or stem.lower() in _NO_CAPTIONS:
        return None
    if stem in stems:
        return f"write its ending in small letters: {suffix.lower()}"
    near = next((s for s in sorted(stems) if s.lower().strip() == stem.lower().strip()), "")
    return f"is it for {near}?" if near else ""
