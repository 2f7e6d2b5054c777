"""A folder as a list of pictures with captions and repeats; nothing is decoded beyond the headers. Imports no torch."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from trainer import captions, edits, pixels
from trainer.errors import DataError, os_message

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from trainer.edits import Box, Edits
    from trainer.settings import Concept, TrainingSettings

MASK_FOLDER = "masklabel"
_MASK_ENDINGS = ("-mask", "-masklabel")


@dataclass(frozen=True)
class Picture:
    """One picture of a data set.

    width_px, height_px: as seen after EXIF rotation. repeats: views in an epoch. key: what names it in `left_out` and in
    the edits. relative: its path below the folder that was scanned, with `/`. lines: of the caption file, when it has
    several. concept: 0 for the run's own folder, n for the n-th further concept. box: the part that is trained, None for
    all of it; focus: the point that stays in view, as parts of that. mask: a grey picture, white is trained.
    """

    path: Path
    width_px: int
    height_px: int
    caption: str
    repeats: int = 1
    relative: str = field(default="", compare=False)
    key: str = field(default="", compare=False)
    lines: tuple[str, ...] = ()
    concept: int = 0
    box: Box | None = None
    focus: tuple[float, float] = edits.CENTRE
    mask: Path | None = None

    @property
    def seen_px(self) -> tuple[int, int]:
        """Width and height of the part that is trained."""
        if self.box is None:
            return self.width_px, self.height_px
        left, top, right, bottom = self.box
        return right - left, bottom - top


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
    folder: Path,
    *,
    more: Sequence[Path] = (),
    left_out: Collection[str] = (),
    repeats: int = 1,
    what: str = "Pictures",
    concepts: Sequence[Concept] = (),
    edited: Edits | None = None,
) -> DataSet:
    """All pictures below `folder`, sorted by path, so that the order is the same on every machine; then those of `more`.

    A sub-folder named `5_anything` multiplies the repeats of what lies in it by 5. more: further folders or single files;
    with them or concepts, `folder` may be empty (`Path()`). concepts: further folders, each with its own repeats. A file
    that is found twice counts once. left_out: pictures that are not trained: paths relative to `folder`, or whole ones for
    those of elsewhere. what: names the folder's role in messages. edited: crops and masks. Masks beside pictures
    (`a-mask.png`, `masklabel/a.png`) belong to those and are no pictures.

    Raises:
        DataError: a folder or single file is missing, or there is no usable picture.
    """
    roots = [(root, 0, repeats) for root in ([folder, *more] if folder != Path() or not (more or concepts) else more)]
    roots += [(concept.folder.expanduser(), n, concept.repeats) for n, concept in enumerate(concepts, 1)]
    found = _Found(folder, left_out, edited)
    for root, concept_number, times in roots:
        is_single = concept_number == 0 and root in more and root.is_file()
        if not is_single:
            named = f"{what}, concept {concept_number}" if concept_number else what
            _check_root(root, named, is_folder=root not in more)
        found.add(root, concept_number, times, is_single=is_single)
    if not found.chosen:
        places = [root for root, _, _ in roots]
        raise DataError(_nothing_to_train(places, what, found.problems, all_left_out=bool(found.left_out)))
    without = sum(not p.caption for p in found.chosen)
    if 0 < without < len(found.chosen):
        problem = f"{without} of {len(found.chosen)} pictures {'has' if without == 1 else 'have'} no caption."
        found.problems.append(problem)
    return DataSet(tuple(found.chosen), tuple(found.problems), tuple(found.left_out))


class _Found:
    """What a scan has come across. names: of what the user left out."""

    def __init__(self, folder: Path, names: Collection[str], edited: Edits | None) -> None:
        self.chosen: list[Picture] = []
        self.left_out: list[Picture] = []
        self.problems: list[str] = []
        self._folder, self._names, self._edited = folder, names, edited
        self._seen: set[str] = set()

    def add(self, root: Path, concept: int, repeats: int, *, is_single: bool) -> None:
        """The pictures below `root`, or the one that it is."""
        base = root.parent if is_single else root
        paths = [root] if is_single else _files(root, self.problems)
        masks = _masks(paths)
        are_masks = set(masks.values())
        for path in paths:
            if (absolute := os.path.abspath(path)) in self._seen or path in are_masks:
                continue
            self._seen.add(absolute)
            picture = _picture(path, base, repeats, self.problems, is_wanted=is_single)
            if picture is None:
                continue
            key = picture.relative if root == self._folder and not concept else Path(absolute).as_posix()
            picture = replace(picture, key=key, concept=concept, mask=masks.get(path))
            if self._edited is not None:
                picture = self._as_edited(picture, self._edited)
            (self.left_out if key in self._names else self.chosen).append(picture)

    def _as_edited(self, picture: Picture, edited: Edits) -> Picture:
        edit = edited.pictures.get(picture.key)
        if edit is not None and edit.size != (picture.width_px, picture.height_px):
            self.problems.append(
                f"{picture.relative} is {picture.width_px} x {picture.height_px} px now and was {edit.size[0]} x {edit.size[1]} px "
                "when it was cropped or masked; that is not applied. Crop it again."
            )
        return as_edited(picture, edited)


def as_edited(picture: Picture, edited: Edits) -> Picture:
    """The picture with the user's crop and mask; as it is when there are none, or it had another size then."""
    edit = edited.pictures.get(picture.key)
    if edit is None or edit.size != (picture.width_px, picture.height_px):
        return picture
    return replace(picture, box=edit.box, focus=edit.focus, mask=edited.mask(picture.key) or picture.mask)


