"""The form of bake: LoRAs become part of a model, for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app import places
from app.texts import size, tr
from app.widgets.tool_form import Proposal, Standing, ToolForm, together, unusable
from app.widgets.tool_loras import LoraList
from app.widgets.tool_models import ModelChoice

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from PySide6.QtWidgets import QWidget

    from app.library import Entry
    from app.widgets.picture_loader import PictureLoader


class BakeForm(ToolForm):
    """A model file and LoRAs with weights."""

    kind = "bake"
    makes_model = True

    def __init__(self, loader: PictureLoader, known: Sequence[Entry], paths: Sequence[Path]) -> None:
        """known: the LoRAs that the library lists. paths: those to begin with."""
        super().__init__(
            tr("Bake into a model"),
            tr(
                "Makes a model that draws as if the LoRA were always switched on. The model you choose stays as it is; a new one is written."
            ),
            tr("Bake"),
        )
        self.model = ModelChoice("base", tr("Model"))
        self.loras = LoraList(loader, known)
        self.column.addWidget(self.model)
        self.column.addWidget(self.loras)
        self.model.changed.connect(self.changed)
        self.loras.changed.connect(self._on_loras)
        self.loras.add(paths)

    def words(self) -> list[str]:
        """`bake` BASE FILE:WEIGHT ..."""
        return ["bake", str(self.model.path), *self.loras.words]

    def sources(self) -> list[Path]:
        """The model and the LoRAs."""
        return [*([self.model.path] if self.model.path else []), *self.loras.paths]

    def proposal(self) -> Proposal:
        """Beside the model, both names together."""
        names = [self.loras.title(path) for path in self.loras.paths]
        if self.model.path is None:
            return Proposal(places.exports(), tr("{name} model", name=together(names) or tr("new")))
        return Proposal(self.model.path.parent, together([self.model.path.stem, *names]))

    def standing(self) -> Standing:
        """What lacks, what does not fit, or how large the new model will be."""
        paths, model = self.loras.paths, self.model.facts
        known = [self.facts[path] for path in paths if path in self.facts]
        if problem := unusable(known, dora=True):
            return Standing(problem, wrong=True)
        if model is not None and model.problem:
            return Standing(tr("Choose another model: this one cannot take a LoRA."), wrong=True)
        if model is not None:
            for file in known:
                if file.family and file.family != model.family:
                    return Standing(tr("“{title}” is made for {family}, but the model is {other}. Choose a model of the LoRA's family.", title=file.title, family=file.family, other=model.family), wrong=True)  # fmt: skip
        for path, weight in zip(paths, self.loras.weights, strict=True):
            if weight == 0:
                return Standing(tr("The weight of “{title}” is 0. Give it another one, or take it away.", title=self.loras.title(path)), wrong=True)  # fmt: skip
        if self.model.path is None:
            return Standing(tr("Choose the model that the LoRA becomes part of."))
        if not paths:
            return Standing(tr("Add the LoRA that becomes part of it."))
        if model is None or len(known) < len(paths):
            return Standing(tr("Looking at the files…"))
        return Standing(tr("About {size}, as the model.", size=size(model.size_bytes)), ready=True)

    def first_field(self) -> QWidget:
        """The model."""
        return self.model.first_field()

    def learned(self) -> None:
        """A LoRA was read."""
        for facts in self.facts.values():
            self.loras.tell(facts)

    def _on_loras(self) -> None:
        self.look(self.loras.paths)
        self.learned()
        self.changed.emit()
