"""The form of convert: the same LoRA under the layer names that other programs look for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtWidgets import QLabel, QRadioButton

from app import theme
from app.texts import size, tr
from app.widgets.named import named
from app.widgets.tool_form import Proposal, Standing, ToolForm, about_file, unusable

if TYPE_CHECKING:
    from pathlib import Path

    from PySide6.QtWidgets import QWidget


class ConvertForm(ToolForm):
    """For whom; the one that it is not for yet is chosen."""

    kind = "convert"

    def __init__(self, path: Path, title: str) -> None:
        super().__init__(
            tr("Convert “{title}”", title=title),
            tr(
                "Programs expect different names inside a LoRA file. This writes the same LoRA for the others; the pictures stay the same."
            ),
            tr("Convert"),
        )
        self._path, self._title = path, title
        self._about = theme.role(QLabel(wordWrap=True), "muted")
        self.kohya = named(QRadioButton(tr("For A1111, Forge, ComfyUI and Civitai")), "tool_to_kohya")
        self.kohya.setToolTip(tr("The names of kohya's scripts, which nearly all programs read"))
        self.peft = named(QRadioButton(tr("For diffusers and PEFT, that is for Python programs")), "tool_to_peft")
        self.peft.setToolTip(tr("The names of Hugging Face's libraries"))
        for widget in (self._about, self.kohya, self.peft):
            self.column.addWidget(widget)
        self.peft.setChecked(True)
        self.peft.toggled.connect(self.changed)
        self.look([path])

    @property
    def to(self) -> str:
        """Whose names: "kohya" or "peft"."""
        return "peft" if self.peft.isChecked() else "kohya"

    def words(self) -> list[str]:
        """`convert` FILE --to ..."""
        return ["convert", str(self._path), "--to", self.to]

    def sources(self) -> list[Path]:
        """The LoRA."""
        return [self._path]

    def proposal(self) -> Proposal:
        """Beside it, its name with the others' names."""
        return Proposal(self._path.parent, f"{self._title} {self.to}")

    def standing(self) -> Standing:
        """Whether there is anything to convert."""
        facts = self.facts.get(self._path)
        if facts is None:
            return Standing(tr("Looking at the file…"))
        if facts.problem:
            return Standing(facts.problem, wrong=True)
        if facts.is_dora:
            return Standing(unusable([facts]), wrong=True)
        if (facts.names == "kohya") == (self.to == "kohya"):
            return Standing(tr("It has these names already; there is nothing to convert."))
        if self.to == "kohya" and not facts.family:
            return Standing(tr("The file does not tell which family of models it is for, so it cannot be converted."), wrong=True)  # fmt: skip
        return Standing(tr("About {size}, as now.", size=size(facts.size_bytes)), ready=True)

    def can_use(self) -> bool:
        """Training goes on from kohya's names only."""
        return self.to == "kohya"

    def first_field(self) -> QWidget:
        """The chosen one."""
        return self.peft if self.peft.isChecked() else self.kohya

    def learned(self) -> None:
        """The LoRA was read: the other names are what is wanted."""
        facts = self.facts[self._path]
        if facts.problem:
            return
        ours = facts.names == "kohya"
        whose = tr("for A1111, Forge, ComfyUI and Civitai") if ours else tr("for Python programs or another trainer")
        self._about.setText(tr("Now: {whose} · {facts}", whose=whose, facts=about_file(facts)))
        (self.peft if ours else self.kohya).setChecked(True)
