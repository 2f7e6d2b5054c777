"""Changes of crops and masks as steps of undo: what was before and after, and carrying them out. Imports neither torch nor Qt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainer import edits
from trainer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from trainer.edits import Edit

FOLDER = "edits"  # in a project's folder


@dataclass(frozen=True)
class EditChange:
    """One picture's crop and mask before and after; None: it has neither. key: as `dataset.Picture` has it."""

    key: str
    before: Edit | None
    after: Edit | None

    @property
    def values(self) -> dict[str, Any]:
        """As a JSON object."""
        before, after = (None if e is None else edits.values_of(e) for e in (self.before, self.after))
        return {"key": self.key, "before": before, "after": after}

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> EditChange:
        """From its JSON object.

        Raises:
            LookupError, TypeError, ValueError: it is damaged.
        """
        before, after = (None if values[k] is None else edits.edit_of(values[k]) for k in ("before", "after"))
        return cls(str(values["key"]), before, after)


def carry_out(folder: Path, changes: Sequence[EditChange], *, back: bool) -> tuple[dict[str, Edit | None], str]:
    """Writes the list of edits in a folder; for a thread.

    Gives what stands there instead of what was wanted, by key, when it could not be written, and a sentence that says why.
    The list is read each time, so that one that is damaged is never written over.
    """
    try:
        kept = edits.read(folder)
    except DataError as error:
        return {c.key: c.after if back else c.before for c in changes}, str(error)
    before = {c.key: kept.pictures.get(c.key) for c in changes}
    try:
        kept.set_many({c.key: c.before if back else c.after for c in changes})
    except DataError as error:
        return before, str(error)
    return {}, ""
