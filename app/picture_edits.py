"""Crops, focus points and painted masks of the open project's pictures: shown at once, kept in the background. QtCore only."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from PySide6.QtCore import QObject, Signal

from app.background import Background
from app.edit_changes import FOLDER, EditChange
from app.slices import SLICE
from app.texts import counted, tr
from trainer import edits
from trainer.edits import CENTRE, Edit, Edits
from trainer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from PIL import Image

    from app.caption_writer import CaptionWriter
    from app.picture_scan import Result
    from app.pictures import Pictures
    from app.project import Project
    from app.slices import Slices
    from trainer.edits import Box


@dataclass(frozen=True)
class _Painted:
    """A mask that is in the folder now. key, size_px: of its picture; name: its file's; problem: why it is not there."""

    folder: Path
    key: str
    size_px: tuple[int, int]
    name: str
    problem: str = ""


class _Asked(TypedDict):
    edits: Path | None
    edits_given: Path | None
    kept: Edits | None


class PictureEdits(QObject):
    """What the user changed about pictures without touching them. Every change is a step of `Pictures.undo`.

    The project's setting `edits` names their folder while there are any. Thousands are changed in slices, between which the
    window answers.

    Signals:
        changed(list[int]): these pictures have another crop or mask; places in `Pictures.items`.
        maskKept(str): the mask of the picture with this key, which was painted, is on disk and in use.
        failed(str): something could not be kept; a sentence.
    """

    changed = Signal(object)
    maskKept = Signal(str)
    failed = Signal(str)

    def __init__(self, project: Project, pictures: Pictures, writer: CaptionWriter, slices: Slices) -> None:
        """slices: those of the captions, so that all edits keep their order."""
        super().__init__(pictures)
        self._project, self._pictures, self._writer, self._slices = project, pictures, writer, slices
        self._kept: Edits | None = None  # None until they were read
        self._painted: deque[_Painted] = deque()
        self._background = Background("write masks", must_finish=True)
        self._background.done.connect(self._on_painted)
        writer.editsKnown.connect(self._on_known)
        project.changed.connect(self._on_project_changed)

    # ---- what there is

    @property
    def can_edit(self) -> bool:
        """Whether crops and masks were read, so that they can be changed."""
        return self._kept is not None and self._writer.history is not None

    @property
    def is_painting(self) -> bool:
        """Whether painted masks are on their way to the disk."""
        return not self._background.wait(0) or bool(self._painted)

    def of(self, index: int) -> Edit:
        """A picture's crop and mask; those that were made for another size count as none."""
        picture = self._pictures.items[index].picture
        size = (picture.width_px, picture.height_px)
        edit = None if self._kept is None else self._kept.pictures.get(picture.key)
        return edit if edit is not None and edit.size == size else Edit(size)

    def is_masked(self, index: int) -> bool:
        """Whether the picture has a mask that was painted here."""
        return bool(self.of(index).mask)

    # ---- changing it

    def crop(self, index: int, box: Box | None, focus: tuple[float, float] = CENTRE) -> None:
        """Chooses the part of a picture that is trained, in px of the picture upright, and what stays in view."""
        name = self._pictures.items[index].picture.path.name
        size = self.of(index).size
        box = None if box == (0, 0, *size) else box
        self._change([index], lambda e: replace(e, box=box, focus=focus), lambda _count: tr("Crop {name}", name=name))

    def reset_crops(self, indexes: Iterable[int]) -> None:
        """Takes crops and focus points away."""
        self._change(indexes, lambda e: replace(e, box=None, focus=CENTRE), _counted(tr("Reset the crop")))

    def centre_focus(self, indexes: Iterable[int]) -> None:
        """Puts focus points into the middle."""
        self._change(indexes, lambda e: replace(e, focus=CENTRE), _counted(tr("Centre the focus")))

    def remove_masks(self, indexes: Iterable[int]) -> None:
        """Takes painted masks away; mask files beside pictures count again."""
        self._change(indexes, lambda e: replace(e, mask=""), _counted(tr("Remove the painted mask")))

    def paint(self, index: int, make: Callable[[], Image.Image] | None) -> None:
        """Keeps a painted mask, or takes it away, after those that are still being kept.

        Args:
            index: of the picture in `Pictures.items`.
            make: gives the mask, mode L and as large as the picture upright; called in a thread. None for no mask.
        """
        folder, key, size = self._folder, self._pictures.items[index].picture.key, self.of(index).size

        def work() -> None:
            try:
                painted = _Painted(folder, key, size, "" if make is None else edits.keep_mask(folder, key, make()))
            except DataError as error:
                painted = _Painted(folder, key, size, "", str(error))
            self._painted.append(painted)

        self._background.run(work)

    def finish(self, timeout_s: float | None = None) -> bool:
        """Waits until painted masks are on disk and in use; whether they are."""
        done = self._background.wait(timeout_s)
        self._on_painted()
        return done

    def _change(self, indexes: Iterable[int], change: Callable[[Edit], Edit], label: Callable[[int], str]) -> None:
        """label: of the number of changes."""
        if not self.can_edit:
            self.failed.emit(tr("Crops and masks cannot be changed yet: they have not been read."))
            return
        self._slices.start(self._changing(list(indexes), change, label))

    def _changing(
        self, indexes: list[int], change: Callable[[Edit], Edit], label: Callable[[int], str]
    ) -> Iterator[None]:
        changes = []
        for done, index in enumerate(indexes, 1):
            if (new := change(old := self.of(index))) != old:
                changes += self._change_of(self._pictures.items[index].picture.key, new)
            if done % SLICE == 0:
                yield
        if changes:
            self._writer.edit(label(len(changes)), (), changes)

    def _change_of(self, key: str, new: Edit) -> list[EditChange]:
        """From what is kept now; none when that is the same."""
        assert self._kept is not None
        before, after = self._kept.pictures.get(key), None if new.is_nothing else new
        return [EditChange(key, before, after)] if before != after else []

    def _on_painted(self, _nothing: object = None) -> None:
        self._slices.do(self._use_painted)  # a change that is under way is not to overwrite the mask

    def _use_painted(self) -> None:
        while self._painted:
            done = self._painted.popleft()
            if done.problem:
                self.failed.emit(done.problem)
            elif done.folder == self._folder and self._kept is not None:
                before = self._kept.pictures.get(done.key)
                before = before if before is not None and before.size == done.size_px else Edit(done.size_px)
                name = Path(done.key).name
                if changes := self._change_of(done.key, replace(before, mask=done.name)):
                    self._writer.edit(tr("Mask of {name}", name=name), (), changes)
                self.maskKept.emit(done.key)

    # ---- keeping up

    @property
    def _folder(self) -> Path:
        return self._project.folder / FOLDER

    def for_request(self) -> _Asked:
        """What a scan needs: the edits of now, or where to read them."""
        given = str(self._project.value("edits") or "")
        where = Path(given).expanduser() if given else None
        now = None if self._kept is None else Edits(self._kept.folder, dict(self._kept.pictures))
        return {"edits": self._folder, "edits_given": where, "kept": now}

    def take(self, result: Result) -> None:
        """Takes over what a scan has read."""
        if result.edits_error:
            self.failed.emit(result.edits_error)
        if self._kept is None and result.kept is not None:
            self._kept = Edits(result.kept.folder, dict(result.kept.pictures))
            self._tell_project()

    def forget(self) -> None:
        """Another project is open."""
        self._kept = None

    def changed_since(self, result: Result) -> set[str]:
        """What was cropped or masked while a scan was under way, by key."""
        if self._kept is None or result.kept is None:
            return set()
        seen, now = result.kept.pictures, self._kept.pictures
        return {key for key in seen.keys() | now.keys() if seen.get(key) != now.get(key)}

    def show(self, edited: Iterable[str]) -> None:
        """Gives the list's pictures with these keys the crops and masks of now."""
        self._slices.start(self._showing(set(edited)))

    def _showing(self, keys: set[str]) -> Iterator[None]:
        """In slices; told when all of them are in the list."""
        items, changed = self._pictures.items, []
        for index, item in enumerate(items if keys else ()):
            if item.picture.key not in keys or self._kept is None:
                continue
            item.take_edits(self._kept)
            self._pictures.find_problems(index)
            changed.append(index)
            if len(changed) % SLICE == 0:
                yield
        if changed:
            self.changed.emit(changed)

    def _on_known(self, known: dict[str, Edit | None]) -> None:
        if self._kept is None:
            return
        for key, edit in known.items():
            self._kept.pictures.pop(key, None)
            if edit is not None:
                self._kept.pictures[key] = edit
        self._tell_project()
        self.show(known)

    def _on_project_changed(self, names: frozenset[str]) -> None:
        if "edits" in names and self._kept is not None:
            self._tell_project()

    def _tell_project(self) -> None:
        assert self._kept is not None
        self._project.keep("edits", str(self._folder) if self._kept.pictures else "")


def _counted(what: str) -> Callable[[int], str]:
    """The label of a change of several pictures."""
    return lambda count: tr("{what} of {pictures}", what=what, pictures=counted(count, "picture", "pictures"))
