"""A picture file as plain RGB of the wanted size: rotation, transparency, 16 bit, CMYK, palette, grey. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError

from trainer.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".avif")
Image.MAX_IMAGE_PIXELS = 400_000_000  # a 20,000 px panorama is a picture, a decompression bomb is not
_TURNS = {  # EXIF orientation to what makes the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip


@dataclass(frozen=True)
class Fit:
    """How a picture becomes a training picture: scaled to `resized`, then cropped to `size` at `corner`; all (x, y) px."""

    size: tuple[int, int]
    resized: tuple[int, int]
    corner: tuple[int, int]


@lru_cache(maxsize=1)
def supported_suffixes() -> tuple[str, ...]:
    """The picture files that this machine's Pillow reads."""
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
            turned = _orientation(picture) in (5, 6, 7, 8)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path.name} cannot be read as a picture ({_reason(error)}).") from None
    return (height, width) if turned else (width, height)


def open_rgb(path: Path, background: str = "#ffffff") -> Image.Image:
    """The picture upright, in 8-bit RGB, with `background` behind what is transparent.

    Raises:
        DataError: the file is no picture, or it is cut off.
    """
    try:
        with Image.open(path) as picture:
            turn = _TURNS.get(_orientation(picture))
            picture.load()
            return flatten(picture if turn is None else picture.transpose(turn), background)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path.name} cannot be read as a picture ({_reason(error)}).") from None


def flatten(picture: Image.Image, background: str) -> Image.Image:
    """Any Pillow mode to RGB; what lies hidden under transparency does not show through."""
    if picture.mode.startswith("I") or picture.mode == "F":  # 16 bit grey: scaled, where convert() would clip it
        _, high = picture.getextrema()
        top = 65535 if picture.mode.startswith("I;16") or high > 255 else 255  # type: ignore[operator]
        grey = picture.convert("F").point(lambda v: v * (255 / top))
        return grey.convert("L").convert("RGB")
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        paper = Image.new("RGBA", layer.size, (*ImageColor.getrgb(background)[:3], 255))
        return Image.alpha_composite(paper, layer).convert("RGB")
    return picture.convert("RGB")


def fitted(picture: Image.Image, fit: Fit, *, mirrored: bool) -> Image.Image:
    """The picture scaled (Lanczos) and cropped as `fit` says, then mirrored if asked."""
    if picture.size != fit.resized:
        picture = picture.resize(fit.resized, Image.Resampling.LANCZOS)
    x, y = fit.corner
    picture = picture.crop((x, y, x + fit.size[0], y + fit.size[1]))
    return ImageOps.mirror(picture) if mirrored else picture


def _orientation(picture: Image.Image) -> int:
    """EXIF orientation, 1 to 8, from the header only.

    A PNG's own `getexif` would decode the whole picture, to look for EXIF data that comes after the pixels (rare, and most
    viewers do not look there either).
    """
    found = Image.Image.getexif(picture).get(0x0112, 1)
    return found if isinstance(found, int) else 1


def _reason(error: Exception) -> str:
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
