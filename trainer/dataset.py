"""A folder as a list of pictures with captions and repeats; nothing is decoded beyond the headers. Imports no torch."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from trainer import captions, pixels
from trainer.errors import DataError, os_message

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from trainer.settings import TrainingSettings


@dataclass(frozen=True)
class Picture:
    """One picture of a data set.

    width_px, height_px: as seen after EXIF rotation. repeats: views in an epoch. key: what names it
    in `left_out`. relative: its path below the folder that
    was scanned, with `/`.
    """

    path: Path
    width_px: int
    height_px: int
    caption: str
    repeats: int = 1
    relative: str = field(default="", compare=False)
    key: str = field(default="", compare=False)


@dataclass(frozen=True)
class DataSet:
    """What a folder holds. problems: sentences about files that cannot be used or look wrong; left_out: the user's choice."""

    pictures: tuple[Picture, ...]
    problems: tuple[str, ...]
    left_out: tuple[Picture, ...] = ()

    @property
    def views(self) -> int:
        """Pictures seen in an epoch, repeats counted."""
        return sum(p.repeats for p in self.pictures)


def scan(
    folder: Path, *, more: Sequence[Path] = (), left_out: Collection[str] = (), repeats: int = 1, what: str = "Pictures"
) -> DataSet:
    """All pictures below `folder`, sorted by path, so that the order is the same on every machine; then those of `more`.

    A sub-folder named `5_anything` multiplies the repeats of what lies in it by 5. more: further folders or single files;
    with them, `folder` may be empty (`Path()`). A file that is found twice counts once. left_out: pictures that are not
    trained: paths relative to `folder`, or whole ones for those of `more`. what: names the folder's role in messages.

    Raises:
        DataError: a folder or single file is missing, or there is no usable picture.
    """
    roots = [folder, *more] if folder != Path() or not more else [*more]
    pictures: list[Picture] = []
    problems: list[str] = []
    seen: set[str] = set()
    for root in roots:
        is_single = root in more and root.is_file()
        if not is_single:
            _check_root(root, what, is_folder=root not in more)
        base = root.parent if is_single else root
        for path in [root] if is_single else _files(root, problems):
            if (absolute := os.path.abspath(path)) in seen:
                continue
            seen.add(absolute)
            picture = _picture(path, base, repeats, problems, is_wanted=is_single)
            if picture is not None:
                key = picture.relative if root == folder else Path(absolute).as_posix()
                pictures.append(replace(picture, key=key))
    chosen = tuple(p for p in pictures if p.key not in left_out)
    if not chosen:
        raise DataError(_nothing_to_train(roots, what, problems, all_left_out=bool(pictures)))
    without = sum(not p.caption for p in chosen)
    if 0 < without < len(chosen):
        problems.append(f"{without} of {len(chosen)} pictures {'has' if without == 1 else 'have'} no caption.")
    return DataSet(chosen, tuple(problems), tuple(p for p in pictures if p.key in left_out))


def _picture(path: Path, root: Path, repeats: int, problems: list[str], *, is_wanted: bool) -> Picture | None:
    """The picture in a file, or None when it is something else or cannot be read (`problems` then says why).

    is_wanted: the user named this very file, so that it is not passed over in silence.
    """
    suffix, shown = path.suffix.lower(), _shown(path, root)
    if suffix not in pixels.supported_suffixes():
        if suffix in pixels.SUFFIXES:
            problems.append(f"{shown} is left out: this machine's Pillow cannot read {suffix} files.")
        elif is_wanted:
            problems.append(f"{shown} is left out: it is no picture ({', '.join(pixels.supported_suffixes())}).")
        return None
    try:
        width, height = pixels.header_size(path)
        text = _caption(path, root, problems)
    except (DataError, OSError) as error:
        reason = error if isinstance(error, DataError) else os_message(path.name, error)
        problems.append(f"{shown} is left out: {reason}")
        return None
    return Picture(path, width, height, text, repeats * _folder_repeats(path.parent, root), shown)


def scan_training(settings: TrainingSettings) -> DataSet:
    """The pictures that a run trains on.

    Raises:
        DataError: as `scan`.
    """
    return scan(settings.data, more=settings.more_data, left_out=frozenset(settings.left_out), repeats=settings.repeats)


def require_captions(data: DataSet, folder: Path, trigger: str) -> None:
    """Refuses a data set in which no picture has any words.

    Raises:
        DataError: all captions are empty or missing and there is no trigger word either.
    """
    if not trigger and not any(p.caption for p in data.pictures):
        is_all = folder != Path() and all(p.path.is_relative_to(folder) for p in data.pictures)
        nobody = f"No picture in {folder}" if is_all else f"None of the {len(data.pictures)} pictures"
        raise DataError(
            f"{nobody} has a caption, and there is no trigger word. Write captions into .txt files beside the pictures, "
            "or give a trigger word."
        )


def _nothing_to_train(roots: Sequence[Path], what: str, problems: list[str], *, all_left_out: bool) -> str:
    """Why no picture can be trained."""
    kinds = ", ".join(pixels.supported_suffixes())
    if len(roots) == 1 and roots[0].is_dir():
        start, its = f"{what} folder {roots[0]} holds no usable picture ({kinds}).", "its"
    else:
        start, its = f"{what}: there is no usable picture ({kinds}) in {', '.join(map(str, roots))}.", "the"
    if all_left_out:
        return f"{start} All {its} pictures are left out; take some in again."
    if not problems:
        return start
    return f"{start} All {len(problems)} pictures in it are unusable, e.g. {problems[0]}"


def _check_root(folder: Path, what: str, *, is_folder: bool) -> None:
    if not str(folder) or folder == Path():
        raise DataError(f"{what}: no folder was given. Choose the folder that holds the pictures.")
    if not folder.exists() and not is_folder:
        raise DataError(
            f"{what}: there is no folder or picture {folder}. Check the path, or take it out of more pictures."
        )
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
