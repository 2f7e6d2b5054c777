"""The form of extract: what one model has learned beyond another becomes a LoRA."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app import places
from app.texts import tr
from app.widgets.tool_form import Proposal, Standing, ToolForm
from app.widgets.tool_models import ModelChoice
from app.widgets.tool_rank import RankChoice

if TYPE_CHECKING:
    from pathlib import Path

    from PySide6.QtWidgets import QWidget

MOST_RANK, USUAL_RANK = 256, 32


class ExtractForm(ToolForm):
    """Two models, and how large the LoRA becomes."""

    kind = "extract"
    gives_name = True

    def __init__(self) -> None:
        super().__init__(
            tr("Extract a LoRA from two models"),
            tr(
                "Finds out what a fine-tuned model has learned beyond the model it was made from, and writes that as a small LoRA."
            ),
            tr("Extract"),
        )
        self.tuned = ModelChoice("tuned", tr("The fine-tuned model, which can do something special"))
        self.base = ModelChoice("base", tr("The model it was made from"))
        self.choice = RankChoice(
            tr("To a rank (the higher, the closer and the larger)"), tr("As small as this share of what was learned allows"),
            tr("Convolutions too: closer and larger"), MOST_RANK, USUAL_RANK,
        )  # fmt: skip
        self.choice.set_wide(True)
        for widget in (self.tuned, self.base, self.choice):
            self.column.addWidget(widget)
        self.tuned.changed.connect(self.changed)
        self.base.changed.connect(self.changed)
        self.choice.changed.connect(self.changed)

    def words(self) -> list[str]:
        """`extract` TUNED BASE ..."""
        return ["extract", str(self.tuned.path), str(self.base.path), *self.choice.words()]

    def sources(self) -> list[Path]:
        """The two models."""
        return [path for path in (self.tuned.path, self.base.path) if path]

    def proposal(self) -> Proposal:
        """Among the LoRAs, named after the model."""
        name = tr("{model} as LoRA", model=self.tuned.path.stem) if self.tuned.path else tr("extracted")
        return Proposal(places.exports(), name)

    def standing(self) -> Standing:
        """What lacks or does not fit."""
        tuned, base = self.tuned.facts, self.base.facts
        if any(facts is not None and facts.problem for facts in (tuned, base)):
            return Standing(tr("Choose another file for the one that cannot be used."), wrong=True)
        if self.tuned.path is None or self.base.path is None:
            return Standing(tr("Choose both models."))
        if self.tuned.path == self.base.path:
            return Standing(tr("Both are the same file; there is nothing to extract."), wrong=True)
        if tuned is None or base is None:
            return Standing(tr("Looking at the files…"))
        if tuned.family != base.family:
            return Standing(tr("The one is {family}, the other {other}. Both must be of one family.", family=tuned.family, other=base.family), wrong=True)  # fmt: skip
        return Standing(
            tr("A LoRA for {family}. This takes a few minutes; the models stay as they are.", family=tuned.family),
            ready=True,
        )

    def first_field(self) -> QWidget:
        """The first model."""
        return self.tuned.first_field()
