"""WD taggers: which of thousands of Danbooru tags a picture shows, with confidences, through onnxruntime."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from trainer.caption_plan import CHARACTER, GENERAL, LEAST_CONFIDENCE, RATING, Proposal, Tag
from trainer.captioner_files import KINDS, TAGGER_FILES, missing_package
from trainer.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy.typing as npt
    import torch

LEAST = (
    0.1  # confidence of tags that are told; a threshold above it can be changed without another look at the pictures
)
BATCH = 4
_CATEGORIES = {"0": GENERAL, "4": CHARACTER, "9": RATING}
_PROVIDERS = {
    "cuda": ("CUDAExecutionProvider", "ROCMExecutionProvider", "DmlExecutionProvider"),
    "mps": ("CoreMLExecutionProvider",),
}


class Tagger:
    """A WD tagger. As `captioner.Captioner`."""

    def __init__(self, folder: Path, where: torch.device, batch: int = 0) -> None:
        """Reads its tags and loads its weights.

        Raises:
            ModelError: onnxruntime is missing, or the files are damaged or of another kind.
        """
        model, table = (folder / name for name in TAGGER_FILES)
        self.tags = read_tags(table)
        self._session = _session(model, where)
        given = self._session.get_inputs()[0]
        shape = given.shape
        if len(shape) != 4 or shape[3] != 3 or not isinstance(shape[1], int) or shape[1] != shape[2]:
            raise ModelError(
                f"{model} takes {shape} and not (pictures, side, side, 3); it is no WD tagger. Choose another captioner."
            )
        told = self._session.get_outputs()[0].shape[-1]
        if isinstance(told, int) and told != len(self.tags):
            raise ModelError(
                f"{model} knows {told} tags, but {table.name} names {len(self.tags)}; they do not belong together. Download the tagger again."
            )
        self._input, self.side_px = given.name, shape[1]
        self._fixed = shape[0] if isinstance(shape[0], int) else 0  # some are made for batches of one size
        self.batch = self._fixed or batch or BATCH

    def prepare(self, picture: Image.Image) -> npt.NDArray[np.float32]:
        """The picture as (side, side, 3) in BGR, 0 to 255, in the middle of a white square."""
        longest = max(picture.size)
        square = Image.new("RGB", (longest, longest), "#ffffff")
        square.paste(picture, ((longest - picture.width) // 2, (longest - picture.height) // 2))
        if longest != self.side_px:
            square = square.resize((self.side_px, self.side_px), Image.Resampling.BICUBIC)
        return np.ascontiguousarray(np.asarray(square, np.float32)[:, :, ::-1])

    def describe(self, prepared: Sequence[npt.NDArray[np.float32]], still: Callable[[], None]) -> list[Proposal]:
        """The tags that each picture may have, down to `LEAST_CONFIDENCE`; nothing is sorted."""
        still()
        pictures = np.stack([*prepared, *[prepared[0]] * (self._fixed - len(prepared))])
        answer = np.asarray(self._session.run(None, {self._input: pictures})[0], np.float32)[: len(prepared)]
        if answer.min() < 0 or answer.max() > 1:  # an export without its last layer
            answer = (1 / (1 + np.exp(-answer))).astype(np.float32)
        return [self._proposal(row) for row in answer]

    def _proposal(self, row: npt.NDArray[np.float32]) -> Proposal:
        return Proposal(tags=tuple(Tag(*self.tags[i], float(row[i])) for i in np.flatnonzero(row >= LEAST_CONFIDENCE)))


def read_tags(path: Path) -> list[tuple[str, str]]:
    """Name and kind of every tag, in the model's order, from `selected_tags.csv`.

    Raises:
        ModelError: it is damaged or another table.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            tags = [(row["name"], _CATEGORIES.get(row["category"], GENERAL)) for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ModelError(f"{path} cannot be read ({error}). Download the tagger again.") from None
    except KeyError as error:
        raise ModelError(f"{path} has no column {error}; it is no tagger's list of tags. Download the tagger again.") from None  # fmt: skip
    if not tags or not all(name for name, _ in tags):
        raise ModelError(f"{path} names no tags, or not all of them. Download the tagger again.")
    return tags


def _session(model: Path, where: torch.device) -> Any:
    if sentence := missing_package(KINDS["tagger"]):
        raise ModelError(sentence)
    import onnxruntime

    wanted = _PROVIDERS.get(where.type, ())
    there = onnxruntime.get_available_providers()
    providers = [*(name for name in wanted if name in there), "CPUExecutionProvider"]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; its warnings are for who made the file
    try:
        return onnxruntime.InferenceSession(model, options, providers=providers)
    except Exception as error:  # its errors have no base class of their own
        reason = (str(error).splitlines() or [""])[0].rstrip(".")
        raise ModelError(f"{model} cannot be loaded ({reason}). Download the tagger again.") from None
