"""Tags to complete what is typed: those of the data set, and those of a list in a file that the user may add. QtCore only.

The file is a CSV as tag sites and captioning tools share it, `tag,category,count,"alias,alias"`, or one tag a line.
"""

from __future__ import annotations

import csv
import heapq
from bisect import bisect_left
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

from app import preferences
from app.background import Background
from app.texts import tr
from trainer import captions
from trainer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFERENCE = "tag_list_file"
MOST = 12
SORTED_AT_ONCE = 4000  # keys, in some ms: sorting holds Python's lock, and the window waits for it
MAX_BYTES = 200_000_000


@dataclass(frozen=True)
class Suggestion:
    """A tag that may be meant. count: how often it is used; alias: what was typed, when that is another name of it."""

    tag: str
    count: int
    alias: str = ""
    in_set: bool = False


@dataclass
class TagFile:
    """A tag list, ready to be searched.

    tags: names and counts. keys: names and aliases as they are compared, sorted, each with its place in `tags` and the alias.
    counts: of each key. text: the keys, one a line, to search inside of them.
    """

    path: Path
    tags: list[tuple[str, int]] = field(default_factory=list)
    keys: list[tuple[str, int, str]] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    text: str = ""
    problem: str = ""

    def search(self, typed: str) -> Iterator[Suggestion]:
        """The most used tags that begin with this, then those that have a word which begins with it."""
        key = _key(typed)
        start = bisect_left(self.keys, (key,))
        end = bisect_left(self.keys, (key + "\U0010ffff",))
        places = range(start, end)
        yield from self._best(places)
        if len(places) < MOST:
            yield from self._best(self._inside(key))

    def _best(self, places: range | list[int]) -> Iterator[Suggestion]:
        best = heapq.nlargest(MOST * 2, places, key=self.counts.__getitem__)
        for at in best:
            _, place, alias = self.keys[at]
            yield Suggestion(*self.tags[place], alias)

    def _inside(self, key: str) -> list[int]:
        """Places of keys with a later word that begins like this; the search is one pass through a text, a few ms."""
        found: list[int] = []
        at = self.text.find(" " + key)
        while at >= 0 and len(found) < 2000:
            line = self.text[self.text.rfind("\n", 0, at) + 1 : self.text.find("\n", at)]
            found.append(bisect_left(self.keys, (line,)))
            at = self.text.find(" " + key, at + 1)
        return found


def read(path: Path) -> TagFile:
    """Reads a list; takes about a second for 200,000 tags, so it is for a thread. What is wrong is told in `problem`."""
    out = TagFile(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path.name} is too large for a tag list. Choose a CSV or text file of tags.")
        lines = captions.decode(path.read_bytes()).lines
    except OSError as error:
        out.problem = (
            f"The tag list {path} cannot be read ({error.strerror or error}). Choose it again where it is now."
        )
        return out
    except DataError as error:
        out.problem = str(error)
        return out
    aliases: list[tuple[int, str]] = []
    try:
        for row in csv.reader(lines):
            _take(row, out.tags, aliases)
    except csv.Error as error:
        out.problem = f"The tag list {path} is no CSV file ({error}). Choose a CSV or text file of tags."
        return out
    if not out.tags:
        out.problem = (
            f"There are no tags in {path}. A tag list has a tag in each line, and perhaps its count and aliases."
        )
    out.keys = [(_key(tag), place, "") for place, (tag, _) in enumerate(out.tags)]
    out.keys += [(_key(alias), place, alias) for place, alias in aliases]
    parts = (sorted(out.keys[at : at + SORTED_AT_ONCE]) for at in range(0, len(out.keys), SORTED_AT_ONCE))
    out.keys = list(heapq.merge(*parts))
    out.counts = [out.tags[place][1] for _, place, _ in out.keys]
    out.text = "\n" + "\n".join(key for key, _, _ in out.keys) + "\n"
    return out


def _take(row: list[str], tags: list[tuple[str, int]], aliases: list[tuple[int, str]]) -> None:
    cells = [cell.strip() for cell in row]
    if not cells or not cells[0] or (not tags and cells[0].casefold() in ("tag", "name", "tag_id")):
        return
    numbers = [int(cell) for cell in cells[1:] if cell.isdecimal()]
    others = [cell for cell in cells[1:] if cell and not cell.isdecimal()]
    tags.append((cells[0], numbers[-1] if numbers else 0))
    place = len(tags) - 1
    aliases.extend((place, alias.strip()) for cell in others for alias in cell.split(",") if alias.strip())


def _key(text: str) -> str:
    """What is compared: capitals and underscores make no difference."""
    return " ".join(text.casefold().replace("_", " ").split())


class TagNames(QObject):
    """Searches the data set's tags and the file's.

    Attributes:
        file: the list that was read; None without one.

    Signals:
        changed: another list was read, or it was taken away.
        failed(str): the list cannot be used; a sentence.
    """

    changed = Signal()
    failed = Signal(str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.file: TagFile | None = None
        self._wanted: Path | None = None
        self._background = Background("read tag list")
        self._background.done.connect(self._on_read)
        if remembered := preferences.get(PREFERENCE, ""):
            self._load(Path(remembered))

    def choose(self, path: Path | None) -> None:
        """Another list from now on, and after the next start; None for none."""
        if path is None:
            self._wanted = self.file = None
            preferences.put(PREFERENCE, "")
            self.changed.emit()
        else:
            self._load(path)

    def search(self, typed: str, counts: dict[str, int]) -> list[Suggestion]:
        """What may be meant: the set's tags by frequency first, then the file's by theirs.

        Args:
            typed: the beginning of a tag, or of a word or an alias of it.
            counts: the data set's tags.
        """
        key = _key(typed)
        if not key:
            return []
        keys = {tag: _key(tag) for tag in counts}
        begins = [tag for tag, own in keys.items() if own.startswith(key)]
        inside = [tag for tag, own in keys.items() if f" {key}" in own]
        found = [Suggestion(tag, counts[tag], in_set=True) for tag in [*begins, *inside][:MOST]]
        known = {keys[s.tag] for s in found}
        spaced = not any("_" in tag for tag in counts)
        for suggestion in self.file.search(typed) if self.file is not None else ():
            if len(found) >= MOST:
                break
            if _key(suggestion.tag) not in known:
                known.add(_key(suggestion.tag))
                tag = suggestion.tag.replace("_", " ") if spaced and len(suggestion.tag) > 3 else suggestion.tag
                found.append(Suggestion(tag, suggestion.count, suggestion.alias))
        return found

    def _load(self, path: Path) -> None:
        self._wanted = path
        self._background.drop_waiting()
        self._background.run(lambda: read(path))

    def _on_read(self, found: TagFile) -> None:
        if found.path != self._wanted:
            return
        if found.problem:
            self._wanted = self.file.path if self.file is not None else None
            self.failed.emit(tr(found.problem))
            return
        self.file = found
        preferences.put(PREFERENCE, str(found.path))
        self.changed.emit()
