"""Small versions of pictures: made with Pillow, kept in a folder that can be thrown away at any time. For threads; no Qt.

Pillow lets go of Python's lock while it decodes. `yield_now` is called wherever it has it again, so that the caller can hold
its threads back there for as long as the window is painting.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageOps, UnidentifiedImageError

from trainer import pixels
from trainer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LEVELS_PX = (256, 512)  # the longest sides that are kept on disk
MAX_BYTES = 500_000_000
PAPER = "#ffffff"  # behind transparent parts
QUALITY = 88
_TOUCHED_AFTER_S = 24 * 3600  # a thumbnail in use looks no older than this, so that `prune` takes others first

Stamp = tuple[int, int]  # of a picture's file: time of change in ns, bytes


def stamp_of(path: Path) -> Stamp:
    """What tells whether the file is still the same.

    Raises:
        OSError: there is no such file.
    """
    info = path.stat()
    return info.st_mtime_ns, info.st_size


def thumbnail(
    path: Path, side_px: int, folder: Path, stamp: Stamp, yield_now: Callable[[], object] = bool
) -> Image.Image:
    """The picture in RGB, upright, its longest side at most `side_px`; from the folder when it is there.

    Raises:
        DataError: the file is no picture, or it is cut off.
    """
    level = next((side for side in LEVELS_PX if side >= side_px), side_px)
    kept = _kept_path(path, level, folder, stamp)
    small = _read_kept(kept, yield_now)
    if small is None:
        small = _make(path, level, yield_now)
        yield_now()
        if level in LEVELS_PX and max(small.size) == level:  # a smaller picture is quick enough as it is
            _keep(small, kept)
    yield_now()
    if max(small.size) > side_px:
        small.thumbnail((side_px, side_px), Image.Resampling.BICUBIC)
        yield_now()
    return small


def prune(folder: Path, max_bytes: int = MAX_BYTES) -> int:
    """Removes the thumbnails that were not used for longest until four fifths of the room are taken; how many."""
    found = sorted(_files(folder))
    total = sum(size for _, size, _ in found)
    if total <= max_bytes:
        return 0
    removed = 0
    for _, size, path in found:
        if total <= max_bytes * 4 // 5:
            break
        try:
            path.unlink(missing_ok=True)
        except OSError:
            continue  # in use by another window; the next start tries again
        total -= size
        removed += 1
    return removed


def _make(path: Path, side_px: int, yield_now: Callable[[], object]) -> Image.Image:
    try:
        with Image.open(path) as picture:
            picture.draft("RGB", (side_px, side_px))  # JPEG: decoded at an eighth, a quarter or half of the size
            yield_now()
            picture.load()
            yield_now()
            upright = ImageOps.exif_transpose(picture)
            if max(upright.size) > 4 * side_px and upright.mode in ("RGB", "L"):
                upright.thumbnail((side_px, side_px), Image.Resampling.BICUBIC, reducing_gap=2.0)
            rgb = pixels.flatten(upright, PAPER)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path.name} cannot be shown: {error}") from None
    yield_now()
    rgb.thumbnail((side_px, side_px), Image.Resampling.BICUBIC, reducing_gap=2.0)
    return rgb


def _kept_path(path: Path, side_px: int, folder: Path, stamp: Stamp) -> Path:
    name = f"{path}|{stamp[0]}|{stamp[1]}|{side_px}".encode("utf-8", "surrogateescape")
    digest = hashlib.blake2b(name, digest_size=16).hexdigest()
    return folder / digest[:2] / f"{digest}.jpg"


def _read_kept(path: Path, yield_now: Callable[[], object]) -> Image.Image | None:
    """The kept thumbnail; None when there is none, or half of one after the machine lost power."""
    try:
        with Image.open(path) as picture:
            yield_now()
            picture.load()
            yield_now()
            out = picture.convert("RGB")
        if time.time() - path.stat().st_mtime > _TOUCHED_AFTER_S:
            os.utime(path)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError):
        return None
    return out


def _keep(picture: Image.Image, path: Path) -> None:
    """Writes it beside and renames; not synced, as thousands are written and each can be made again."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(partial, "JPEG", quality=QUALITY)
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)  # a full disk or no permission: shown all the same, and made again next time


def _files(folder: Path) -> Iterator[tuple[float, int, Path]]:
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            try:
                info = path.stat()
            except OSError:
                continue  # another window removed it
            yield info.st_mtime, info.st_size, path
