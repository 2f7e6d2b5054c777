"""A project's pictures as the window shows them: scanned off the main thread, with what is wrong with each of them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.caption_history import CaptionHistory
from app.caption_tags import TagCounter
from app.texts import tr
from trainer import buckets, dataset
from trainer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from trainer.dataset import Picture
    from trainer.pixels import Fit

MUCH_ENLARGED = 1.5  # a picture enlarged more than so many times looks soft, and the LoRA learns that
MUCH_CROPPED = 0.25
RULE_SETTINGS = ("resolution", "bucket_step", "bucket_min", "bucket_max", "upscale", "buckets")
_BOUNDS = {"resolution": (64, 4096), "bucket_step": (8, 512), "bucket_min": (32, 4096), "bucket_max": (64, 8192)}


@dataclass
class Item:
    """A picture in the window's list.

    caption: as it is now, edits included. included: whether it is trained. problems: short sentences.
    """

    picture: Picture
    caption: str
    included: bool
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Request:
    """What a scan needs to know. signature: of the files as they were seen last, 0 when they must be read anyway."""

    data: Path
    more: tuple[Path, ...]
    left_out: frozenset[str]
    rules: buckets.Rules
    signature: int = 0
    history: Path | None = None


@dataclass
class Result:
    """What a scan found.

    unchanged: no file changed since, so that there is nothing else in it. error: why it failed. twins: pictures of the same
    name but for the ending, which may share a caption file.
    """

    request: Request
    unchanged: bool = False
    signature: int = 0
    error: str = ""
    items: list[Item] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    fits: dict[tuple[int, int], Fit] = field(default_factory=dict)
    tags: TagCounter = field(default_factory=TagCounter)
    indexes: dict[Path, int] = field(default_factory=dict)
    twins: dict[Path, list[Path]] = field(default_factory=dict)
    history: CaptionHistory | None = None


def run(request: Request) -> Result:
    """Reads the folders. Takes a second or two for thousands of pictures; for a thread."""
    result = Result(request)
    if request.history is not None:
        result.history = CaptionHistory(request.history)
    result.signature = _signature([request.data, *request.more])
    if request.signature and request.signature == result.signature:
        result.unchanged = True
        return result
    try:
        found = dataset.scan(request.data, more=request.more)
    except DataError as error:
        result.error = str(error)
        return result
    result.problems = [p for p in found.problems if not p.endswith("no caption.")]  # the badges say so, up to date
    for picture in found.pictures:
        item = Item(picture, picture.caption, picture.key not in request.left_out)
        item.problems = problems_of(item, fit_of(picture, request.rules, result.fits))
        result.items.append(item)
    result.indexes = {item.picture.path: i for i, item in enumerate(result.items)}
    result.twins = _twins(result.indexes)
    result.tags = TagCounter(item.caption for item in result.items if item.included)
    return result


def rules_of(value: Callable[[str], Any]) -> buckets.Rules:
    """Bucket rules from a project's values; a value that cannot be used is replaced by its default.

    Args:
        value: gives the value of a setting, e.g. `Project.value`.
    """
    standard = {"resolution": 512, "bucket_step": 64, "bucket_min": 256, "bucket_max": 2048}
    numbers = {name: _number(value(name), *_BOUNDS[name]) or standard[name] for name in standard}
    step, low, high = numbers["bucket_step"], numbers["bucket_min"], numbers["bucket_max"]
    if step > numbers["resolution"]:
        step = 8
    if low > high:
        low, high = standard["bucket_min"], standard["bucket_max"]
    high = max(high, numbers["resolution"])
    upscale, enabled = (given if isinstance(given := value(name), bool) else True for name in ("upscale", "buckets"))
    return buckets.Rules(numbers["resolution"], step, low, high, upscale, enabled)


def fit_of(picture: Picture, rules: buckets.Rules, known: dict[tuple[int, int], Fit]) -> Fit:
    """How a picture is trained; `known` remembers it by size, as it is slow for thousands of pictures."""
    size = (picture.width_px, picture.height_px)
    fit = known.get(size)
    if fit is None:
        fit = known[size] = buckets.fit(*size, rules)
    return fit


def problems_of(item: Item, fit: Fit) -> tuple[str, ...]:
    """What is wrong with a picture, each in a sentence of a few words."""
    out = []
    if not item.caption:
        out.append(tr("It has no caption."))
    enlarged = fit.resized[0] / max(1, item.picture.width_px)
    if enlarged > MUCH_ENLARGED:
        out.append(tr("It is small: training enlarges it {times:.1f} times.", times=enlarged))
    cropped = buckets.cropped_share(fit)
    if cropped > MUCH_CROPPED:
        out.append(tr("It is long: training cuts {percent:.0f} % of it away.", percent=100 * cropped))
    return tuple(out)


def _number(given: object, low: int, high: int) -> int:
    """The number when it is one and lies between the bounds, else 0."""
    return given if isinstance(given, int) and not isinstance(given, bool) and low <= given <= high else 0


def _twins(paths: Iterable[Path]) -> dict[Path, list[Path]]:
    """For each picture that has them, all pictures of its name in its folder."""
    groups: dict[Path, list[Path]] = {}
    for path in paths:
        groups.setdefault(path.with_suffix(""), []).append(path)
    return {path: group for group in groups.values() if len(group) > 1 for path in group}


def _signature(roots: Iterable[Path]) -> int:
    """A number that changes when a file below the roots appears, goes or is written. Far quicker than reading them."""
    out = []
    for root in roots:
        if root == Path():
            continue
        for parent, folders, _ in os.walk(root):
            folders[:] = [f for f in folders if not f.startswith(".")]
            try:
                with os.scandir(parent) as entries:
                    out += [_stamp(parent, entry) for entry in entries if not entry.name.startswith(".")]
            except OSError:
                continue  # the scan says what cannot be read
        if root.is_file():
            info = root.stat()
            out.append((str(root), "", info.st_mtime_ns, info.st_size))
    return hash(tuple(sorted(out)))


def _stamp(parent: str, entry: os.DirEntry[str]) -> tuple[str, str, int, int]:
    info = entry.stat(follow_symlinks=True) if entry.is_file() else None
    return (parent, entry.name, info.st_mtime_ns, info.st_size) if info else (parent, entry.name, 0, 0)
