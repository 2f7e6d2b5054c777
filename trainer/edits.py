"""What the user changed about pictures without touching them: crops with a focus point, and painted masks. Imports no torch.

A folder beside the project; a run keeps its own copy, so that it can be repeated:

    edits.json        {"version": 1, "pictures": {KEY: {"size": [w, h], "box": [l, t, r, b], "focus": [x, y], "mask": "NAME.png"}}}
    masks/NAME.png    grey, white is trained; as large as the picture upright

Keys are those of `dataset.Picture`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from trainer.errors import DataError, os_message
from trainer.run_folder import write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from PIL import Image

VERSION = 1
FILE, MASKS = "edits.json", "masks"
CENTRE = (0.5, 0.5)

Box = tuple[int, int, int, int]  # left, top, right, bottom in px of the picture upright


@dataclass(frozen=True)
class Edit:
    """Of one picture. size: of the picture upright when it was edited, px. focus: what stays in view, as parts of box or picture."""

    size: tuple[int, int]
    box: Box | None = None
    focus: tuple[float, float] = CENTRE
    mask: str = ""

    @property
    def is_nothing(self) -> bool:
        """Whether it changes nothing."""
        return self.box is None and self.focus == CENTRE and not self.mask


@dataclass
class Edits:
    """All edits in a folder, by picture key."""

    folder: Path
    pictures: dict[str, Edit] = field(default_factory=dict)

    def mask(self, key: str) -> Path | None:
        """The painted mask of a picture, if it has one."""
        edit = self.pictures.get(key)
        return self.folder / MASKS / edit.mask if edit is not None and edit.mask else None

    def set(self, key: str, edit: Edit | None) -> None:
        """Changes one picture's edit, or takes it away, and writes the list.

        Raises:
            DataError: the folder cannot be written.
        """
        self.set_many({key: edit})

    def set_many(self, edits: Mapping[str, Edit | None]) -> None:
        """As `set`, for many pictures at once.

        Raises:
            DataError: the folder cannot be written; nothing is changed then.
        """
        before = dict(self.pictures)
        for key, edit in edits.items():
            self.pictures.pop(key, None)
            if edit is not None and not edit.is_nothing:
                self.pictures[key] = edit
        try:
            self._write()
        except DataError:
            self.pictures = before
            raise

    def paint(self, key: str, size: tuple[int, int], mask: Image.Image | None) -> None:
        """Keeps a picture's mask (mode L, as large as the picture upright), or takes it away.

        Raises:
            DataError: the folder cannot be written.
        """
        name = "" if mask is None else keep_mask(self.folder, key, mask)
        self.set(key, replace(self.pictures.get(key, Edit(size)), size=size, mask=name))

    def _write(self) -> None:
        # One by one, as the JSON module stops every thread for a whole text.
        pictures = (f"{json.dumps(key)}: {json.dumps(values_of(edit))}" for key, edit in sorted(self.pictures.items()))
        text = f'{{"version": {VERSION}, "pictures": {{{", ".join(pictures)}}}}}'
        try:
            write_atomically(self.folder / FILE, lambda p: p.write_text(text, encoding="utf-8"))
        except OSError as error:
            raise DataError(os_message("Crops and masks could not be kept", error)) from None


def keep_mask(folder: Path, key: str, mask: Image.Image) -> str:
    """Writes a picture's mask into the folder and gives its name, which is of its content; no edit has it yet.

    Raises:
        DataError: the folder cannot be written.
    """
    grey = mask.convert("L")
    name = f"{hashlib.blake2b(key.encode('utf-8', 'surrogatepass') + grey.tobytes(), digest_size=12).hexdigest()}.png"
    try:
        write_atomically(folder / MASKS / name, lambda p: grey.save(p, "PNG"))
    except OSError as error:
        raise DataError(os_message("The mask could not be kept", error)) from None
    return name


def read(folder: Path) -> Edits:
    """The edits in a folder; none when it is not there.

    Raises:
        DataError: the list cannot be read, or is of a newer version.
    """
    path = folder / FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Edits(folder)
    except OSError as error:
        raise DataError(os_message(f"{path} cannot be read", error)) from None
    except ValueError:
        raise DataError(f"{path} is damaged; move it away to go on without crops and masks.") from None
    if isinstance(values, dict) and isinstance(number := values.get("version"), int) and number > VERSION:
        raise DataError(f"{path} was written by a newer LoRA Atelier; update to read it.")
    try:
        return Edits(folder, {str(key): edit_of(edit) for key, edit in values["pictures"].items()})
    except (LookupError, TypeError, ValueError, AttributeError):
        raise DataError(f"{path} is damaged; move it away to go on without crops and masks.") from None


def values_of(edit: Edit) -> dict[str, Any]:
    """An edit as a JSON object."""
    return {"size": edit.size, "box": edit.box, "focus": edit.focus, "mask": edit.mask}


def edit_of(values: dict[str, Any]) -> Edit:
    """An edit from its JSON object.

    Raises:
        LookupError, TypeError, ValueError: it is damaged.
    """
    width, height = (int(n) for n in values["size"])
    x, y = (min(1.0, max(0.0, float(n))) for n in values.get("focus") or CENTRE)
    box, mask = values.get("box"), str(values.get("mask") or "")
    if "/" in mask or "\\" in mask or mask.startswith("."):
        raise ValueError(mask)
    if box is not None:
        left, top, right, bottom = (int(n) for n in box)
        if not (0 <= left < right <= width and 0 <= top < bottom <= height):
            raise ValueError(box)
        box = (left, top, right, bottom)
    return Edit((width, height), box, (x, y), mask)
