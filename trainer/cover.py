"""The small picture of a LoRA inside its own file, which model managers, A1111 and ComfyUI show. Imports no torch."""

from __future__ import annotations

import base64
import io
import json
import re
from typing import TYPE_CHECKING

from PIL import Image

from trainer import pixels

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.run_folder import RunFolder

SIDE_PX = 256
MAX_BYTES = 29_000  # of the JPEG; in base64 it stays below 40 kB, as the header is read for every file of a model list
_QUALITIES = (88, 80, 70, 60, 50, 40, 30, 20, 10)


def jpeg(picture: Path) -> bytes:
    """The whole picture, at most 256 px wide and high, as a JPEG of at most `MAX_BYTES`; the same bytes each time.

    Raises:
        DataError: the picture cannot be read.
    """
    small = pixels.open_rgb(picture)
    small.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)
    for quality in _QUALITIES:
        out = io.BytesIO()
        small.save(out, format="JPEG", quality=quality, optimize=True)
        if out.tell() <= MAX_BYTES:
            break
    return out.getvalue()


def entries(picture: Path) -> dict[str, str]:
    """The metadata that holds the picture: ModelSpec's thumbnail, and the cover that A1111 and ComfyUI read.

    Neither counts in a hash: `sshs_legacy_hash` is of the `ss_*` keys, all others of the tensors.

    Raises:
        DataError: the picture cannot be read.
    """
    text = base64.b64encode(jpeg(picture)).decode("ascii")
    return {"modelspec.thumbnail": f"data:image/jpeg;base64,{text}", "ssmd_cover_images": json.dumps([text])}


def last_drawn(folder: RunFolder, step: int) -> Path | None:
    """The run's newest preview of its first prompt that is not after `step`; None without any that shows the LoRA."""
    found = {
        int(name[1]): path
        for path in (folder.samples.glob("*_p0_s*.png") if folder.samples.is_dir() else ())
        if (name := re.fullmatch(r"(\d+)_p0_s\d+\.png", path.name)) and 0 < int(name[1]) <= step
    }
    return found[max(found)] if found else None
