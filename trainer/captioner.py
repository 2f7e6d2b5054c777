"""Describes pictures with a captioner of any known kind, batch by batch, while the next pictures are being opened."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from trainer import captioner_files, captioner_tagger, device, hub, pixels
from trainer.errors import ConfigError, DataError, ModelError
from trainer.tasks import quiet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from PIL import Image

    from trainer.caption_plan import Proposal
    from trainer.edits import Box
    from trainer.tasks import Tell

OPENERS = 2  # threads
LABEL = "Describing pictures"


class Captioner(Protocol):
    """What every kind can do. batch: so many pictures it describes at once."""

    batch: int

    def prepare(self, picture: Image.Image) -> Any:
        """What the model sees of a picture; called in several threads."""

    def describe(self, prepared: Sequence[Any], still: Callable[[], None]) -> list[Proposal]:
        """A proposal for each; `still` is called in between and may raise `Cancelled`."""


@dataclass(frozen=True)
class Wish:
    """A picture to be described. box: the part of it that is trained, in px of the picture upright."""

    path: Path
    box: Box | None = None


@dataclass(frozen=True)
class Described:
    """What came of a picture; no proposal, but a sentence in `problem`, when it cannot be opened."""

    path: Path
    proposal: Proposal | None
    problem: str = ""


def find(model: str) -> Path:
    """The folder of a captioner that is here, by its path or by its name on the Hugging Face Hub.

    Raises:
        ModelError: there is none, or it must be downloaded first.
    """
    if hub.is_name(model):
        folder = hub.cached(model)
        if folder is None:
            raise ModelError(hub.not_here(model))
        return folder
    return Path(model).expanduser()


def load(folder: Path, *, prompt: str = "", batch: int = 0, where: str = "auto", tell: Tell = quiet) -> Captioner:
    """The captioner in a folder, ready to work.

    Args:
        folder: with its files.
        prompt: how much Florence-2 writes, or how BLIP begins; taggers know none.
        batch: pictures at once; 0 chooses.
        where: the device, as `device.choose` takes it.
        tell: hears that it is being loaded.

    Raises:
        ModelError: it is of no known kind, not whole, or needs a package that is missing.
        ConfigError: the prompt is none that it understands, or there is no such device.
    """
    kind = captioner_files.kind_of(folder)
    chosen = device.choose(where)
    if prompt and not kind.prompt:
        raise ConfigError("", f"A {kind.title} writes tags and takes no prompt. Leave the prompt out.")
    tell(f"Loading {kind.title}", 0, 0)
    if kind.says == "tags":
        return captioner_tagger.Tagger(folder, chosen, batch)
    from trainer import captioner_sentences  # transformers costs seconds, which taggers need not wait for

    return captioner_sentences.Writer(folder, kind, chosen, prompt, batch)


def describe(captioner: Captioner, wishes: Sequence[Wish], tell: Tell = quiet) -> Iterator[Described]:
    """Each picture with its proposal, in their order, as they come.

    When memory runs out, the batch is halved and tried again.

    Raises:
        ModelError: memory is too small for a single picture.
        Cancelled: by `tell`.
    """
    waiting: deque[Any] = deque()
    left, done, total = iter(wishes), 0, len(wishes)
    with ThreadPoolExecutor(OPENERS, "open pictures") as pool:
        try:
            while True:
                while len(waiting) < 2 * captioner.batch and (wish := next(left, None)) is not None:
                    waiting.append((wish.path, pool.submit(_open, captioner, wish)))
                if not waiting:
                    break
                tell(LABEL, done, total)
                some = [waiting.popleft() for _ in range(min(captioner.batch, len(waiting)))]
                opened = [(path, *future.result()) for path, future in some]
                fine = [prepared for _, prepared, problem in opened if not problem]
                proposals = iter(_described(captioner, fine, partial(tell, LABEL, done, total)))
                for path, _, problem in opened:
                    done += 1
                    yield Described(path, None if problem else next(proposals), problem)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    tell(LABEL, total, total)


def _open(captioner: Captioner, wish: Wish) -> tuple[Any, str]:
    """What the model sees of a picture, or why it cannot be opened."""
    try:
        picture = pixels.open_rgb(wish.path)
    except DataError as error:
        return None, str(error)
    return captioner.prepare(picture if wish.box is None else picture.crop(wish.box)), ""


def _described(captioner: Captioner, prepared: Sequence[Any], still: Callable[[], None]) -> list[Proposal]:
    out: list[Proposal] = []
    while len(out) < len(prepared):
        some = prepared[len(out) : len(out) + captioner.batch]
        try:
            out += captioner.describe(some, still)
        except torch.OutOfMemoryError:
            if len(some) == 1:
                raise ModelError(
                    "Memory is too small for this captioner. Close other programs, or choose a smaller one."
                ) from None
            captioner.batch = len(some) // 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
    return out
