"""A picture file as plain RGB of the wanted size: rotation, transparency, 16 bit, CMYK, palette, grey. Imports no torch."""

from __future__ import annotations

import contextlib
import importlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError

from trainer.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".avif", ".jxl")
_PLUGIN = "pillow_jxl"  # teaches Pillow JPEG XL when it is imported
Image.MAX_IMAGE_PIXELS = 400_000_000  # a 20,000 px panorama is a picture, a decompression bomb is not
UNREADABLE = (
    OSError,
    UnidentifiedImageError,
    SyntaxError,
    ValueError,
    Image.DecompressionBombError,
)  # what Pillow raises
_TURNS = {  # EXIF orientation to what makes the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip


@dataclass(frozen=True)
class Fit:
    """How a picture becomes a training picture: scaled to `resized`, then cropped to `size` at `corner`; all (x, y) px.

    box: the user's crop before that, left, top, right and bottom in px of the whole picture.
    """

    size: tuple[int, int]
    resized: tuple[int, int]
    corner: tuple[int, int]
    box: tuple[int, int, int, int] | None = None


@lru_cache(maxsize=1)
def supported_suffixes() -> tuple[str, ...]:
    """The picture files that this machine's Pillow reads."""
    with contextlib.suppress(ImportError):
        importlib.import_module(_PLUGIN)
    readable = Image.registered_extensions()
    return tuple(s for s in SUFFIXES if s in readable)


def header_size(path: Path) -> tuple[int, int]:
    """Width and height as seen after EXIF rotation, from the header only.

    Raises:
        DataError: the file is no picture that can be read.
    """
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            turned = orientation(picture) in (5, 6, 7, 8)
    except UNREADABLE as error:
        raise DataError(f"{path.name} cannot be read as a picture ({reason(error)}).") from None
    return (height, width) if turned else (width, height)


def has_alpha(path: Path) -> bool:
    """Whether a picture may have transparent parts, from the header only; one that cannot be read has none."""
    try:
        with Image.open(path) as picture:
            return _has_alpha(picture)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False


def open_rgb(path: Path, background: str = "#ffffff") -> Image.Image:
    """The picture upright, in 8-bit RGB, with `background` behind what is transparent.

    Raises:
        DataError: the file is no picture, or it is cut off.
    """
    try:
        with Image.open(path) as picture:
            return flatten(upright(picture), background)
    except UNREADABLE as error:
        raise DataError(f"{path.name} cannot be read as a picture ({reason(error)}).") from None


def flatten(picture: Image.Image, background: str) -> Image.Image:
    """Any Pillow mode to RGB; what lies hidden under transparency does not show through."""
    if picture.mode.startswith("I") or picture.mode == "F":  # 16 bit grey: scaled, where convert() would clip it
        _, high = picture.getextrema()
        top = 65535 if picture.mode.startswith("I;16") or high > 255 else 255  # type: ignore[operator]
        grey = picture.convert("F").point(lambda v: v * (255 / top))
        return grey.convert("L").convert("RGB")
    if _has_alpha(picture):
        layer = picture.convert("RGBA")
        paper = Image.new("RGBA", layer.size, (*ImageColor.getrgb(background)[:3], 255))
        return Image.alpha_composite(paper, layer).convert("RGB")
    return picture.convert("RGB")


def fitted(picture: Image.Image, fit: Fit, *, mirrored: bool) -> Image.Image:
    """The picture cropped by the user, scaled (Lanczos) and cropped as `fit` says, then mirrored if asked."""
    if fit.box is not None:
        picture = picture.crop(fit.box)
    if picture.size != fit.resized:
        picture = picture.resize(fit.resized, Image.Resampling.LANCZOS)
    x, y = fit.corner
    picture = picture.crop((x, y, x + fit.size[0], y + fit.size[1]))
    return ImageOps.mirror(picture) if mirrored else picture


def mask(picture: Path, file: Path | None, *, alpha: bool) -> Image.Image | None:
    """How much each pixel of a picture is trained, mode L and as large as it upright: from a mask file, else from its alpha.

    None when it has neither. alpha: whether transparency counts as a mask.

    Raises:
        DataError: a file cannot be read.
    """
    if file is not None:
        grey = open_rgb(file, "#000000").convert("L")
        width, height = header_size(picture)
        return grey if grey.size == (width, height) else grey.resize((width, height), Image.Resampling.BILINEAR)
    if not alpha:
        return None
    try:
        with Image.open(picture) as opened:
            if not _has_alpha(opened):
                return None
            turn = _TURNS.get(orientation(opened))
            band = opened.convert("RGBA").getchannel("A")
            return band if turn is None else band.transpose(turn)
    except UNREADABLE as error:
        raise DataError(f"{picture.name} cannot be read as a picture ({reason(error)}).") from None


def upright(picture: Image.Image) -> Image.Image:
    """The decoded picture, turned as its EXIF data say."""
    turn = _TURNS.get(orientation(picture))
    picture.load()
    return picture if turn is None else picture.transpose(turn)


def orientation(picture: Image.Image) -> int:
    """EXIF orientation, 1 to 8, from the header only.

    A PNG's own `getexif` would decode the whole picture, to look for EXIF data that comes after the pixels (rare, and most
    viewers do not look there either).
    """
    found = Image.Image.getexif(picture).get(0x0112, 1)
    return found if isinstance(found, int) else 1


def reason(error: Exception) -> str:
    """Why a picture cannot be read, in a few words, from what Pillow raised."""
    text = str(error)
    if isinstance(error, UnidentifiedImageError):
        return "it is not a picture, or of an unknown kind"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if "truncated" in text or "Truncated" in text:
        return "the file is cut off"
    if isinstance(error, Image.DecompressionBombError):
        return "it has too many pixels"
    return text.splitlines()[0] if text else type(error).__name__


def _has_alpha(picture: Image.Image) -> bool:
    return picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info
