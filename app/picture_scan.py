"""A project's pictures as the window shows them: scanned off the main thread, with what is wrong with each of them."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.caption_history import CaptionHistory
from app.caption_tags import PLAIN, Reading, TagCounter
from app.texts import tr
from trainer import buckets, dataset, edits
from trainer.edits import CENTRE, Box, Edits
from trainer.errors import DataError, os_message
from trainer.run_folder import write_folder_atomically
from trainer.settings import info

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from trainer.dataset import Picture
    from trainer.pixels import Fit
    from trainer.settings import Concept

MUCH_ENLARGED = 1.5  # a picture enlarged more than so many times looks soft, and the LoRA learns that
MUCH_CROPPED = 0.25
RULE_SETTINGS = ("resolution", "bucket_step", "bucket_min", "bucket_max", "upscale", "buckets")
FitKey = tuple[int, int, Box | None, tuple[float, float]]  # width and height, crop and focus
_BOUNDS = {"resolution": (64, 4096), "bucket_step": (8, 512), "bucket_min": (32, 4096), "bucket_max": (64, 8192)}


@dataclass
class Item:
    """A picture in the window's list.

    picture: as it will be trained, crop and mask included; plain: without those that the user made here. caption: as it is
    now, edits included. included: whether it is trained. problems: short sentences. is_outdated: crop and mask were made
    when the picture had another size, and are not applied.
    """

    picture: Picture
    caption: str
    included: bool
    problems: tuple[str, ...] = ()
    plain: Picture | None = None
    is_outdated: bool = False

    def take_edits(self, kept: Edits) -> None:
        """Applies crop and mask as they are kept now."""
        plain = self.plain or self.picture
        self.picture = dataset.as_edited(plain, kept)
        self.plain = None if self.picture is plain else plain
        self.is_outdated = self.plain is None and plain.key in kept.pictures

    @property
    def is_cropped(self) -> bool:
        """Whether the user chose a part of it, or what stays in view."""
        return self.picture.box is not None or self.picture.focus != CENTRE


@dataclass(frozen=True)
class Request:
    """What a scan needs to know.

    signature: of the files as they were seen last, 0 when they must be read anyway. edits: the project's folder of crops and
    masks; edits_given: the one that its settings name, from where they are taken when the project has none yet. kept: crops
    and masks when they are known already. reading: what parts tags. concepts: further folders; prior: the folder of
    regularisation pictures, which are only counted.
    """

    data: Path
    more: tuple[Path, ...]
    left_out: frozenset[str]
    rules: buckets.Rules
    signature: int = 0
    history: Path | None = None
    edits: Path | None = None
    edits_given: Path | None = None
    kept: Edits | None = None
    reading: Reading = PLAIN
    concepts: tuple[Concept, ...] = ()
    prior: Path = Path()

    @property
    def places(self) -> tuple[object, ...]:
        """Where it looks, to tell whether another scan would look elsewhere."""
        return self.data, self.more, self.concepts, self.prior


@dataclass
class Result:
    """What a scan found.

    unchanged: no file changed since, so that there is nothing else in it. error: why it failed. twins: pictures of the same
    name but for the ending, which may share a caption file. kept: crops and masks, None when they cannot be read, as
    edits_error says, or were not asked for. prior: how often each regularisation picture counts.
    """

    request: Request
    unchanged: bool = False
    signature: int = 0
    error: str = ""
    items: list[Item] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    fits: dict[FitKey, Fit] = field(default_factory=dict)
    kept: Edits | None = None
    edits_error: str = ""
    tags: TagCounter = field(default_factory=TagCounter)
    indexes: dict[Path, int] = field(default_factory=dict)
    twins: dict[Path, list[Path]] = field(default_factory=dict)
    history: CaptionHistory | None = None
    prior: list[int] = field(default_factory=list)


def run(request: Request) -> Result:
    """Reads the folders. Takes a second or two for thousands of pictures; for a thread."""
    result = Result(request)
    if request.history is not None:
        result.history = CaptionHistory(request.history)
    result.signature = _signature(
        [request.data, *request.more, request.prior, *(c.folder.expanduser() for c in request.concepts)]
    )
    if request.signature and request.signature == result.signature:
        result.unchanged = True
        return result
    result.kept = request.kept
    if request.edits is not None and result.kept is None:
        _read_edits(request.edits, request.edits_given, result)
    try:
        found = dataset.scan(request.data, more=request.more, concepts=request.concepts)
    except DataError as error:
        result.error = str(error)
        return result
    result.problems = [p for p in found.problems if not p.endswith("no caption.")]  # the badges say so, up to date
    if request.prior != Path():
        _count_prior(request.prior, result)
    for picture in found.pictures:
        item = Item(picture, caption_of(picture), picture.key not in request.left_out)
        if result.kept is not None:
            item.take_edits(result.kept)
        item.problems = problems_of(item, fit_of(picture, request.rules, result.fits))
        result.items.append(item)
    result.indexes = {item.picture.path: i for i, item in enumerate(result.items)}
    result.twins = _twins(result.indexes)
    result.tags = TagCounter((item.caption for item in result.items if item.included), request.reading)
    return result


def caption_of(picture: Picture) -> str:
    """The picture's caption, its lines parted by line breaks."""
    return "\n".join(picture.lines) or picture.caption


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


def fit_of(picture: Picture, rules: buckets.Rules, known: dict[FitKey, Fit]) -> Fit:
    """How a picture is trained; `known` remembers it by size and crop, as it is slow for thousands of pictures."""
    key = (picture.width_px, picture.height_px, picture.box, picture.focus)
    fit = known.get(key)
    if fit is None:
        fit = known[key] = replace(buckets.fit(*picture.seen_px, rules, picture.focus), box=picture.box)
    return fit


def problems_of(item: Item, fit: Fit) -> tuple[str, ...]:
    """What is wrong with a picture, each in a sentence of a few words."""
    out = []
    if not item.caption:
        out.append(tr("It has no caption."))
    enlarged = fit.resized[0] / max(1, item.picture.seen_px[0])
    if enlarged > MUCH_ENLARGED:
        out.append(tr("It is small: training enlarges it {times:.1f} times.", times=enlarged))
    if item.is_outdated:
        out.append(tr("It has another size than when it was cropped or masked: that is not applied."))
    cropped = buckets.cropped_share(fit)
    if cropped > MUCH_CROPPED:
        out.append(tr("It is long: training cuts {percent:.0f} % of it away.", percent=100 * cropped))
    return tuple(out)


def _count_prior(folder: Path, result: Result) -> None:
    try:
        found = dataset.scan(folder, what=info("regularization").label)
    except DataError as error:
        result.problems.append(str(error))
    else:
        result.prior = [picture.repeats for picture in found.pictures]


def _read_edits(folder: Path, given: Path | None, result: Result) -> None:
    try:
        if given is not None and given != folder and given.is_dir() and not folder.exists():
            write_folder_atomically(folder, lambda partial: shutil.copytree(given, partial, dirs_exist_ok=True))
        result.kept = edits.read(folder)
    except DataError as error:
        result.edits_error = str(error)
    except OSError as error:
        result.edits_error = os_message(
            tr("Crops and masks could not be taken over from {folder}", folder=given), error
        )


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
