"""Token counts of captions for the open project's base model; its vocabulary is read in the background. QtCore only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

from app.background import Background
from app.texts import counted, tr
from trainer import preflight, tokens
from trainer.errors import AtelierError

if TYPE_CHECKING:
    from pathlib import Path

    from app.project import Project

STANDARD_LIMIT = 75


@dataclass(frozen=True)
class Count:
    """A text's tokens. exact: as the base model counts; seen: so many characters in front are read by the model."""

    tokens: int
    limit: int
    exact: bool
    seen: int

    @property
    def over(self) -> int:
        """Tokens that are cut off."""
        return max(0, self.tokens - self.limit)

    @property
    def sentence(self) -> str:
        """`23 / 75 tokens`."""
        text = "{tokens} / {limit} tokens" if self.exact else "about {tokens} / {limit} tokens"
        return tr(text, tokens=self.tokens, limit=self.limit)

    @property
    def warning(self) -> str:
        """`5 tokens over: the end is cut`, or empty."""
        if not self.over:
            return ""
        text = "{over} over: the end is cut." if self.exact else "About {over} over: the end is cut."
        return tr(text, over=counted(self.over, "token", "tokens"))


@dataclass(frozen=True)
class _Found:
    base: str
    folder: Path | None
    problem: str = ""


class TokenCounter(QObject):
    """Counts; estimates until the vocabulary is there, or when the base model has none.

    Attributes:
        problem: why counts are estimates, or empty.

    Signals:
        changed: counts may be others now: another base model or prompt length, or the vocabulary was read.
    """

    changed = Signal()

    def __init__(self, project: Project, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._project = project
        self._folder: Path | None = None
        self._base: str | None = None
        self.problem = ""
        self._reader = Background("read tokenizer")
        self._reader.done.connect(self._on_found)
        project.changed.connect(self._on_changed)
        self._find()

    def count(self, text: str) -> Count:
        """The tokens of a text, without the start and end tokens."""
        limit = self._project.value("max_tokens")
        limit = limit if isinstance(limit, int) and limit > 0 else STANDARD_LIMIT
        if self._folder is None:
            return Count(tokens.estimate(text), limit, exact=False, seen=len(text))
        return Count(
            tokens.count(text, self._folder),
            limit,
            exact=True,
            seen=tokens.characters_within(text, self._folder, limit),
        )

    def _on_changed(self, names: frozenset[str]) -> None:
        if "base" in names:
            self._find()
        if names & {"base", "max_tokens"}:
            self.changed.emit()

    def _find(self) -> None:
        base = str(self._project.value("base"))
        if base != self._base or self.problem:  # a model that was missing may have been downloaded
            self._base, self._folder, self.problem = base, None, ""
            self._reader.run(lambda: _read(base))

    def _on_found(self, found: _Found) -> None:
        if found.base == self._base:
            self._folder, self.problem = found.folder, found.problem
            self.changed.emit()


def _read(base: str) -> _Found:
    """Finds a base model's tokenizer, and has it read once so that counting is quick."""
    if not base:
        return _Found(base, None, tr("Choose a base model to count exactly."))
    try:
        folder = tokens.tokenizer_folder(preflight.base_path(base))
        if folder is not None:
            tokens.count("", folder)
    except AtelierError as error:
        return _Found(base, None, str(error))
    return _Found(base, folder, "" if folder else tr("The base model has no vocabulary to count with."))
