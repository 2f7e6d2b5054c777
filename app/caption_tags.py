"""Tags, the comma-separated parts of a caption: changing them in a caption, and counting them. Imports neither torch nor Qt.

A caption with several lines holds line breaks. What its parts are depends on the settings: see `Reading`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainer import prompt_syntax

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


@dataclass(frozen=True)
class Reading:
    """How captions are read, as training does it.

    separator: keeps the tags before its first and after its second occurrence in place; empty for none. keep: so many tags
    in front are in place where there is no separator. variants: each line is a caption of its own. brackets: commas within
    brackets do not part tags.
    """

    separator: str = ""
    keep: int = 0
    variants: bool = False
    brackets: bool = False

    @classmethod
    def of(cls, value: Callable[[str], Any]) -> Reading:
        """As the settings say. value: gives the value of a setting, e.g. `Project.value`."""
        keep = value("keep_tokens")
        return cls(
            separator=str(value("keep_separator") or "").strip(),
            keep=keep if isinstance(keep, int) and keep > 0 else 0,
            variants=value("caption_lines") == "variants",
            brackets=bool(value("prompt_weights")),
        )

    def groups(self, line: str) -> list[list[str]]:
        """The tags of one line, parted by separators: one group, two or three."""
        parts = line.split(self.separator, 2) if self.separator else [line]
        return [self._tags(part) for part in parts]

    def line(self, groups: Iterable[Sequence[str]]) -> str:
        """The line of these groups; empty without any tag."""
        parts = [", ".join(group) for group in groups]
        return f" {self.separator} ".join(parts).strip() if any(parts) else ""

    def fixed(self, groups: Sequence[Sequence[str]]) -> list[int]:
        """How many tags at the front of each group stay in place when tags are mixed."""
        if len(groups) == 1:
            return [min(self.keep, len(groups[0]))]
        return [0 if at == 1 else len(group) for at, group in enumerate(groups)]

    def _tags(self, text: str) -> list[str]:
        if self.brackets and ("(" in text or "[" in text):
            return prompt_syntax.split_tags(text, brackets=True)
        return [tag for tag in map(str.strip, text.split(",")) if tag]


PLAIN = Reading()


def in_lines(text: str) -> str:
    """The text as captions are kept: single spaces, no empty lines, nothing at either end."""
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def tags_of(caption: str, reading: Reading = PLAIN) -> list[str]:
    """The caption's tags in their order, of all its lines."""
    if "\n" not in caption and not reading.separator:
        return reading._tags(caption)
    return [tag for line in caption.split("\n") for group in reading.groups(line) for tag in group]


def with_tags(caption: str, tags: Sequence[str], *, front: bool, reading: Reading = PLAIN) -> str:
    """The caption with tags added that it lacks; capitals make no difference. When lines are variants, to each of them."""
    if reading.variants and "\n" in caption:
        lines = (with_tags(line, tags, front=front, reading=reading) for line in caption.split("\n"))
        return "\n".join(lines)
    known = {tag.casefold() for tag in tags_of(caption, reading)}
    new = [tag for tag in _cleaned(tags, reading) if tag.casefold() not in known]
    if not new:
        return caption
    lines_there = caption.split("\n")
    at = 0 if front else -1
    groups = reading.groups(lines_there[at])
    groups[at] = [*new, *groups[at]] if front else [*groups[at], *new]
    lines_there[at] = reading.line(groups)
    return "\n".join(lines_there)


def without_tags(caption: str, tags: Iterable[str], reading: Reading = PLAIN) -> str:
    """The caption without these tags; unchanged when it has none of them."""
    gone = {tag.casefold() for tag in _cleaned(tags, reading)}
    return by_line(caption, reading, lambda groups: [[t for t in g if t.casefold() not in gone] for g in groups])


def with_tag_replaced(caption: str, old: str, new: str, reading: Reading = PLAIN) -> str:
    """The caption with one tag in another's place, at most once in a line; `new` may be several tags or empty."""
    wanted, put = old.strip().casefold(), tags_of(new, reading)

    def change(groups: list[list[str]]) -> list[list[str]]:
        if not any(tag.casefold() == wanted for group in groups for tag in group):
            return groups
        return without_repeats([[r for t in g for r in (put if t.casefold() == wanted else [t])] for g in groups])

    return by_line(caption, reading, change)


def without_repeats(groups: Iterable[Iterable[str]]) -> list[list[str]]:
    """Each tag once, where it stands first; capitals make no difference."""
    seen: set[str] = set()
    out: list[list[str]] = []
    for group in groups:
        out.append([])
        for tag in group:
            if tag.casefold() not in seen:
                seen.add(tag.casefold())
                out[-1].append(tag)
    return out


def by_line(caption: str, reading: Reading, change: Callable[[list[list[str]]], list[list[str]]]) -> str:
    """The caption with each line's tags changed. A line whose tags stay is left as it is; one without tags goes."""
    lines = []
    for line in caption.split("\n"):
        groups = reading.groups(line)
        changed = change(groups)
        lines.append(line if changed == groups else reading.line(changed))
    return "\n".join(line for line in lines if line)


def by_line_or_first(caption: str, reading: Reading, change: Callable[[str], str]) -> str:
    """Changes each line when lines are variants; else the caption's beginning, if the whole of it would be changed."""
    if "\n" not in caption:
        return change(caption)
    if reading.variants:
        return "\n".join(map(change, caption.split("\n")))
    first, rest = caption.split("\n", 1)
    joined = caption.replace("\n", " ")
    return caption if change(joined) == joined else f"{change(first)}\n{rest}"


class TagCounter:
    """How many captions have each tag, kept up to date caption by caption."""

    def __init__(self, captions: Iterable[str] = (), reading: Reading = PLAIN) -> None:
        self.reading = reading
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
        before, after = set(tags_of(old, self.reading)), set(tags_of(new, self.reading))
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


def _cleaned(tags: Iterable[str], reading: Reading) -> list[str]:
    """Each tag once; a text with commas is several tags."""
    return without_repeats([[part for tag in tags for part in reading._tags(tag)]])[0]
