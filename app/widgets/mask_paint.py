"""A mask that is being painted: strokes with a soft edge, floods of similar colour, undo. Arrays only, no widget."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.uint8]
Area = tuple[int, int, int, int]  # left, top, right, bottom in px of the mask
MAX_UNDO_BYTES = 160_000_000
TRAINED, LEFT_OUT = 255, 0


@dataclass
class _Step:
    area: Area
    before: Values
    after: Values


class MaskPaint:
    """A grey picture, 255 where it is trained, and how it came about.

    On a mask that leaves nothing out, the first thing that is marked as trained leaves all the rest out: a mask is begun by
    painting what is to be learned, or by erasing what is not.

    Attributes:
        values: (height, width).
    """

    def __init__(self, values: Values) -> None:
        self.values = values
        self._steps: list[_Step] = []
        self._position = 0
        self._kept_at = 0
        self._before = self._ground = values  # of a stroke: for undo, and what it is painted on
        self._coverage: NDArray[np.float32] = np.zeros((0, 0), np.float32)
        self._touched: Area | None = None
        self._target = TRAINED

    # ---- where it stands

    @property
    def is_blank(self) -> bool:
        """Whether everything is trained."""
        return bool((self.values == TRAINED).all())

    @property
    def is_changed(self) -> bool:
        """Whether it is another than when it was kept last."""
        return self._position != self._kept_at

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to take back."""
        return self._position > 0

    @property
    def can_redo(self) -> bool:
        """Whether a step was taken back."""
        return self._position < len(self._steps)

    @property
    def whole(self) -> Area:
        """All of it."""
        height, width = self.values.shape
        return 0, 0, width, height

    def mark_kept(self) -> None:
        """It is kept as it is now."""
        self._kept_at = self._position

    # ---- strokes

    def begin(self, *, trains: bool) -> Area:
        """A stroke begins; trains: it marks what is trained, else what is not. Gives the area that is new."""
        self._target = TRAINED if trains else LEFT_OUT
        self._before = self._ground = self.values.copy()
        self._coverage = np.zeros(self.values.shape, np.float32)
        self._touched = None
        if trains and self.is_blank:
            self.values[:] = LEFT_OUT
            self._ground = self.values.copy()
            self._touched = self.whole
        return self._touched or (0, 0, 0, 0)

    def stroke(self, start: tuple[float, float], end: tuple[float, float], radius: float, softness: float) -> Area:
        """A straight piece of the stroke, in px of the mask; softness: how much of the radius fades, 0 to 1."""
        left, right = sorted((start[0], end[0]))
        top, bottom = sorted((start[1], end[1]))
        area = self._within((left - radius - 1, top - radius - 1, right + radius + 2, bottom + radius + 2))
        if area is None:
            return 0, 0, 0, 0
        x0, y0, x1, y1 = area
        fade = max(1.0, radius * softness)
        part = np.clip((radius + 0.5 - _distances(area, start, end)) / fade, 0, 1)
        part = part * part * (3 - 2 * part) if softness > 0 else part
        coverage = self._coverage[y0:y1, x0:x1]
        np.maximum(coverage, part, out=coverage)
        ground = self._ground[y0:y1, x0:x1].astype(np.float32)
        self.values[y0:y1, x0:x1] = np.rint(ground + (self._target - ground) * coverage).astype(np.uint8)
        self._touched = area if self._touched is None else _union(self._touched, area)
        return area

    def end(self) -> None:
        """The stroke is one step of undo."""
        if self._touched is not None:
            self._add(self._touched, self._before)
        self._before = self._ground = self.values
        self._coverage, self._touched = np.zeros((0, 0), np.float32), None

    # ---- the whole mask

    def replace(self, values: Values) -> None:
        """Another mask, as one step."""
        before = self.values.copy()
        self.values[:] = values
        self._add(self.whole, before)

    def invert(self) -> None:
        """What is trained changes places with what is not."""
        self.replace(TRAINED - self.values)

    def clear(self) -> None:
        """Everything is trained."""
        self.replace(np.full_like(self.values, TRAINED))

    def fill(self, area: NDArray[np.bool_], *, trains: bool) -> None:
        """Marks an area, (height, width), e.g. one of `similar`."""
        after = np.full_like(self.values, LEFT_OUT) if trains and self.is_blank else self.values.copy()
        after[area] = TRAINED if trains else LEFT_OUT
        self.replace(after)

    # ---- undo

    def undo(self) -> Area:
        """Takes a step back; gives the area that is new."""
        if not self.can_undo:
            return 0, 0, 0, 0
        self._position -= 1
        step = self._steps[self._position]
        return self._put(step.area, step.before)

    def redo(self) -> Area:
        """Does it again."""
        if not self.can_redo:
            return 0, 0, 0, 0
        self._position += 1
        step = self._steps[self._position - 1]
        return self._put(step.area, step.after)

    def _put(self, area: Area, values: Values) -> Area:
        x0, y0, x1, y1 = area
        self.values[y0:y1, x0:x1] = values
        return area

    def _add(self, area: Area, before: Values) -> None:
        x0, y0, x1, y1 = area
        step = _Step(area, before[y0:y1, x0:x1].copy(), self.values[y0:y1, x0:x1].copy())
        if np.array_equal(step.before, step.after):
            return
        if self._kept_at > self._position:
            self._kept_at = -1  # it was taken back and painted over: never again what was kept
        del self._steps[self._position :]
        self._steps.append(step)
        while sum(s.before.nbytes + s.after.nbytes for s in self._steps) > MAX_UNDO_BYTES and len(self._steps) > 1:
            del self._steps[0]
            self._kept_at -= 1
        self._position = len(self._steps)

    def _within(self, area: tuple[float, float, float, float]) -> Area | None:
        _, _, width, height = self.whole
        x0, y0 = max(0, int(area[0])), max(0, int(area[1]))
        x1, y1 = min(width, int(np.ceil(area[2]))), min(height, int(np.ceil(area[3])))
        return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def similar(picture: NDArray[np.uint8], at: tuple[int, int], tolerance: int) -> NDArray[np.bool_]:
    """The connected area around a place where no channel differs from the colour there by more than the tolerance.

    Args:
        picture: (height, width, 3).
        at: x and y in px.
        tolerance: 0 to 255.
    """
    height, width = picture.shape[:2]
    colour = picture[at[1], at[0]].astype(np.int16)
    alike = (np.abs(picture.astype(np.int16) - colour) <= tolerance).all(axis=2)
    free = np.zeros((height + 2, width + 2), np.bool_)  # the border stops the flood without a test for it
    free[1:-1, 1:-1] = alike
    flat, row = free.reshape(-1), width + 2
    found = np.zeros_like(flat)
    front = np.array([(at[1] + 1) * row + at[0] + 1])
    flat[front] = False
    while front.size:
        found[front] = True
        fresh = []
        for step in (1, -1, row, -row):
            beside = front + step
            beside = beside[flat[beside]]
            flat[beside] = False
            fresh.append(beside)
        front = np.concatenate(fresh)
    return found.reshape(height + 2, row)[1:-1, 1:-1]


def _distances(area: Area, start: tuple[float, float], end: tuple[float, float]) -> NDArray[np.float32]:
    """Of each pixel's middle to a line from start to end."""
    x0, y0, x1, y1 = area
    x = np.arange(x0, x1, dtype=np.float32)[None, :] + np.float32(0.5 - start[0])
    y = np.arange(y0, y1, dtype=np.float32)[:, None] + np.float32(0.5 - start[1])
    dx, dy = np.float32(end[0] - start[0]), np.float32(end[1] - start[1])
    along = np.clip((x * dx + y * dy) / max(float(dx * dx + dy * dy), 1e-6), 0, 1)
    out: NDArray[np.float32] = np.hypot(x - along * dx, y - along * dy)
    return out


def _union(one: Area, other: Area) -> Area:
    return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])
