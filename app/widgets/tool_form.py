"""What the forms of the LoRA tools have in common: what they ask, whether they are complete, and looking at files in the background."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QComboBox, QVBoxLayout, QWidget

from app import lora_facts, theme
from app.background import Background
from app.texts import size, tr
from app.widgets.named import named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from app.lora_facts import Expected, Facts

LONGEST = 28  # characters of a title in a name made of several


@dataclass(frozen=True)
class Standing:
    """Whether the work can begin, and what is to be said of it: what will come of it, what lacks, or what is wrong."""

    text: str = ""
    ready: bool = False
    wrong: bool = False


@dataclass(frozen=True)
class Proposal:
    """Where the new file goes unless the user says otherwise. name: without an ending."""

    folder: Path
    name: str


class ToolForm(QWidget):
    """The questions of one tool.

    Signals:
        changed: the user or a file that was read changed what it says; the dialog asks anew.
    """

    changed = Signal()
    kind: ClassVar[str]  # the sub-command
    makes_model: ClassVar[bool] = False
    gives_name: ClassVar[bool] = False  # whether the sub-command takes --name

    def __init__(self, title: str, explanation: str, action: str) -> None:
        super().__init__()
        self.title, self.explanation, self.action = title, explanation, action
        self.facts: dict[Path, Facts] = {}
        self.expected: Expected | None = None
        self._looker = Background("lora facts")
        self._looker.done.connect(self._on_looked)
        self._reckoner = Background("expected size")
        self._reckoner.done.connect(self._on_reckoned)
        self._asked = 0
        self.column = QVBoxLayout()
        self.column.setSpacing(theme.space(1))
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, theme.space(0.5), 0)
        whole.addLayout(self.column)
        whole.addStretch(1)

    # ---- what the dialog asks

    def words(self) -> list[str]:
        """Of the sub-command, without --out and those that all tools have."""
        raise NotImplementedError

    def sources(self) -> list[Path]:
        """The files that are read."""
        raise NotImplementedError

    def proposal(self) -> Proposal:
        """Where the new file goes."""
        raise NotImplementedError

    def standing(self) -> Standing:
        """How complete it is."""
        raise NotImplementedError

    def first_field(self) -> QWidget:
        """Where the keyboard begins."""
        raise NotImplementedError

    def can_use(self) -> bool:
        """Whether the app itself can work with what is made."""
        return True

    # ---- for the forms

    def look(self, paths: Iterable[Path]) -> None:
        """Reads the headers of files that are not known yet."""
        for path in paths:
            if path not in self.facts:
                self._looker.run(lambda path=path: lora_facts.look(path))  # type: ignore[misc]

    def learned(self) -> None:
        """A file has become known."""

    def reckon(self, work: Callable[[], Expected] | None) -> None:
        """Finds out what will be written; None: nothing can be said."""
        self._asked += 1
        self._reckoner.drop_waiting()
        if work is None:
            self.expected = None
        else:
            number, wanted = self._asked, work
            self._reckoner.run(lambda: (number, wanted()))
        self.changed.emit()  # what is not to be reckoned is said at once

    def wait(self, timeout_s: float) -> None:
        """Blocks until the files are read; for tests."""
        self._looker.wait(timeout_s)
        self._reckoner.wait(timeout_s)

    def _on_looked(self, facts: Facts) -> None:
        self.facts[facts.path] = facts
        self.learned()
        self.changed.emit()

    def _on_reckoned(self, answer: tuple[int, Expected]) -> None:
        number, expected = answer
        if number == self._asked:
            self.expected = expected
            self.changed.emit()


def precision_box(default: str = "") -> QComboBox:
    """The number format of the new file. default: shown first as "as the file" when empty."""
    box = named(QComboBox(), "tool_precision", spoken=tr("Precision"), tip=tr("fp16 is what everybody shares"))
    if not default:
        box.addItem(tr("As the file is"), "")
    for label, value in ((tr("fp16 (usual)"), "fp16"), (tr("bf16"), "bf16"), (tr("fp32 (twice the size)"), "fp32")):
        box.addItem(label, value)
    return box


def together(titles: Sequence[str]) -> str:
    """A name made of several, none of which is too long."""
    short = [title if len(title) <= LONGEST else f"{title[: LONGEST - 1].rstrip()}…" for title in titles[:3]]
    return " + ".join(short + (["…"] if len(titles) > 3 else []))


def about_file(facts: Facts) -> str:
    """E.g. "SD 1.x · rank 16 · 12.3 MB"."""
    return " · ".join(part for part in (facts.family, lora_facts.ranks(facts.ranks), size(facts.size_bytes)) if part)


def unusable(facts: Iterable[Facts], *, dora: bool = False) -> str:
    """Why one of the files cannot be merged, resized or baked, or "". dora: whether one may be a DoRA."""
    for file in facts:
        if file.problem:
            return file.problem
        if file.is_dora and not dora:
            return tr("“{title}” is a DoRA: what it does depends on its base model, so it can only be baked into a model.", title=file.title)  # fmt: skip
        if file.names != "kohya":
            return tr("“{title}” has other layer names than this needs. Use Convert… on it first.", title=file.title)
    return ""
