"""A run's previews on one sheet: a row a prompt, a column a step, so that one sees the concept appear."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from trainer.run_folder import RunFolder, write_atomically

if TYPE_CHECKING:
    from pathlib import Path

MOST_COLUMNS, SIDE_PX, GAP_PX, TITLE_PX = 8, 256, 8, 28
PAPER, INK = (24, 24, 28), (225, 225, 230)


def write(folder: RunFolder) -> Path | None:
    """Draws `samples/overview.png` from the previews that are there; None when there are none.

    With more steps than fit, the first, the last and evenly spread ones between are shown.
    """
    found: dict[int, dict[int, Path]] = {}
    for path in sorted(folder.samples.glob("*_p*_s*.png")):
        if match := re.fullmatch(r"(\d+)_p(\d+)_s\d+\.png", path.name):
            found.setdefault(int(match[1]), {})[int(match[2])] = path
    if not found:
        return None
    steps = _spread(sorted(found))
    rows = sorted({prompt for by_prompt in found.values() for prompt in by_prompt})
    cell = SIDE_PX
    sheet = Image.new(
        "RGB", (GAP_PX + len(steps) * (cell + GAP_PX), TITLE_PX + GAP_PX + len(rows) * (cell + GAP_PX)), PAPER
    )
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=15)
    for column, step in enumerate(steps):
        x = GAP_PX + column * (cell + GAP_PX)
        draw.text((x, GAP_PX), "before" if step == 0 else f"step {step}", fill=INK, font=font)
        for row, prompt in enumerate(rows):
            if prompt in found[step]:
                with Image.open(found[step][prompt]) as file:
                    picture = file.convert("RGB")
                    scale = cell / max(picture.size)
                    picture = picture.resize(
                        (round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS
                    )
                    sheet.paste(picture, (x, TITLE_PX + GAP_PX + row * (cell + GAP_PX)))
    path = folder.samples / "overview.png"
    write_atomically(path, lambda p: sheet.save(p, format="PNG"))
    return path


def _spread(steps: list[int]) -> list[int]:
    if len(steps) <= MOST_COLUMNS:
        return steps
    last = len(steps) - 1
    return [steps[round(i * last / (MOST_COLUMNS - 1))] for i in range(MOST_COLUMNS)]
