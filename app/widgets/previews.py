"""The preview pictures of a run as the widgets show them: which prompts, which steps, which file. Imports neither torch nor Qt."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.texts import tr

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass
class Previews:
    """Prompts in the order of the settings, and files by prompt number and step (as in `RunRecord.previews`)."""

    prompts: list[str] = field(default_factory=list)
    files: dict[int, dict[int, Path]] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """How many prompts there are, known or only drawn."""
        return max(len(self.prompts), max(self.files, default=-1) + 1)

    def prompt(self, row: int) -> str:
        """The prompt's text."""
        return self.prompts[row] if row < len(self.prompts) else tr("Prompt {number}", number=row + 1)

    def steps(self) -> list[int]:
        """All steps at which something was drawn, in order."""
        return sorted({step for by_step in self.files.values() for step in by_step})

    def path(self, row: int, step: int) -> Path | None:
        """The file, or None if this prompt was not drawn at this step."""
        return self.files.get(row, {}).get(step)

    def latest(self, row: int, step: int) -> tuple[int, Path] | None:
        """The newest picture of a prompt that is not newer than `step`."""
        by_step = self.files.get(row, {})
        best = max((s for s in by_step if s <= step), default=None)
        return None if best is None else (best, by_step[best])

    def pairs(self) -> Sequence[tuple[int, int]]:
        """All (prompt, step) that have a file, in order."""
        return [(row, step) for row in sorted(self.files) for step in sorted(self.files[row])]


def step_name(step: int) -> str:
    """As "before", "step 1,200": below pictures and over columns."""
    return tr("step {step}", step=f"{step:,}") if step else tr("before")
