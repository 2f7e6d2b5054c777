"""Changes to many captions at once, worked out before anything is written: find and replace, and operations on tags.

Imports neither torch nor Qt.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import regex

from app.caption_tags import (
    Reading,
    by_line,
    in_lines,
    tags_of,
    with_tag_replaced,
    with_tags,
    without_repeats,
    without_tags,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

LIMIT_S = 3.0  # for a search through all captions; no sensible pattern needs a tenth of it
_LETTERS = re.compile(r"[^\W\d_]{2}")  # a face such as >_< has no two letters in a row, and keeps its line
Groups = list[list[str]]


class ChangeError(Exception):
    """What was asked for cannot be done; a sentence."""


@dataclass(frozen=True)
class CaptionChange:
    """One caption that becomes another."""

    path: Path
    before: str
    after: str


@dataclass
class Changes:
    """All captions that would become others, or why there are none. checked: how many were looked at."""

    changes: list[CaptionChange] = field(default_factory=list)
    checked: int = 0
    problem: str = ""


@dataclass(frozen=True)
class Operation:
    """Something to do to tags.

    title: what the menu says. fields: what the user is asked for, nothing, one text or two. change: gives the new caption of
    (caption, texts, reading).
    """

    name: str
    title: str
    fields: tuple[str, ...]
    change: Callable[[str, Sequence[str], Reading], str]


def planned(captions: Iterable[tuple[Path, str]], change: Callable[[str], str]) -> Changes:
    """What a change does to these captions. A change may raise ChangeError, and one that takes too long is given up."""
    out = Changes()
    for path, caption in captions:
        try:
            after = in_lines(change(caption))
        except ChangeError as error:
            return Changes(checked=out.checked, problem=str(error))
        out.checked += 1
        if after != caption:
            out.changes.append(CaptionChange(path, caption, after))
    return out


def replacement(find: str, put: str, *, is_pattern: bool, match_case: bool) -> Callable[[str], str]:
    r"""A change that replaces what is found; all calls of it together may take LIMIT_S.

    Args:
        find: the text, or a pattern as Python's `re` knows them.
        put: what is put in its place; with a pattern, `\1` is its first group.
        is_pattern: whether `find` is a pattern.
        match_case: whether capitals make a difference.

    Raises:
        ChangeError: the pattern or the replacement is none.
    """
    if not is_pattern:
        find, put = regex.escape(find), put.replace("\\", "\\\\")
    try:
        pattern = regex.compile(find, 0 if match_case else regex.IGNORECASE)
    except (regex.error, OverflowError, RecursionError) as error:
        raise ChangeError(f"The pattern cannot be read: {_reason(error)}.") from None
    deadline = time.monotonic() + LIMIT_S

    def change(caption: str) -> str:
        left = deadline - time.monotonic()
        try:
            if left <= 0:
                raise TimeoutError
            return str(pattern.sub(put, caption, timeout=left, concurrent=True))
        except TimeoutError:
            raise ChangeError(
                f"This pattern takes longer than {LIMIT_S:.0f} s. Repeats inside of repeats, as in (a+)+, do that: simplify it."
            ) from None
        except (regex.error, IndexError, KeyError) as error:
            raise _wrong_replacement(error) from None

    try:  # so that a wrong replacement is told also where nothing is found: with the alternative, nothing is
        regex.compile(f"{find}|", pattern.flags).sub(put, "", timeout=LIMIT_S)
    except (regex.error, IndexError, KeyError) as error:
        raise _wrong_replacement(error) from None
    return change


def _wrong_replacement(error: Exception) -> ChangeError:
    sentence = "The replacement cannot be used: {reason}. Groups are written \\1, and a backslash \\\\."
    return ChangeError(sentence.format(reason=_reason(error)))


def _reason(error: Exception) -> str:
    at = getattr(error, "pos", None)
    reason = str(getattr(error, "msg", "") or error).strip("'\"")
    return f"{reason}, at character {at + 1}" if isinstance(at, int) else reason


# ---- operations on tags


def _sorted(caption: str, reading: Reading) -> str:
    def change(groups: Groups) -> Groups:
        kept = reading.fixed(groups)
        return [[*g[:n], *sorted(g[n:], key=str.casefold)] for g, n in zip(groups, kept, strict=True)]

    return by_line(caption, reading, change)


def _each_tag(caption: str, reading: Reading, change: Callable[[str], str]) -> str:
    return by_line(caption, reading, lambda groups: [[change(tag) for tag in group] for group in groups])


def _spaced(tag: str) -> str:
    return tag.replace("_", " ").strip() if _LETTERS.search(tag) else tag


def _prefixed(caption: str, text: str, reading: Reading) -> str:
    if reading.variants and "\n" in caption:
        return "\n".join(_prefixed(line, text, reading) for line in caption.split("\n"))
    return caption if caption.startswith(text.lstrip()) else text + caption


def _suffixed(caption: str, text: str, reading: Reading) -> str:
    if reading.variants and "\n" in caption:
        return "\n".join(_suffixed(line, text, reading) for line in caption.split("\n"))
    return caption if caption.endswith(text.rstrip()) else caption + text


_TAGS = "Tags, with commas between"
OPERATIONS = (
    Operation("add_front", "Add tags in front", (_TAGS,), lambda c, t, r: with_tags(c, tags_of(t[0]), front=True, reading=r)),
    Operation("add_end", "Add tags at the end", (_TAGS,), lambda c, t, r: with_tags(c, tags_of(t[0]), front=False, reading=r)),
    Operation("remove", "Remove tags", (_TAGS,), lambda c, t, r: without_tags(c, tags_of(t[0]), r)),
    Operation("replace", "Replace a tag", ("This tag", "By this"), lambda c, t, r: with_tag_replaced(c, t[0], t[1], r)),
    Operation("sort", "Sort tags, but for those that keep their place", (), lambda c, _, r: _sorted(c, r)),
    Operation("duplicates", "Remove duplicate tags", (), lambda c, _, r: by_line(c, r, without_repeats)),
    Operation("spaces", "Underscores to spaces", (), lambda c, _, r: _each_tag(c, r, _spaced)),
    Operation("lower", "Lower case", (), lambda c, _, r: c.lower()),
    Operation("prefix", "Text in front of each caption", ("Text, with the comma or space after it",), lambda c, t, r: _prefixed(c, t[0], r)),
    Operation("suffix", "Text after each caption", ("Text, with the comma or space before it",), lambda c, t, r: _suffixed(c, t[0], r)),
)  # fmt: skip
