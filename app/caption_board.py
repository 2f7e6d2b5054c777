"""A caption as lines of tags that can be moved, removed and added; the separators are tags among them. Imports neither torch nor Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.caption_tags import PLAIN, in_lines

if TYPE_CHECKING:
    from app.caption_tags import Reading

Spot = tuple[int, int]  # line, place in it


class Board:
    """Lines of tags.

    Attributes:
        lines: the tags of each line; at least one line. A separator is the text of `reading.separator`.
        reading: how captions are read.
    """

    def __init__(self, caption: str = "", reading: Reading = PLAIN) -> None:
        self.reading = reading
        self.lines: list[list[str]] = []
        for line in caption.split("\n"):
            first, *others = reading.groups(line)
            self.lines.append([*first, *(tag for group in others for tag in (reading.separator, *group))])

    @property
    def caption(self) -> str:
        """The text of it."""
        return in_lines("\n".join(self.reading.line(self._groups(line)) for line in self.lines))

    @property
    def spots(self) -> list[Spot]:
        """Where there are tags, in their order, separators left out."""
        return [(y, x) for y, line in enumerate(self.lines) for x in range(len(line)) if not self.is_separator((y, x))]

    def tag(self, spot: Spot) -> str:
        """The tag there."""
        return self.lines[spot[0]][spot[1]]

    def is_separator(self, spot: Spot) -> bool:
        """Whether the divider stands there."""
        return bool(self.reading.separator) and self.tag(spot) == self.reading.separator

    def is_fixed(self, spot: Spot) -> bool:
        """Whether the tag keeps its place because of a separator."""
        line = self.lines[spot[0]]
        before = line[: spot[1]].count(self.reading.separator)
        return bool(self.reading.separator) and self.reading.separator in line and before != 1

    def add(self, spot: Spot, text: str) -> Spot:
        """Puts tags before a place; those that the line has already are left out. Gives the place after them."""
        y, x = spot
        line = self.lines[y]
        known = {tag.casefold() for tag in line}
        new = [t for group in self.reading.groups(" ".join(text.split())) for t in group if t.casefold() not in known]
        new = list({tag.casefold(): tag for tag in reversed(new)}.values())[::-1]
        line[x:x] = new
        return y, x + len(new)

    def remove(self, spot: Spot) -> None:
        """Takes a tag away."""
        del self.lines[spot[0]][spot[1]]

    def move(self, spot: Spot, to: Spot) -> Spot:
        """Takes a tag to before another place; gives where it is then."""
        tag = self.tag(spot)
        y, x = to
        self.remove(spot)
        x -= spot[0] == y and spot[1] < x
        self.lines[y].insert(x, tag)
        return y, x

    def shift(self, spot: Spot, by: int) -> Spot:
        """Moves a tag by one place in its line, also over a separator, or into the line before or after."""
        y, x = spot
        if 0 <= x + by < len(self.lines[y]):
            return self.move(spot, (y, x + (2 if by > 0 else -1)))
        if 0 <= y + by < len(self.lines):
            return self.move(spot, (y + by, 0 if by > 0 else len(self.lines[y + by])))
        return spot

    def _groups(self, line: list[str]) -> list[list[str]]:
        groups: list[list[str]] = [[]]
        for tag in line:
            if self.reading.separator and tag == self.reading.separator:
                groups.append([])
            else:
                groups[-1].append(tag)
        return groups
