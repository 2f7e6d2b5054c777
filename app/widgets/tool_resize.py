"""The form of resize: the same LoRA in a smaller file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtWidgets import QHBoxLayout, QLabel

from app import lora_facts, theme
from app.texts import size, tr
from app.widgets.tool_form import Proposal, Standing, ToolForm, about_file, precision_box, unusable
from app.widgets.tool_rank import RankChoice

if TYPE_CHECKING:
    from pathlib import Path

    from PySide6.QtWidgets import QWidget


class ResizeForm(ToolForm):
    """By rank, half of the file's unless changed, or by the share that is kept."""

    kind = "resize"

    def __init__(self, path: Path, title: str) -> None:
        super().__init__(
            tr("Resize “{title}”", title=title),
            tr(
                "Makes the file smaller by leaving out what counts least. It is used just as before, at the same strength."
            ),
            tr("Resize"),
        )
        self._path, self._title = path, title
        self._about = theme.role(QLabel(wordWrap=True), "muted")
        self.choice = RankChoice(
            tr("To a rank (the lower, the smaller the file)"), tr("As small as this share of its effect allows"),
            tr("At most this rank for convolutions"), 128, 64,
        )  # fmt: skip
        self.precision = precision_box()
        row = QHBoxLayout()
        caption = QLabel(tr("Precision"))
        caption.setBuddy(self.precision)
        row.addWidget(caption)
        row.addWidget(self.precision)
        row.addStretch(1)
        self.column.addWidget(self._about)
        self.column.addWidget(self.choice)
        self.column.addLayout(row)
        self.choice.changed.connect(self._reckon)
        self.precision.currentIndexChanged.connect(self._reckon)
        self.look([path])

    def words(self) -> list[str]:
        """`resize` FILE ..."""
        precision = str(self.precision.currentData())
        return ["resize", str(self._path), *self.choice.words(), *(["--precision", precision] if precision else [])]

    def sources(self) -> list[Path]:
        """The LoRA."""
        return [self._path]

    def proposal(self) -> Proposal:
        """Beside it, its name with the size."""
        how = (
            tr("rank {rank}", rank=self.choice.rank)
            if self.choice.rank
            else tr("{share} percent", share=self.choice.share)
        )
        return Proposal(self._path.parent, f"{self._title} {how}")

    def standing(self) -> Standing:
        """How large it will be."""
        facts = self.facts.get(self._path)
        if facts is None:
            return Standing(tr("Looking at the file…"))
        if problem := unusable([facts]):
            return Standing(problem, wrong=True)
        now = size(facts.size_bytes)
        if self.choice.rank is None:
            return Standing(tr("Smaller than {now}; how much depends on what is in it.", now=now), ready=True)
        if self.expected is None:
            return Standing(tr("Looking at the file…"))
        return Standing(tr("About {size} instead of {now}.", size=size(self.expected.size_bytes), now=now), ready=True)

    def first_field(self) -> QWidget:
        """The slider."""
        return self.choice.first_field()

    def learned(self) -> None:
        """The LoRA was read: its rank bounds the choice."""
        facts = self.facts[self._path]
        self._about.setText(facts.problem or tr("Now: {facts}", facts=about_file(facts)))
        most = facts.ranks[1]
        self.choice.setEnabled(not facts.problem)
        if most:
            self.choice.set_most(most, max(1, most // 2))
            self.choice.set_wide(facts.has_wide)
        self._reckon()

    def _reckon(self) -> None:
        facts, rank, wide = self.facts.get(self._path), self.choice.rank, self.choice.wide_rank
        if facts is None or rank is None or not facts.layers:
            self.reckon(None)
            return
        precision = str(self.precision.currentData())
        self.reckon(lambda: lora_facts.resized(facts, rank, wide, precision))
