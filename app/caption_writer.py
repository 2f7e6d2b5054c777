"""Caption edits on their way to the disk: shown at once, written in the background in their order. QtCore only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

from app.background import Background
from app.caption_history import CaptionHistory, Change, read_caption
from app.texts import counted, tr

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from app.caption_history import Outcome, Step
    from app.edit_changes import EditChange


class CaptionWriter(QObject):
    """The history of a project's caption edits, and the thread that writes them.

    Attributes:
        history: None until a project's history was read.
        twins: pictures that may share a caption file, as `picture_scan.Result` has them.

    Signals:
        captionsKnown(dict of path to caption): what is to be shown now.
        editsKnown(dict of key to Edit or None): crops and masks as they are now.
        historyChanged: what can be undone changed.
        failed(str): something could not be written; a sentence.
    """

    captionsKnown = Signal(object)
    editsKnown = Signal(object)
    historyChanged = Signal()
    failed = Signal(str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.history: CaptionHistory | None = None
        self.twins: dict[Path, list[Path]] = {}
        self._last_steps: dict[Path | str, Step] = {}  # of pictures that are being written
        self._writing = 0
        self._background = Background("write captions", must_finish=True)
        self._background.done.connect(self._on_written)

    @property
    def is_writing(self) -> bool:
        """Whether edits are on their way to the disk."""
        return self._writing > 0

    def set_history(self, history: CaptionHistory | None) -> None:
        """Another project's history, or none yet."""
        self.history = history
        self.historyChanged.emit()

    def edit(self, label: str, changes: Iterable[Change], edits: Iterable[EditChange] = ()) -> None:
        """A new step of undo, of captions or of crops and masks."""
        if self.history is not None:
            self._do(self.history.edit(label, changes, edits))

    def undo(self) -> None:
        """Takes the last edit back."""
        if self.history is not None and (step := self.history.undo()):
            self._do(step)

    def redo(self) -> None:
        """Does the edit again."""
        if self.history is not None and (step := self.history.redo()):
            self._do(step)

    def finish(self, timeout_s: float | None = None) -> bool:
        """Waits until all is on disk; whether it is."""
        return self._background.wait(timeout_s)

    def _do(self, step: Step) -> None:
        history = self.history
        assert history is not None
        back = step.kind == "undo"
        changes = reversed(step.entry.changes) if back else step.entry.changes
        captions = {c.picture: c.caption_before if back else c.caption_after for c in changes}
        twins = [twin for path in captions for twin in self.twins.get(path, ()) if twin not in captions]
        self._writing += 1
        edits = {e.key: e.before if back else e.after for e in step.entry.edits}
        self._last_steps.update(dict.fromkeys([*captions, *edits], step))

        def write() -> tuple[CaptionHistory, Outcome]:
            outcome = history.carry_out(step)
            outcome.captions.update({twin: read_caption(twin) for twin in twins})
            return history, outcome

        self.captionsKnown.emit(captions)
        if edits:
            self.editsKnown.emit(edits)
        self.historyChanged.emit()
        self._background.run(write)  # last: until then no other thread wants Python's lock

    def _on_written(self, written: tuple[CaptionHistory, Outcome]) -> None:
        history, outcome = written
        self._writing -= 1
        if outcome.step.entry.is_empty:
            history.forget(outcome.step.entry)
        if history is self.history:
            last = self._last_steps.get
            self.captionsKnown.emit(
                {p: t for p, t in outcome.captions.items() if last(p, outcome.step) is outcome.step}
            )
            if outcome.edits:
                known = {k: e for k, e in outcome.edits.items() if last(k, outcome.step) is outcome.step}
                self.editsKnown.emit(known)
            self.historyChanged.emit()
        if not self._writing:
            self._last_steps.clear()
        if outcome.problems:
            self.failed.emit(_first(outcome.problems))


def _first(problems: tuple[str, ...]) -> str:
    """Many sentences as one that can be read."""
    more = len(problems) - 1
    if not more:
        return problems[0]
    return problems[0] + " " + tr("The same goes for {files}.", files=counted(more, "other file", "other files"))
