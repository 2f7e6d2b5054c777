"""Which base model it is, found in the background, and the picture sizes that suit it. QtCore only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Signal

from app.background import Background
from app.texts import tr
from trainer import families, hub, preflight
from trainer.errors import AtelierError, os_message
from trainer.settings import DEMO

if TYPE_CHECKING:
    from collections.abc import Mapping

# the demo model was taught at 128 px, whatever its family
_DEMO_SIZES = {"resolution": 128, "bucket_step": 8, "bucket_min": 64}


@dataclass(frozen=True)
class Found:
    """What a base model is. error: a sentence why it cannot be used; then there is no family.

    can_be_fetched: it is a name on Hugging Face, and not on this computer yet.
    """

    base: str
    family: families.Family | None = None
    error: str = ""
    can_be_fetched: bool = False

    @property
    def resolution(self) -> int:
        """The resolution that it was made for; 0 when it is unknown."""
        return 0 if self.family is None else _DEMO_SIZES["resolution"] if self.base == DEMO else self.family.resolution


def title(base: str) -> str:
    """A base model's name for people."""
    return tr("Demo model") if base == DEMO else Path(base).name or base


def look(base: str) -> Found:
    """Reads the model's configuration files; slow on slow disks."""
    if hub.is_name(base) and hub.cached(base) is None:
        return Found(base, None, tr("This model is not on this computer yet."), can_be_fetched=True)
    try:
        return Found(base, families.detect(preflight.base_path(base)))
    except AtelierError as error:
        return Found(base, None, str(error))
    except OSError as error:
        return Found(base, None, os_message(tr("The base model cannot be read"), error))


def sizes(found: Found) -> dict[str, Any]:
    """The picture settings that suit the base; empty when it cannot be used."""
    if found.family is None:
        return {}
    if found.base == DEMO:
        return dict(_DEMO_SIZES)
    return {"resolution": found.family.resolution, "bucket_step": 64, "bucket_min": 256}


def changes(found: Found, before: Found | None, now: Mapping[str, Any], untouched: frozenset[str]) -> dict[str, Any]:
    """What to change of `now` for a base that was just chosen: only what the user never touched.

    before: the base until now, whose own sizes count as untouched. untouched: settings that are at their default.
    """
    ours = sizes(before) if before else {}
    wanted = sizes(found)
    if not ("resolution" in untouched or now.get("resolution") == ours.get("resolution")):
        return {}
    return {n: v for n, v in wanted.items() if now.get(n) != v and (n in untouched or now.get(n) == ours.get(n))}


class BaseDetective(QObject):
    """Finds out what base models are, one after the other, off the main thread.

    Signals:
        found(Found): the answer to the last question; answers to older ones are dropped.
    """

    found = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._asked = ""
        self._background = Background("look at base model")
        self._background.done.connect(self._on_done)

    def ask(self, base: str) -> None:
        """Looks at a base model; the answer comes as a signal."""
        self._asked = base
        self._background.drop_waiting()
        self._background.run(lambda: look(base))

    def _on_done(self, found: object) -> None:
        if isinstance(found, Found) and found.base == self._asked:
            self.found.emit(found)
