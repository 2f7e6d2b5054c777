"""A folder as a list of pictures with captions and repeats; nothing is decoded beyond the headers. Imports no torch."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from trainer import captions, pixels
from trainer.errors import DataError, os_message


@dataclass(frozen=True)
class Picture:
    """One picture of a data set. width_px, height_px: as seen after EXIF rotation. repeats: views in an epoch."""

    path: Path
    width_px: int
    height_px: int
    caption: str
    repeats: int = 1


@dataclass(frozen=True)
class DataSet:
    """What a folder holds. problems: sentences about files that are left out or look wrong."""

    pictures: tuple[Picture, ...]
    problems: tuple[str, ...]

    @property
    def views(self) -> int:
        """Pictures seen in an epoch, repeats counted."""
        return sum(p.repeats for p in self.pictures)


def scan(folder: Path, *, repeats: int = 1, what: str = "Pictures") -> DataSet:
    """All pictures below `folder`, sorted by path, so that the order is the same on every machine.

    A sub-folder named `5_anything` multiplies the repeats of what lies in it by 5. `what` names the folder's role in
    messages.

    Raises:
        DataError: the folder is missing, is a file, cannot be read, or holds no usable picture.
    """
    _check_folder(folder, what)
    pictures: list[Picture] = []
    problems: list[str] = []
    suffixes = pixels.supported_suffixes()
    for path in _files(folder, problems):
        suffix = path.suffix.lower()
        if suffix in pixels.SUFFIXES and suffix not in suffixes:
            problems.append(f"{_shown(path, folder)} is left out: this machine's Pillow cannot read {suffix} files.")
        if suffix not in suffixes:
            continue
        try:
            width, height = pixels.header_size(path)
            text = _caption(path, folder, problems)
        except (DataError, OSError) as error:
            reason = error if isinstance(error, DataError) else os_message(path.name, error)
            problems.append(f"{_shown(path, folder)} is left out: {reason}")
            continue
        pictures.append(Picture(path, width, height, text, repeats * _folder_repeats(path.parent, folder)))
    if not pictures:
        found = f" All {len(problems)} pictures in it are unusable, e.g. {problems[0]}" if problems else ""
        raise DataError(f"{what} folder {folder} holds no usable picture ({', '.join(suffixes)}).{found}")
    without = sum(not p.caption for p in pictures)
    if 0 < without < len(pictures):
        problems.append(f"{without} of {len(pictures)} pictures {'has' if without == 1 else 'have'} no caption.")
    return DataSet(tuple(pictures), tuple(problems))


def require_captions(data: DataSet, folder: Path, trigger: str) -> None:
    """Refuses a data set in which no picture has any words.

    Raises:
        DataError: all captions are empty or missing and there is no trigger word either.
    """
    if not trigger and not any(p.caption for p in data.pictures):
        raise DataError(
            f"No picture in {folder} has a caption, and there is no trigger word. Write captions into .txt files beside the "
            "pictures, or give a trigger word."
        )


def _check_folder(folder: Path, what: str) -> None:
    if not str(folder) or folder == Path():
        raise DataError(f"{what}: no folder was given. Choose the folder that holds the pictures.")
    if not folder.exists():
        raise DataError(f"{what} folder {folder} does not exist. Check the path.")
    if not folder.is_dir():
        raise DataError(f"{what}: {folder} is a file. Give the folder that holds the pictures.")


def _files(folder: Path, problems: list[str]) -> list[Path]:
    """Every file below the folder that is not hidden, by path, in an order that no file system or locale changes."""
    out = []

    def unreadable(error: OSError) -> None:
        problems.append(os_message(f"A folder in {folder} cannot be read", error))

    for parent, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = [f for f in folders if not f.startswith(".")]
        out += [Path(parent, name) for name in names if not name.startswith(".")]
    return sorted(out, key=lambda path: path.relative_to(folder).parts)


def _caption(path: Path, folder: Path, problems: list[str]) -> str:
    file = captions.caption_file(path)
    if file is None:
        return ""
    caption = captions.decode(file.read_bytes())
    if caption.encoding == "cp1252":
        problems.append(f"The caption {_shown(file, folder)} is not UTF-8; it was read as cp1252.")
    return caption.text


def _folder_repeats(parent: Path, root: Path) -> int:
    """The product of the numbers (up to 999: `2024_trip` is a year) before the folder names from `root` down to `parent`."""
    repeats = 1
    for name in (root.name, *parent.relative_to(root).parts):
        if found := re.match(r"(\d{1,3})_", name):
            repeats *= max(1, int(found[1]))
    return repeats


def _shown(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()
