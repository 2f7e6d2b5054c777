"""The form of merge: several LoRAs, each with a weight, become one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QSpinBox

from app import lora_facts, places, theme
from app.texts import size, tr
from app.widgets.named import named
from app.widgets.tool_form import Proposal, Standing, ToolForm, precision_box, together, unusable
from app.widgets.tool_loras import LoraList

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from PySide6.QtWidgets import QWidget

    from app.library import Entry
    from app.lora_facts import Expected
    from app.widgets.picture_loader import PictureLoader

MOST_RANK = 1024


class MergeForm(ToolForm):
    """A row for each LoRA, and the new file's rank and precision."""

    kind = "merge"
    gives_name = True

    def __init__(self, loader: PictureLoader, known: Sequence[Entry], paths: Sequence[Path]) -> None:
        """known: the LoRAs that the library lists. paths: those to begin with."""
        super().__init__(
            tr("Merge LoRAs"),
            tr(
                "Mixes several LoRAs into one file that does what they do together. The weight says how strongly each counts."
            ),
            tr("Merge"),
        )
        self.loras = LoraList(loader, known)
        self.smaller = named(QCheckBox(tr("Make it smaller, to rank")), "tool_smaller")
        self.smaller.setToolTip(
            tr("Exact, as a merge is, the ranks add up. A smaller file leaves out what counts least.")
        )
        self.rank = named(QSpinBox(minimum=1, maximum=MOST_RANK, value=32), "tool_merge_rank", spoken=tr("Rank"))
        self.rank.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.rank.setToolTip(self.smaller.toolTip())
        self.rank.setEnabled(False)
        self.precision = precision_box("fp16")
        self._lay_out()
        self.loras.changed.connect(self._on_changed)
        self.smaller.toggled.connect(self.rank.setEnabled)
        self.smaller.toggled.connect(self._on_changed)
        self.rank.valueChanged.connect(self._on_changed)
        self.precision.currentIndexChanged.connect(self._on_changed)
        self.loras.add(paths)

    def _lay_out(self) -> None:
        self.column.addWidget(self.loras)
        self.column.addSpacing(theme.space(0.5))
        row = QHBoxLayout()
        row.setSpacing(theme.space(1))
        row.addWidget(self.smaller)
        row.addWidget(self.rank)
        row.addStretch(1)
        caption = QLabel(tr("Precision"))
        caption.setBuddy(self.precision)
        row.addWidget(caption)
        row.addWidget(self.precision)
        self.column.addLayout(row)

    def words(self) -> list[str]:
        """`merge` FILE:WEIGHT ..."""
        limit = ["--rank", str(self.rank.value())] if self.smaller.isChecked() else []
        return ["merge", *self.loras.words, *limit, "--precision", str(self.precision.currentData())]

    def sources(self) -> list[Path]:
        """The LoRAs."""
        return self.loras.paths

    def proposal(self) -> Proposal:
        """Their names together; beside them when they lie together."""
        paths = self.loras.paths
        folders = {path.parent for path in paths}
        names = together([self.loras.title(path) for path in paths])
        return Proposal(folders.pop() if len(folders) == 1 else places.exports(), names or tr("merged"))

    def standing(self) -> Standing:
        """What is still to do, what does not fit, or how large the new file will be."""
        paths, weights = self.loras.paths, self.loras.weights
        known = [self.facts[path] for path in paths if path in self.facts]
        if problem := unusable(known):
            return Standing(problem, wrong=True)
        if self.expected is not None and self.expected.problem:
            return Standing(self.expected.problem, wrong=True)
        if idle := next((path for path, weight in zip(paths, weights, strict=True) if weight == 0), None):
            return Standing(tr("The weight of “{title}” is 0. Give it another one, or take it away.", title=self.loras.title(idle)), wrong=True)  # fmt: skip
        if not paths:
            return Standing(tr("Add the LoRAs to mix."))
        if len(paths) == 1 and weights[0] == 1:
            return Standing(tr("Add another LoRA to mix in, or change the weight to make this one weaker or stronger."))
        if self.expected is None:
            return Standing(tr("Looking at the files…"))
        return Standing(self._told(self.expected), ready=True)

    def first_field(self) -> QWidget:
        """The first weight."""
        return self.loras.first_field()

    def learned(self) -> None:
        """A LoRA was read."""
        for facts in self.facts.values():
            self.loras.tell(facts)
        self._reckon()

    def _on_changed(self) -> None:
        self.look(self.loras.paths)
        for path in self.loras.paths:
            if path in self.facts:
                self.loras.tell(self.facts[path])
        self._reckon()

    def _reckon(self) -> None:
        known = [self.facts[path] for path in self.loras.paths if path in self.facts]
        if not known or len(known) < len(self.loras.paths) or unusable(known):
            self.reckon(None)
            return
        precision, limit = str(self.precision.currentData()), self.rank.value() if self.smaller.isChecked() else None
        self.reckon(lambda: lora_facts.merged(known, precision, limit))

    def _told(self, expected: Expected) -> str:
        known = [self.facts[path].ranks for path in self.loras.paths]
        low, high = expected.ranks
        rank = lora_facts.ranks(expected.ranks)
        if low == high and all(a == b for a, b in known) and sum(a for a, _ in known) == high and len(known) > 1:
            rank = tr("rank {sum} = {rank}", sum=" + ".join(str(a) for a, _ in known), rank=high)
        kept = tr("what counts least is left out") if self.smaller.isChecked() else tr("nothing is lost")
        return tr("About {size}: {rank}; {kept}.", size=size(expected.size_bytes), rank=rank, kept=kept)
