"""Packs a run's pictures and captions, and other files, into zips, a piece at a time. Imports no torch."""

from __future__ import annotations

import zipfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from trainer import captions, dataset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trainer.dataset import Picture
    from trainer.settings import TrainingSettings
    from trainer.tasks import Tell

_CHUNK_BYTES = 1 << 20
_DATE = (1980, 1, 1, 0, 0, 0)  # when the pictures were made is nobody's business, and equal data gives equal zips


def write_data(path: Path, settings: TrainingSettings, tell: Tell) -> None:
    """A zip of the pictures that are trained, byte for byte, each with its caption as trained in a .txt beside it.

    Raises:
        DataError: the pictures are no longer there.
        OSError: a picture cannot be read, or the zip cannot be written.
        Cancelled: by `tell`.
    """
    tell("Looking at the pictures", 0, 0)
    files: list[tuple[str, Path | str]] = []
    taught = [p for p in dataset.scan_training(settings).pictures if not _is_prior(p, settings)]
    for picture, name in _named(taught):
        concept = settings.concepts[picture.concept - 1].applied(settings) if picture.concept else settings
        files.append((f"{name}{picture.path.suffix}", picture.path))
        if caption := captions.with_trigger(picture.caption, concept.trigger):
            files.append((f"{name}.txt", caption))
        if picture.mask is not None:
            files.append((f"{name}-mask{picture.mask.suffix}", picture.mask))
    zip_files(path, files, "Packing the pictures", tell)


def zip_files(path: Path, files: Sequence[tuple[str, Path | str]], label: str, tell: Tell) -> None:
    """Writes a zip of files (paths) and texts (strings) under the names given; it tells in megabytes.

    Nothing is compressed but texts: pictures and weights would not become smaller.

    Raises:
        OSError: a file cannot be read, or the zip cannot be written.
        Cancelled: by `tell`.
    """
    total = sum(content.stat().st_size for _, content in files if isinstance(content, Path)) // _CHUNK_BYTES
    done = 0
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files:
            entry = zipfile.ZipInfo(name, _DATE)
            entry.external_attr = 0o644 << 16
            if isinstance(content, str):
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, content)
                continue
            entry.file_size = content.stat().st_size  # so that files of 4 GB and more get the larger header
            with content.open("rb") as source, archive.open(entry, "w") as target:
                while chunk := source.read(_CHUNK_BYTES):
                    tell(label, min(done // _CHUNK_BYTES, total), total)
                    target.write(chunk)
                    done += len(chunk)
    tell(label, total, total)


def _is_prior(picture: Picture, settings: TrainingSettings) -> bool:
    """Whether it is one that only keeps the base model from forgetting."""
    return picture.concept > 0 and settings.concepts[picture.concept - 1].regularization


def _named(pictures: Sequence[Picture]) -> list[tuple[Picture, str]]:
    """A name without ending for each: below its folder's name, which may say how often it is seen; no two the same."""
    out, taken = [], set()
    for picture in pictures:
        root = picture.path.parents[picture.relative.count("/")]
        folder = root.name if root.name and root != Path.home() else "pictures"
        stem = name = (PurePosixPath(folder) / PurePosixPath(picture.relative).with_suffix("")).as_posix()
        number = 1
        while name.lower() in taken:  # e.g. a.png and a.jpg, whose captions would be one file
            number += 1
            name = f"{stem}_{number}"
        taken.add(name.lower())
        out.append((picture, name))
    return out
