"""Tags, the comma-separated parts of a caption: changing them in a caption, and counting them. Imports neither torch nor Qt."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def tags_of(caption: str) -> list[str]:
    """The caption's tags in their order."""
    return [tag for tag in map(str.strip, caption.split(",")) if tag]


def with_tags(caption: str, tags: Sequence[str], *, front: bool) -> str:
    """The caption with tags added that it lacks; capitals make no difference."""
    there = tags_of(caption)
    known = {tag.casefold() for tag in there}
    new = [tag for tag in _cleaned(tags) if tag.casefold() not in known]
    if not new:
        return caption
    return ", ".join([*new, *there] if front else [*there, *new])


def without_tags(caption: str, tags: Iterable[str]) -> str:
    """The caption without these tags; unchanged when it has none of them."""
    gone = {tag.casefold() for tag in _cleaned(tags)}
    there = tags_of(caption)
    kept = [tag for tag in there if tag.casefold() not in gone]
    return caption if len(kept) == len(there) else ", ".join(kept)


def with_tag_replaced(caption: str, old: str, new: str) -> str:
    """The caption with one tag in another's place, at most once; `new` may be several tags or empty."""
    there = tags_of(caption)
    if old.strip().casefold() not in {tag.casefold() for tag in there}:
        return caption
    out: dict[str, str] = {}
    for tag in there:
        for replaced in tags_of(new) if tag.casefold() == old.strip().casefold() else [tag]:
            out.setdefault(replaced.casefold(), replaced)
    return ", ".join(out.values())


class TagCounter:
    """How many captions have each tag, kept up to date caption by caption."""

    def __init__(self, captions: Iterable[str] = ()) -> None:
        self._counts: Counter[str] = Counter()
        self._sorted: dict[str, int] | None = None
        for caption in captions:
            self.add(caption)

    def add(self, caption: str) -> None:
        """One more caption."""
        self.replace("", caption)

    def remove(self, caption: str) -> None:
        """One caption less; it was added before."""
        self.replace(caption, "")

    def replace(self, old: str, new: str) -> None:
        """A caption was changed."""
        before, after = set(tags_of(old)), set(tags_of(new))
        for tag in after - before:
            self._counts[tag] += 1
        for tag in before - after:
            self._counts[tag] -= 1
            if self._counts[tag] <= 0:
                del self._counts[tag]
        self._sorted = None

    def counts(self) -> dict[str, int]:
        """The most frequent first, those of equal frequency by name."""
        if self._sorted is None:
            self._sorted = dict(sorted(self._counts.items(), key=lambda item: (-item[1], item[0])))
        return dict(self._sorted)


def _cleaned(tags: Iterable[str]) -> list[str]:
    """Each tag once; a text with commas is several tags."""
    parts = [part for tag in tags for part in tags_of(tag)]
    return list({part.casefold(): part for part in reversed(parts)}.values())[::-1]
