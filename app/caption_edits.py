"""Edits of the captions of a project's pictures, as steps of undo. QtCore only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

from app.caption_history import Change
from app.caption_tags import Reading, by_line_or_first, in_lines, with_tag_replaced, with_tags, without_tags
from app.caption_writer import CaptionWriter
from app.slices import SLICE, Slices
from app.texts import counted, tr
from trainer import captions as caption_texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from app.picture_scan import Item
    from app.project import Project


class CaptionEdits(QObject):
    """The part of `Pictures` that edits captions. Thousands are changed in slices, between which the window answers.

    Attributes:
        items: the pictures.

    Signals:
        historyChanged: what can be undone changed.
        failed(str): something could not be read or written; a sentence.
    """

    historyChanged = Signal()
    failed = Signal(str)

    def __init__(self, project: Project, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._project = project
        self.items: list[Item] = []
        self._slices = Slices(self)
        self._writer = CaptionWriter(self)
        self._writer.historyChanged.connect(self.historyChanged)
        self._writer.failed.connect(self.failed)

    @property
    def reading(self) -> Reading:
        """How the project's settings say that captions are read."""
        return Reading.of(self._project.value)

    @property
    def is_settled(self) -> bool:
        """Whether all edits are in the list and on disk."""
        return not self._slices.is_waiting and not self._writer.is_writing

    # ---- captions

    def set_captions(self, captions: dict[int, str], label: str) -> None:
        """Gives pictures new captions, as one step of undo; those that have them already do not count.

        Args:
            captions: by index in `items`; with line breaks when they have several lines.
            label: what the user did, for the undo menu.
        """
        self._slices.finish()
        self._slices.start(self._changing(list(captions), lambda i, _caption: captions[i], lambda _count: label))

    def add_tags(self, indexes: Iterable[int], tags: list[str], *, front: bool) -> None:
        """Adds tags to the captions that lack them."""
        label = tr("Add {tags}", tags=_listed(tags))
        reading = self.reading
        self.change_captions(indexes, lambda caption: with_tags(caption, tags, front=front, reading=reading), label)

    def remove_tags(self, indexes: Iterable[int], tags: list[str]) -> None:
        """Takes tags out of the captions."""
        label, reading = tr("Remove {tags}", tags=_listed(tags)), self.reading
        self.change_captions(indexes, lambda caption: without_tags(caption, tags, reading), label)

    def replace_tag(self, indexes: Iterable[int], old: str, new: str) -> None:
        """Puts a tag in another's place."""
        label = tr("Replace {old} by {new}", old=_listed([old]), new=_listed([new]))
        reading = self.reading
        self.change_captions(indexes, lambda caption: with_tag_replaced(caption, old, new, reading), label)

    def prepend_trigger(self, indexes: Iterable[int]) -> None:
        """Puts the trigger word in front of the captions that lack it."""
        trigger = str(self._project.value("trigger")).strip()
        if not trigger:
            self.failed.emit(tr("There is no trigger word yet. Choose one, then it can be put in front of captions."))
            return
        reading = self.reading

        def change(caption: str) -> str:
            return by_line_or_first(caption, reading, lambda line: caption_texts.with_trigger(line, trigger))

        self.change_captions(indexes, change, tr("Add the trigger word"))

    def change_captions(self, indexes: Iterable[int], change: Callable[[str], str], label: str) -> None:
        """Changes captions in the same way, as one step of undo. label: what the user did, without the count."""

        def counted_label(count: int) -> str:
            return tr("{what} in {captions}", what=label, captions=counted(count, "caption", "captions"))

        self._slices.start(self._changing(list(indexes), lambda _i, caption: change(caption), counted_label))

    def _changing(
        self, indexes: list[int], change: Callable[[int, str], str], label: Callable[[int], str]
    ) -> Iterator[None]:
        """In slices. change: gives the new caption of an index with a caption; label: of the number of changes."""
        items, changes = self.items, []
        for done, index in enumerate(indexes, 1):
            item = items[index]
            text = in_lines(change(index, item.caption))
            if text != item.caption:
                changes.append(Change(item.picture.path, item.caption, text))
            if done % SLICE == 0:
                yield
        if changes:
            self._writer.edit(label(len(changes)), changes)

    # ---- undo

    @property
    def can_undo(self) -> bool:
        """Whether an edit can be taken back, of this session or an earlier one."""
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
        self._slices.do(self._writer.undo)

    def redo(self) -> None:
        """Does the caption edit again."""
        self._slices.do(self._writer.redo)


def _listed(tags: Iterable[str]) -> str:
    return ", ".join(f"“{tag.strip()}”" for tag in tags)
