"""The figures behind the loss plot: arrays that only grow, smoothing, and thinning to what a screen can show. No Qt, no torch."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from app.run_record import RunRecord

Numbers = np.ndarray[tuple[int], np.dtype[np.float64]]

BLOCK = 256  # of steps that are smoothed at once


class LossSeries:
    """Copies what is new in a record into NumPy arrays and smooths it; both cost only what is new.

    Attributes:
        weight: of the past in the smoothed line, 0 to below 1.
    """

    def __init__(self, weight: float = 0.98) -> None:
        self.weight = weight
        self._size = 0
        self._columns = np.empty((4, 1024))  # step, loss, rate, smoothed
        self._mean, self._scale = 0.0, 0.0  # of the smoothing, after the last step

    # ---- filling

    def take(self, record: RunRecord) -> bool:
        """Adds what is new; returns whether anything changed. A run that went back to a checkpoint is taken anew."""
        count = len(record.steps)
        went_back = count < self._size or (self._size and record.steps[self._size - 1] != self.steps[-1])
        if went_back:
            self.clear()
        if count == self._size:
            return bool(went_back)
        start = self._size
        self._grow(count)
        new = self._columns[:, start:count]
        new[0], new[1], new[2] = record.steps[start:], record.losses[start:], record.rates[start:]
        self._size = count
        self._smooth(start)
        return True

    def clear(self) -> None:
        """Forgets everything."""
        self._size, self._mean, self._scale = 0, 0.0, 0.0

    def smooth_by(self, weight: float) -> None:
        """Another weight of the past."""
        self.weight, self._mean, self._scale = weight, 0.0, 0.0
        self._smooth(0)

    # ---- reading

    def __len__(self) -> int:
        return self._size

    @property
    def steps(self) -> Numbers:
        """Step of each entry, rising."""
        return self._columns[0, : self._size]

    @property
    def losses(self) -> Numbers:
        """Loss of each step; nan where it was no number."""
        return self._columns[1, : self._size]

    @property
    def rates(self) -> Numbers:
        """Learning rate of each step."""
        return self._columns[2, : self._size]

    @property
    def smoothed(self) -> Numbers:
        """As `RunRecord.smoothed`."""
        return self._columns[3, : self._size]

    def visible(self, first: float, last: float) -> slice:
        """The entries between two steps, with one neighbour on each side, so that lines reach the edge."""
        low = int(np.searchsorted(self.steps, first)) - 1
        high = int(np.searchsorted(self.steps, last, side="right")) + 1
        return slice(max(0, low), min(self._size, high))

    def nearest(self, step: float) -> int | None:
        """Index of the entry nearest to a step."""
        if not self._size:
            return None
        at = int(np.searchsorted(self.steps, step))
        around = [i for i in (at - 1, at) if 0 <= i < self._size]
        return min(around, key=lambda i: abs(self.steps[i] - step))

    # ---- inside

    def _grow(self, count: int) -> None:
        room = self._columns.shape[1]
        if count > room:
            larger = np.empty((4, max(count, 2 * room)))
            larger[:, : self._size] = self._columns[:, : self._size]
            self._columns = larger

    def _smooth(self, start: int) -> None:
        """The exponential moving average, started unbiased (Kingma & Ba 2015, section 3), from an entry on."""
        losses = self.losses[start:]
        known = np.isfinite(losses)
        means, self._mean = _decaying_sums(losses[known], self.weight, self._mean)
        scales, self._scale = _decaying_sums(np.ones(len(means)), self.weight, self._scale)
        if known.all():
            self.smoothed[start:] = means / scales
            return
        before = self.smoothed[start - 1] if start else np.nan
        values = np.concatenate(([before], means / scales))
        self.smoothed[start:] = values[np.cumsum(known)]  # a step without a number repeats the last value


def _decaying_sums(values: Numbers, weight: float, before: float) -> tuple[Numbers, float]:
    """y[i] = weight * y[i-1] + (1 - weight) * x[i], in blocks: a block is one product with a triangular matrix."""
    count = len(values)
    if not count:
        return values, before
    size = min(BLOCK, count)
    ages = np.subtract.outer(np.arange(size), np.arange(size))
    matrix = np.where(ages >= 0, (1 - weight) * weight ** np.maximum(ages, 0), 0.0)
    decay = weight ** np.arange(1, size + 1)
    padded = np.zeros(-(-count // size) * size)
    padded[:count] = values
    sums = padded.reshape(-1, size) @ matrix.T
    for block in sums:
        block += decay * before
        before = float(block[-1])
    out = sums.ravel()[:count]
    return out, float(out[-1])


def thinned(steps: Numbers, values: Numbers, columns: int) -> tuple[Numbers, Numbers]:
    """At most about three points for each of `columns` columns of the screen: the first, lowest and highest."""
    count = len(steps)
    per_column = count // max(1, columns)
    if per_column < 4:
        return steps, values
    whole = count // per_column * per_column
    grid = np.where(np.isfinite(values[:whole]), values[:whole], 0.0).reshape(-1, per_column)
    starts = np.arange(len(grid)) * per_column
    picks = np.unique(np.concatenate((starts, starts + grid.argmin(axis=1), starts + grid.argmax(axis=1), [count - 1])))
    return steps[picks], values[picks]


def sampled(steps: Numbers, values: Numbers, at_most: int, offset: int) -> tuple[Numbers, Numbers]:
    """Every n-th entry, so that faint points keep their density; `offset`: index of the first, as the same ones must stay."""
    every = -(-len(steps) // at_most)
    start = -offset % every if every > 1 else 0
    return steps[start :: every or 1], values[start :: every or 1]


def fitting_range(losses: Numbers, smoothed: Numbers) -> tuple[float, float] | None:
    """From where to where the loss axis goes: single outliers do not press the line flat."""
    losses, smoothed = losses[np.isfinite(losses)], smoothed[np.isfinite(smoothed)]
    if not len(losses):
        return None
    low, high = np.quantile(losses, (0.005, 0.985))
    if len(smoothed):
        low, high = min(low, smoothed.min()), max(high, smoothed.max())
    gap = (high - low or abs(high) or 1.0) * 0.06
    return float(low - gap), float(high + gap)


def write_csv(path: Path, record_columns: dict[str, list[float]], validations: list[tuple[int, float]]) -> None:
    """A row a step, for spreadsheets: the columns by name, and the loss on held-out pictures where it was measured."""
    measured = dict(validations)
    names = list(record_columns)
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([*names, "held_out_loss"])
        if 0 in measured:
            rows.writerow([0, *[""] * (len(names) - 1), measured[0]])
        for values in zip(*record_columns.values(), strict=True):
            shown = ["" if v != v else f"{v:.8g}" for v in values[1:]]
            rows.writerow([int(values[0]), *shown, measured.get(int(values[0]), "")])
