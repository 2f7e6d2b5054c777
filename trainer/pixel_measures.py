"""What a picture's file and pixels show of its faults, measured once and kept as JSON. Imports no torch.

The names of what is found are in `trainer/doctor.py`; here are numbers, and the thresholds between good and bad.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from trainer import pixels
from trainer.pixel_defects import Border, blockiness, border
from trainer.pixel_hashes import Group, mirrored_hash, near_duplicates, picture_hash
from trainer.pixel_overlays import Overlay, overlay
from trainer.pixel_sharpness import BLURRED, sharpness

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = [
    "Border",
    "Group",
    "Measures",
    "Overlay",
    "has_border",
    "is_blocky",
    "is_blurred",
    "measure",
    "near_duplicates",
]

VERSION = 2  # of what is measured and how; older measures are to be taken again
BLOCKY = 1.6  # of blockiness: JPEG of a quality of about 30 or less; 75 measures 0.6 at most, 25 measures 1.9 at least
BORDER = 0.015  # of the side, which a bar takes at least
NO_BORDER, NO_OVERLAY = Border(0, 0, 0, 0), Overlay()
_ENDINGS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"), "MPO": (".jpg", ".jpeg", ".mpo"), "PNG": (".png", ".apng"),
    "WEBP": (".webp",), "BMP": (".bmp", ".dib"), "AVIF": (".avif", ".avifs"), "GIF": (".gif",), "TIFF": (".tif", ".tiff"),
    "JPEG2000": (".jp2", ".j2k", ".jpx", ".jpf"), "JPEGXL": (".jxl",), "PSD": (".psd",), "ICO": (".ico",), "TGA": (".tga",),
}  # fmt: skip


@dataclass(frozen=True)
class Measures:
    """A picture as seen upright, first frame, transparency on white. Where `problem` is not empty, the rest may be default."""

    content_sha256: str = ""  # of the file's bytes
    problem: str = ""  # a sentence, if training could not read it
    format: str = ""  # Pillow's name of what the file holds
    mode: str = ""  # Pillow's name of how pixels are stored
    wrong_extension: str = ""  # the ending that the file should have; "" if it has it
    width_px: int = 0
    height_px: int = 0
    exif_rotation: int = 1  # 1 (upright) to 8
    frames: int = 1  # more if animated
    is_cmyk: bool = False
    is_16_bit: bool = False
    has_alpha: bool = False  # some pixel is not opaque
    hidden_share: float = 0.0  # of all pixels: fully transparent, and of another colour than most of those
    hash: str = ""  # trainer.pixel_hashes.picture_hash
    sharpness: float = 1.0  # 0 to 1, at the training size
    blockiness: float = 0.0
    border: Border = NO_BORDER
    overlay: Overlay = NO_OVERLAY

    @property
    def flipped_hash(self) -> str:
        """The hash of the mirrored picture."""
        return mirrored_hash(self.hash) if self.hash else ""

    def to_json(self) -> dict[str, Any]:
        """Plain values, for json.dumps."""
        return asdict(self) | {"border": list(self.border), "overlay": [self.overlay.kind, list(self.overlay.box)]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Measures:
        """Of what `to_json` gave; another VERSION's values may raise."""
        kind, (left, top, right, bottom) = values["overlay"]
        frame = {"border": Border(*values["border"]), "overlay": Overlay(kind, (left, top, right, bottom))}
        return cls(**(dict(values) | frame))


def measure(path: Path, training_px: int = 512) -> Measures:
    """Everything about one picture file; about 90 ms for a JPEG of 2 megapixels.

    Args:
        path: a file; one that cannot be read gives measures with a `problem`.
        training_px: side of a square of the area at which it is trained, for the sharpness.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        return Measures(problem=f"{path.name} cannot be read ({error.strerror or error}).")
    known: dict[str, Any] = {"content_sha256": hashlib.sha256(data).hexdigest()}
    try:
        with Image.open(io.BytesIO(data)) as picture:
            known |= _header(path, picture, data)
            picture.load()
            if _cut_off(picture, data):
                raise OSError("truncated")
            known |= _transparency(picture)
            turned = pixels.upright(picture)
            flat = pixels.flatten(turned, "#ffffff")
    except pixels.UNREADABLE as error:
        return Measures(**known, problem=f"{path.name} cannot be read as a picture ({pixels.reason(error)}).")
    return Measures(**known, **_seen(flat, training_px))


def is_blurred(measures: Measures) -> bool:
    """Out of focus, moved or enlarged, at the training size; never for pictures that are smooth or out of focus in part."""
    return measures.sharpness < BLURRED


def is_blocky(measures: Measures) -> bool:
    """Squares of JPEG can be seen."""
    return measures.blockiness > BLOCKY


def has_border(measures: Measures) -> bool:
    """Bars at an edge, or a frame."""
    across, down = BORDER * measures.width_px, BORDER * measures.height_px
    left, top, right, bottom = measures.border
    return max(left, right) > across or max(top, bottom) > down


def _header(path: Path, picture: Image.Image, data: bytes) -> dict[str, Any]:
    name = str(picture.format)
    endings = _ENDINGS.get(name, (path.suffix.lower(),))
    rotation = pixels.orientation(picture)
    width, height = picture.size if rotation < 5 else picture.size[::-1]
    return {
        "format": name,
        "mode": picture.mode,
        "wrong_extension": "" if path.suffix.lower() in endings else endings[0],
        "width_px": width,
        "height_px": height,
        "exif_rotation": rotation,
        "frames": 1 if name == "MPO" else getattr(picture, "n_frames", 1),  # a camera's preview is no second frame
        "is_cmyk": picture.mode == "CMYK",
        # Pillow gives colours of 16 bits as 8; byte 24 of a PNG is its depth
        "is_16_bit": picture.mode.startswith(("I", "F")) or (name == "PNG" and data[24:25] == b"\x10"),
    }


def _cut_off(picture: Image.Image, data: bytes) -> bool:
    """Whether the file was written only in part: zeros follow, which JPEG decodes to grey without complaint."""
    if picture.format != "JPEG" or data[-1:] != b"\0":
        return False
    written = data.rstrip(b"\0")
    return len(data) - len(written) > 64 and b"\xff\xd9" not in data[_scan(data) :]


def _scan(data: bytes) -> int:
    """Where a JPEG's pixels begin: after the segments, in which a preview with its own end may lie."""
    at = 2
    while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] != b"\xda":
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return at


def _transparency(picture: Image.Image) -> dict[str, Any]:
    if not picture.has_transparency_data:
        return {}
    values = np.asarray(picture.convert("RGBA"))
    alpha = values[..., 3]
    if alpha.min() == 255:
        return {}
    hidden = values[alpha == 0][:, :3]
    if not len(hidden):
        return {"has_alpha": True}
    usual = [int(np.bincount(channel, minlength=256).argmax()) for channel in hidden.T]
    other = (np.abs(hidden.astype(np.int16) - usual) > 8).any(1)
    return {"has_alpha": True, "hidden_share": round(float(other.sum()) / alpha.size, 4)}


def _seen(flat: Image.Image, training_px: int) -> dict[str, Any]:
    grey = flat.convert("L")
    bars = border(np.asarray(flat))
    inner = grey.crop((bars.left, bars.top, grey.width - bars.right, grey.height - bars.bottom)) if any(bars) else grey
    return {
        "hash": picture_hash(flat),
        "sharpness": round(sharpness(inner, training_px), 3),
        "blockiness": round(blockiness(np.asarray(grey)), 3),
        "border": bars,
        "overlay": overlay(grey),
    }