def _masks(paths: Sequence[Path]) -> dict[Path, Path]:
    """Mask files by the picture that they belong to."""
    by_stem = {(p.parent, p.stem): p for p in paths if p.suffix.lower() in pixels.SUFFIXES}
    out: dict[Path, Path] = {}
    for path in by_stem.values():
        if path.parent.name == MASK_FOLDER and (picture := by_stem.get((path.parent.parent, path.stem))):
            out[picture] = path
        for ending in _MASK_ENDINGS:
            if path.stem.endswith(ending) and (picture := by_stem.get((path.parent, path.stem.removesuffix(ending)))):
                out[picture] = path
    return out


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
        text, lines = _caption(path, root, problems)
    except (DataError, OSError) as error:
        reason = error if isinstance(error, DataError) else os_message(path.name, error)
        problems.append(f"{shown} is left out: {reason}")
        return None
    return Picture(path, width, height, text, repeats * _folder_repeats(path.parent, root), shown, lines=lines)


def scan_training(settings: TrainingSettings) -> DataSet:
    """The pictures that a run trains on.

    Raises:
        DataError: as `scan`.
    """
    return scan(
        settings.data, more=settings.more_data, left_out=frozenset(settings.left_out), repeats=settings.repeats,
        concepts=settings.concepts, edited=None if settings.edits is None else edits.read(settings.edits),
    )  # fmt: skip


def require_captions(data: DataSet, settings: TrainingSettings) -> None:
    """Refuses a data set that teaches nothing: no picture to learn, or none that has any words.

    Raises:
        DataError: all captions are empty or missing and there is no trigger word either, or all are regularisation pictures.
    """
    concepts = settings.concepts
    taught = [p for p in data.pictures if not (p.concept and concepts[p.concept - 1].regularization)]
    if not taught:
        raise DataError(
            "All pictures are regularisation pictures; there is none to learn from. Add the pictures to train."
        )
    triggers = [settings.trigger, *(c.applied(settings).trigger for c in concepts)]
    if not any(p.caption or triggers[p.concept] for p in taught):
        folder = settings.data
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


def _caption(path: Path, folder: Path, problems: list[str]) -> tuple[str, tuple[str, ...]]:
    """The caption on one line, and its lines when it has several."""
    file = captions.caption_file(path)
    if file is None:
        return "", ()
    caption = captions.decode(file.read_bytes())
    if caption.encoding == "cp1252":
        problems.append(f"The caption {_shown(file, folder)} is not UTF-8; it was read as cp1252.")
    return caption.text, caption.lines if len(caption.lines) > 1 else ()


def _folder_repeats(parent: Path, root: Path) -> int:
    """The product of the numbers (up to 999: `2024_trip` is a year) before the folder names from `root` down to `parent`."""
    repeats = 1
    for name in (root.name, *parent.relative_to(root).parts):
        if found := re.match(r"(\d{1,3})_", name):
            repeats *= max(1, int(found[1]))
    return repeats


def _shown(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()
