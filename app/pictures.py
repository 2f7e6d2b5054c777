"""The open project's pictures: scanned in the background, captions edited with undo, taken in and left out. QtCore only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer, Signal

from app import concepts, garbage, picture_scan
from app.background import Background
from app.caption_edits import CaptionEdits
from app.caption_tags import TagCounter
from app.picture_edits import PictureEdits
from app.picture_scan import Item, Request
from app.slices import SLICE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from app.concepts import Folder
    from app.picture_scan import FitKey, Result
    from app.project import Project
    from trainer.buckets import Rules
    from trainer.pixels import Fit

__all__ = ["Item", "Pictures"]
_SCANNED_AGAIN_FOR = {"data", "more_data", "concepts", "regularization"}
_SCANNED_AGAIN_FOR |= {"keep_separator", "prompt_weights"}  # which part tags


class Pictures(CaptionEdits):
    """The pictures of one project at a time; follows `project` by itself.

    Edits show at once and are written in the background, in their order; a file that could not be written shows its old
    caption again, and `failed` says so.

    Attributes:
        edits: crops and masks.
        items: in the order of the training; an index is a place in this list until the next `scanned`.
        problems: sentences about the folders as a whole.
        scanning: whether a scan is under way.
        error: why the last scan found nothing, or empty.

    Signals:
        scanned: the list is new.
        scanningChanged(bool): a scan began or ended. It ends without `scanned` when no file had changed.
        captionsChanged(list[int]): these captions are new.
        includedChanged(list[int]): these pictures were taken in or left out.
        fitsChanged: crops, masks, resolution or bucket settings changed; fits and problems are new.
        historyChanged: what can be undone changed.
        failed(str): something could not be read or written; a sentence.
    """

    scanned = Signal()
    scanningChanged = Signal(bool)
    captionsChanged = Signal(object)
    includedChanged = Signal(object)
    fitsChanged = Signal()

    def __init__(self, project: Project, parent: QObject | None = None) -> None:
        super().__init__(project, parent)
        self.problems: list[str] = []
        self.scanning = False
        self.error = ""
        self._indexes: dict[Path, int] = {}
        self._prior: list[int] = []
        self._fits: dict[FitKey, Fit] = {}
        self._rules = picture_scan.rules_of(project.value)
        self._tags = TagCounter()
        self._signature = 0
        self._edited: dict[Path, str] = {}  # captions that a scan under way may not have seen
        self._newest: Request | None = None  # the scan under way
        self._scan_again = False
        self._scanner = Background("scan pictures")
        self._fitter = Background("fit pictures")
        self._fitter.done.connect(self._on_fitted)
        self._writer.captionsKnown.connect(self._on_captions_known)
        self.edits = PictureEdits(project, self, self._writer, self._slices)
        self.edits.failed.connect(self.failed)
        self.edits.changed.connect(self.fitsChanged)
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
        """Training pictures seen in an epoch, repeats of folders and of the project counted, regularisation pictures not."""
        return sum(folder.views for folder in self.folders() if not folder.is_prior)

    def folders(self) -> list[Folder]:
        """The folders that the pictures come from, and how often each is seen."""
        return concepts.folders(self._project.value, self.items, self._prior)

    def index_of(self, path: Path) -> int:
        """The place of a picture in `items`, or -1."""
        return self._indexes.get(path, -1)

    def tag_counts(self) -> dict[str, int]:
        """How many included pictures have each tag, the most frequent first."""
        return self._tags.counts()

    def fit(self, index: int) -> Fit:
        """How a picture is scaled and cropped for training."""
        return picture_scan.fit_of(self.items[index].picture, self._rules, self._fits)

    def find_problems(self, index: int) -> None:
        """Looks anew at what is wrong with a picture, after its caption, crop or size of training changed."""
        item = self.items[index]
        item.problems = picture_scan.problems_of(item, self.fit(index))

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
            **self.edits.for_request(),
            reading=self.reading,
            concepts=concepts.of(value("concepts")),
            prior=Path(str(value("regularization") or "")).expanduser(),
        )
        if self._newest is not None and self._newest.places == request.places:
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
        self.edits.take(result)
        if not result.unchanged:
            self._take(result)
        if again:
            self.rescan()
        elif not self._scan_soon.isActive():  # else another scan is about to begin
            self._set_scanning(False)
        if result.history is not None and result.history.problem:
            self.failed.emit(result.history.problem)
        if result.error and result.request.data != Path():
            self.failed.emit(result.error)

    def _take(self, result: Result) -> None:
        self._slices.finish()  # they are of the old list
        self._signature = result.signature
        self.items, self.problems, self.error = result.items, result.problems, result.error
        self._indexes, self._writer.twins = result.indexes, result.twins
        self._tags, self._prior = result.tags, result.prior
        if result.request.rules == self._rules:
            self._fits = result.fits
        else:
            self._fit_anew()
        list(self._include(self._left_out()))
        self.edits.show(self.edits.changed_since(result))
        self._on_captions_known(dict(self._edited))
        self._slices.finish()
        garbage.pass_over()
        self.scanned.emit()

    def _set_scanning(self, scanning: bool) -> None:
        if scanning != self.scanning:
            self.scanning = scanning
            self.scanningChanged.emit(scanning)

    # ---- captions

    @property
    def is_settled(self) -> bool:
        """Whether all edits, also of crops and masks, are in the list and on disk."""
        return super().is_settled and not self.edits.is_painting

    def finish_writing(self, timeout_s: float | None = None) -> bool:
        """Waits until all edits are on disk, e.g. before a training reads them; whether they are."""
        self._slices.finish()
        return self.edits.finish(timeout_s) and self._writer.finish(timeout_s)

    def _on_captions_known(self, captions: dict[Path, str]) -> None:
        """Puts captions into the list; those of pictures that are not in it are only remembered."""
        self._edited.update(captions)
        self._slices.start(self._showing(captions))

    def _showing(self, captions: dict[Path, str]) -> Iterator[None]:
        """In slices; told when all of them are in the list."""
        changed = []
        for done, (path, text) in enumerate(captions.items(), 1):
            if done % SLICE == 0:
                yield
            index = self._indexes.get(path, -1)
            if index < 0 or self.items[index].caption == text:
                continue
            item = self.items[index]
            if item.included:
                self._tags.replace(item.caption, text)
            item.caption = text
            self.find_problems(index)
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

    def _include(self, left_out: frozenset[str]) -> Iterator[int]:
        """Makes the items agree with the setting; gives those that change."""
        for index, item in enumerate(self.items):
            if item.included == (item.picture.key in left_out):
                item.included = not item.included
                (self._tags.add if item.included else self._tags.remove)(item.caption)
                yield index

    def _including(self, left_out: frozenset[str]) -> Iterator[None]:
        """In slices; told when all agree."""
        changed = []
        for index in self._include(left_out):
            changed.append(index)
            if len(changed) % SLICE == 0:
                yield
        if changed:
            self.includedChanged.emit(changed)

    # ---- following the project

    def _on_opened(self) -> None:
        self._slices.finish()  # what was begun in the project before is done there
        had_items, self.items = bool(self.items), []
        self.problems, self.error = [], ""
        self._indexes, self._writer.twins, self._tags = {}, {}, TagCounter()
        self._prior = []
        self._signature, self._newest = 0, None
        self._edited.clear()
        self._rules = picture_scan.rules_of(self._project.value)
        self._fits = {}
        if had_items:
            self.scanned.emit()
        self._writer.set_history(None)
        self.edits.forget()
        garbage.pass_over()
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
        if "left_out" in names:
            self._slices.start(self._including(self._left_out()))

    def _fit_anew(self) -> None:
        rules, items = self._rules, list(self.items)
        self._fits = {}

        def work() -> tuple[Rules, dict[FitKey, Fit]]:
            known: dict[FitKey, Fit] = {}
            for item in items:
                picture_scan.fit_of(item.picture, rules, known)
            return rules, known

        self._fitter.run(work)

    def _on_fitted(self, found: tuple[Rules, dict[FitKey, Fit]]) -> None:
        rules, fits = found
        if rules == self._rules:
            self._fits = self._fits | fits
            self._slices.start(self._finding_problems(rules))

    def _finding_problems(self, rules: Rules) -> Iterator[None]:
        """In slices; told when all are found."""
        for index in range(len(items := self.items)):
            if index % SLICE == SLICE - 1:
                yield
            if rules != self._rules or items is not self.items:
                return  # others are under way
            self.find_problems(index)
        self.fitsChanged.emit()
