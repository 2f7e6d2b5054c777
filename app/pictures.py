"""The open project's pictures: scanned in the background, captions edited with undo, taken in and left out. QtCore only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer, Signal

from app import picture_scan
from app.background import Background
from app.caption_history import Change
from app.caption_tags import TagCounter, with_tag_replaced, with_tags, without_tags
from app.caption_writer import CaptionWriter
from app.picture_scan import Item, Request
from app.texts import counted, tr
from trainer import captions as caption_texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from app.picture_scan import Result
    from app.project import Project
    from trainer.buckets import Rules
    from trainer.pixels import Fit

__all__ = ["Item", "Pictures"]
_SCANNED_AGAIN_FOR = {"data", "more_data"}


class Pictures(QObject):
    """The pictures of one project at a time; follows `project` by itself.

    Edits show at once and are written in the background, in their order; a file that could not be written shows its old
    caption again, and `failed` says so.

    Attributes:
        items: in the order of the training; an index is a place in this list until the next `scanned`.
        problems: sentences about the folders as a whole.
        scanning: whether a scan is under way.
        error: why the last scan found nothing, or empty.

    Signals:
        scanned: the list is new.
        scanningChanged(bool): a scan began or ended. It ends without `scanned` when no file had changed.
        captionsChanged(list[int]): these captions are new.
        includedChanged(list[int]): these pictures were taken in or left out.
        fitsChanged: resolution or bucket settings changed; fits and problems are new.
        historyChanged: what can be undone changed.
        failed(str): something could not be read or written; a sentence.
    """

    scanned = Signal()
    scanningChanged = Signal(bool)
    captionsChanged = Signal(object)
    includedChanged = Signal(object)
    fitsChanged = Signal()
    historyChanged = Signal()
    failed = Signal(str)

    def __init__(self, project: Project, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._project = project
        self.items: list[Item] = []
        self.problems: list[str] = []
        self.scanning = False
        self.error = ""
        self._indexes: dict[Path, int] = {}
        self._fits: dict[tuple[int, int], Fit] = {}
        self._rules = picture_scan.rules_of(project.value)
        self._tags = TagCounter()
        self._signature = 0
        self._edited: dict[Path, str] = {}  # captions that a scan under way may not have seen
        self._newest: Request | None = None  # the scan under way
        self._scan_again = False
        self._scanner = Background("scan pictures")
        self._fitter = Background("fit pictures")
        self._fitter.done.connect(self._on_fitted)
        self._writer = CaptionWriter(self)
        self._writer.captionsKnown.connect(self._on_captions_known)
        self._writer.historyChanged.connect(self.historyChanged)
        self._writer.failed.connect(self.failed)
        self._scan_soon = QTimer(self, singleShot=True, interval=0)  # opening a project asks for a scan more than once
        self._scan_soon.timeout.connect(self._on_scan_soon)
        project.opened.connect(self._on_opened)
        project.changed.connect(self._on_changed)
        if project.is_open:
            self._on_opened()

    # ---- what there is

    @property
    def included_count(self) -> int:
        """Pictures that are trained."""
        return sum(item.included for item in self.items)

    @property
    def views(self) -> int:
        """Pictures seen in an epoch, repeats of folders and of the project counted."""
        repeats = self._project.value("repeats")
        repeats = repeats if isinstance(repeats, int) and repeats > 0 else 1
        return repeats * sum(item.picture.repeats for item in self.items if item.included)

    def index_of(self, path: Path) -> int:
        """The place of a picture in `items`, or -1."""
        return self._indexes.get(path, -1)

    def tag_counts(self) -> dict[str, int]:
        """How many included pictures have each tag, the most frequent first."""
        return self._tags.counts()

    def fit(self, index: int) -> Fit:
        """How a picture is scaled and cropped for training."""
        return picture_scan.fit_of(self.items[index].picture, self._rules, self._fits)

    def fits(self) -> list[Fit]:
        """How the included pictures are scaled and cropped."""
        return [picture_scan.fit_of(i.picture, self._rules, self._fits) for i in self.items if i.included]

    # ---- scanning

    def rescan(self) -> None:
        """Looks at the folders again, in the background; quick when no file changed."""
        if self._project.is_open:
            self._set_scanning(True)
            self._scan_soon.start()

    def _on_scan_soon(self) -> None:
        if not self._project.is_open:
            self._set_scanning(False)
            return
        value = self._project.value
        request = Request(
            Path(str(value("data") or "")).expanduser(),
            tuple(Path(str(p)).expanduser() for p in value("more_data") if p),
            self._left_out(),
            self._rules,
            self._signature,
            self._project.folder / "captions.jsonl" if self._writer.history is None else None,
        )
        if self._newest is not None and (self._newest.data, self._newest.more) == (request.data, request.more):
            self._scan_again = True
            return
        if not self._writer.is_writing:
            self._edited.clear()
        self._newest = request
        self._scanner = Background("scan pictures")  # an older one, on a slow disk perhaps, is waited for by nobody
        self._scanner.done.connect(self._on_scanned)
        self._scanner.run(lambda: picture_scan.run(request))

    def _on_scanned(self, result: Result) -> None:
        if result.request is not self._newest:
            return
        self._newest, again, self._scan_again = None, self._scan_again, False
        if result.history is not None:
            self._writer.set_history(result.history)
        if not result.unchanged:
            self._take(result)
        if again:
            self.rescan()
        else:
            self._set_scanning(False)
        if result.history is not None and result.history.problem:
            self.failed.emit(result.history.problem)
        if result.error and result.request.data != Path():
            self.failed.emit(result.error)

    def _take(self, result: Result) -> None:
        self._signature = result.signature
        self.items, self.problems, self.error = result.items, result.problems, result.error
        self._indexes, self._writer.twins = result.indexes, result.twins
        self._tags = result.tags
        if result.request.rules == self._rules:
            self._fits = result.fits
        else:
            self._fit_anew()
        self._include(self._left_out())
        self._on_captions_known(dict(self._edited))
        self.scanned.emit()

    def _set_scanning(self, scanning: bool) -> None:
        if scanning != self.scanning:
            self.scanning = scanning
            self.scanningChanged.emit(scanning)

    # ---- captions

    def set_captions(self, captions: dict[int, str], label: str) -> None:
        """Gives pictures new captions, as one step of undo; those that have them already do not count.

        Args:
            captions: by index in `items`; line breaks become spaces, as in training.
            label: what the user did, for the undo menu.
        """
        changes = [
            Change(item.picture.path, item.caption, text)
            for item, text in ((self.items[i], " ".join(text.split())) for i, text in captions.items())
            if text != item.caption
        ]
        if changes:
            self._writer.edit(label, changes)

    def add_tags(self, indexes: Iterable[int], tags: list[str], *, front: bool) -> None:
        """Adds tags to the captions that lack them."""
        label = tr("Add {tags}", tags=_listed(tags))
        self._edit(indexes, lambda caption: with_tags(caption, tags, front=front), label)

    def remove_tags(self, indexes: Iterable[int], tags: list[str]) -> None:
        """Takes tags out of the captions."""
        self._edit(indexes, lambda caption: without_tags(caption, tags), tr("Remove {tags}", tags=_listed(tags)))

    def replace_tag(self, indexes: Iterable[int], old: str, new: str) -> None:
        """Puts a tag in another's place."""
        label = tr("Replace {old} by {new}", old=_listed([old]), new=_listed([new]))
        self._edit(indexes, lambda caption: with_tag_replaced(caption, old, new), label)

    def prepend_trigger(self, indexes: Iterable[int]) -> None:
        """Puts the trigger word in front of the captions that lack it."""
        trigger = str(self._project.value("trigger")).strip()
        if not trigger:
            self.failed.emit(tr("There is no trigger word yet. Choose one, then it can be put in front of captions."))
            return
        self._edit(indexes, lambda caption: caption_texts.with_trigger(caption, trigger), tr("Add the trigger word"))

    def _edit(self, indexes: Iterable[int], change: Callable[[str], str], label: str) -> None:
        edited = {i: change(self.items[i].caption) for i in indexes}
        count = sum(text != self.items[i].caption for i, text in edited.items())
        self.set_captions(
            edited, tr("{what} in {captions}", what=label, captions=counted(count, "caption", "captions"))
        )

    # ---- undo

    @property
    def can_undo(self) -> bool:
        """Whether a caption edit can be taken back, of this session or an earlier one."""
        return self._writer.history is not None and self._writer.history.can_undo

    @property
    def can_redo(self) -> bool:
        """Whether a caption edit was taken back."""
        return self._writer.history is not None and self._writer.history.can_redo

    @property
    def undo_text(self) -> str:
        """What `undo` would take back, e.g. for its tooltip; empty when there is nothing."""
        return self._writer.history.undo_text if self._writer.history is not None else ""

    @property
    def redo_text(self) -> str:
        """What `redo` would do again."""
        return self._writer.history.redo_text if self._writer.history is not None else ""

    def undo(self) -> None:
        """Takes the last caption edit back. What another program wrote meanwhile stays, and `failed` says so."""
        self._writer.undo()

    def redo(self) -> None:
        """Does the caption edit again."""
        self._writer.redo()

    def finish_writing(self, timeout_s: float | None = None) -> bool:
        """Waits until all edits are on disk, e.g. before a training reads them; whether they are."""
        return self._writer.finish(timeout_s)

    def _on_captions_known(self, captions: dict[Path, str]) -> None:
        """Puts captions into the list; those of pictures that are not in it are only remembered."""
        changed = []
        for path, text in captions.items():
            self._edited[path] = text
            index = self._indexes.get(path, -1)
            if index < 0 or self.items[index].caption == text:
                continue
            item = self.items[index]
            if item.included:
                self._tags.replace(item.caption, text)
            item.caption = text
            item.problems = picture_scan.problems_of(item, self.fit(index))
            changed.append(index)
        if changed:
            self.captionsChanged.emit(changed)

    # ---- taken in and left out

    def set_included(self, indexes: Iterable[int], included: bool) -> None:
        """Takes pictures in or leaves them out of training; their files stay where they are."""
        names = {self.items[i].picture.key for i in indexes}
        before = self._left_out()
        after = before - names if included else before | names
        if after != before:
            self._project.set_many({"left_out": sorted(after)})

    def _left_out(self) -> frozenset[str]:
        given = self._project.value("left_out")
        return frozenset(str(name) for name in given) if isinstance(given, list) else frozenset()

    def _include(self, left_out: frozenset[str]) -> list[int]:
        """Makes the items agree with the setting; gives those that changed."""
        changed = []
        for index, item in enumerate(self.items):
            if item.included == (item.picture.key in left_out):
                item.included = not item.included
                (self._tags.add if item.included else self._tags.remove)(item.caption)
                changed.append(index)
        return changed

    # ---- following the project

    def _on_opened(self) -> None:
        had_items, self.items = bool(self.items), []
        self.problems, self.error = [], ""
        self._indexes, self._writer.twins, self._tags = {}, {}, TagCounter()
        self._signature, self._newest = 0, None
        self._edited.clear()
        self._rules = picture_scan.rules_of(self._project.value)
        self._fits = {}
        if had_items:
            self.scanned.emit()
        self._writer.set_history(None)
        self.rescan()

    def _on_changed(self, names: frozenset[str]) -> None:
        if names & _SCANNED_AGAIN_FOR:
            self._signature = 0
            self.rescan()
        if names & set(picture_scan.RULE_SETTINGS):
            rules = picture_scan.rules_of(self._project.value)
            if rules != self._rules:
                self._rules = rules
                self._fit_anew()
        if "left_out" in names and (changed := self._include(self._left_out())):
            self.includedChanged.emit(changed)

    def _fit_anew(self) -> None:
        rules, items = self._rules, list(self.items)
        self._fits = {}

        def work() -> tuple[Rules, dict[tuple[int, int], Fit]]:
            known: dict[tuple[int, int], Fit] = {}
            for item in items:
                picture_scan.fit_of(item.picture, rules, known)
            return rules, known

        self._fitter.run(work)

    def _on_fitted(self, found: tuple[Rules, dict[tuple[int, int], Fit]]) -> None:
        rules, fits = found
        if rules != self._rules:
            return
        self._fits = self._fits | fits
        for index, item in enumerate(self.items):
            item.problems = picture_scan.problems_of(item, self.fit(index))
        self.fitsChanged.emit()


def _listed(tags: Iterable[str]) -> str:
    return ", ".join(f"“{tag.strip()}”" for tag in tags)
