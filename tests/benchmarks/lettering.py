"""Measures the doctor's detector of lettering on drawn pictures, and grows the trees that weigh what it measures.

    python -m tests.benchmarks.lettering [--pictures 600] [--seed 100] [--grow [1000]] [--processes N]

Recall: of the pictures with lettering that can be seen, in how many some is found. False alarms: of the clean ones, in how
many. `--grow` grows new trees on that many pictures with and as many without lettering, writes them into
`trainer/pixel_letter_trees.py`, and measures before and after it. The pictures that are measured come from another seed than
those that the trees grow on, and some of their typefaces are not among those of the others.
"""

from __future__ import annotations

import argparse
import importlib
import os
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as app/__main__.py has it for the command

import numpy as np

from tests.benchmarks.lettering_drawn import CELL, GROWN_FACES, MEASURED_FACES, Lettered, clean, lettered
from trainer import pixel_letter_trees
from trainer.pixel_letters import MEASURES
from trainer.pixel_overlays import LETTERING, candidates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Numbers = NDArray[Any]

GROWN_SEED = 1
VISIBLE = 25  # levels between letters and ground; fainter lettering is told apart
THRESHOLDS = (1.25, 2.0, 2.25, 2.5, 2.75, 3.0, 3.25)
ON_LETTERS, OFF_LETTERS = 0.6, 0.15  # shares of a row that make it one of letters, or surely none
SHORTEST, LOWEST = 1.3, 0.4  # a row of letters, in their size; a smaller one is of something that lies below them
LETTER_ROWS, OTHER_ROWS = 3, 12  # of a picture with lettering the best rows count, of a clean one the worst
ROUNDS, RATE = 120, 0.2  # trees, and how much of each is added
AGAIN = 10  # trees, after which it is asked which rows are best
BOUNDS = 23  # of a measure that are tried
WEIGHT, SMOOTH = 1000.0, 5.0  # of all rows of letters, as of all others; and what keeps small leaves small


class Examined(NamedTuple):
    """A drawn picture and the rows that the detector sees in it.

    kind: of lettering, or of what a clean picture shows.
    contrast: of the lettering, levels; None if the picture is clean.
    measures: (R, MEASURES) of the rows.
    on_letters: (R,) share of each row that lies on letters, 0 to 1, as far as it is as large as they are.
    """

    kind: str
    contrast: float | None
    measures: Numbers
    on_letters: Numbers

    @property
    def score(self) -> float:
        """Log of odds of the row that looks most like letters."""
        return float(pixel_letter_trees.lettering(self.measures).max(initial=-np.inf))


def draw(seed: int, count: int, faces: tuple[str, ...], processes: int) -> list[Examined]:
    """`count` pictures with lettering and as many without, examined."""
    with ProcessPoolExecutor(processes) as pool:
        found = list(pool.map(partial(_with_letters, seed, faces), range(count), chunksize=16))
        return found + list(pool.map(partial(_without, seed), range(count), chunksize=16))


def _with_letters(seed: int, faces: tuple[str, ...], number: int) -> Examined:
    drawn = lettered(seed, number, faces)
    cells = np.pad(drawn.letters, 1)  # letters reach into the cells beside them
    near = cells[:-2, 1:-1] | cells[2:, 1:-1] | cells[1:-1, :-2] | cells[1:-1, 2:] | cells[1:-1, 1:-1]
    measures, on_letters = [np.empty((0, len(MEASURES)))], []
    for rows in candidates(drawn.picture):
        measures.append(rows.measures)
        on_letters += [_share(near, box, drawn) for box in rows.box]
    return Examined(drawn.kind, drawn.contrast, np.concatenate(measures), np.array(on_letters))


def _without(seed: int, number: int) -> Examined:
    picture, kind = clean(seed, number)
    measures = np.concatenate([np.empty((0, len(MEASURES))), *(rows.measures for rows in candidates(picture))])
    return Examined(kind, None, measures, np.zeros(len(measures)))


def _share(letters: NDArray[np.bool_], box: Numbers, drawn: Lettered) -> float:
    """Of the middle line of a box (4,), level or along its diagonal, how much is on letters; half at most of a row too small."""
    along = np.linspace(0.12, 0.88, 30)
    down = np.full_like(along, 0.5) if drawn.slant == 0 else 1 - along if drawn.slant > 0 else along
    left, top, right, bottom = box
    column = np.clip((left + along * (right - left)) / CELL, 0, letters.shape[1] - 1).astype(np.int64)
    row = np.clip((top + down * (bottom - top)) / CELL, 0, letters.shape[0] - 1).astype(np.int64)
    share = float(letters[row, column].mean())
    up, across = abs(np.sin(np.radians(drawn.slant))), np.cos(np.radians(drawn.slant))
    wide, tall = (drawn.px * (SHORTEST * a + LOWEST * b) for a, b in ((across, up), (up, across)))
    return share if right - left >= wide and bottom - top >= tall else min(share, 0.5)


def report(found: Sequence[Examined]) -> None:
    """Prints recall by kind, false alarms by what clean pictures show, and both for other thresholds."""
    scores = np.array([f.score for f in found])
    by_kind: dict[str, list[float]] = defaultdict(list)
    for f, score in zip(found, scores, strict=True):
        if f.contrast is None or f.contrast >= VISIBLE:
            by_kind["clean " * (f.contrast is None) + f.kind].append(score)
    for kind, own in by_kind.items():
        number = sum(score > LETTERING for score in own)
        print(f"{kind:<16} {number:>4} of {len(own):<4} {number / len(own):7.1%}")
    is_clean = np.array([f.contrast is None for f in found])
    is_seen = np.array([f.contrast is not None and f.contrast >= VISIBLE for f in found])
    print(f"{'threshold':<16} {'recall':>7} {'with faint':>10} {'false':>7}")
    for bound in THRESHOLDS:
        recall, of_all, false = (float((scores[which] > bound).mean()) for which in (is_seen, ~is_clean, is_clean))
        print(f"{bound:<16} {recall:7.1%} {of_all:10.1%} {false:7.2%}{'  in use' * (bound == LETTERING)}")


def grow(found: Sequence[Examined]) -> str:
    """Trees of two questions by gradient boosting of the log loss, one a line, as `trainer/pixel_letter_trees.py` reads them."""
    measures = np.concatenate([f.measures for f in found])
    lengths = [len(f.measures) for f in found]
    picture = np.repeat(np.arange(len(found)), lengths)
    is_clean = np.repeat([f.contrast is None for f in found], lengths)
    on_letters = np.concatenate([f.on_letters for f in found])
    bounds = [_bounds(values) for values in measures.T]
    places = np.stack([np.searchsorted(b, v, "left") for b, v in zip(bounds, measures.T, strict=True)], 1)
    total, score = np.zeros(len(measures)), measures[:, MEASURES.index("letter")]
    lines = []
    for number in range(ROUNDS):
        if number % AGAIN == 0:
            is_letters = _best(score, picture, on_letters > ON_LETTERS, LETTER_ROWS)
            is_other = _best(score, picture, is_clean, OTHER_ROWS)
            is_other |= _best(score, picture, ~is_clean & (on_letters < OFF_LETTERS), LETTER_ROWS)
            used = np.flatnonzero(is_letters | is_other)
            truth = is_letters[used]
            weight = np.where(truth, WEIGHT / is_letters.sum(), WEIGHT / is_other.sum())
        odds = 1 / (1 + np.exp(-total[used]))
        tree = _tree(places[used], weight * (truth - odds), weight * odds * (1 - odds))
        total += tree.values(places)
        score = total
        lines.append(tree.told(bounds))
    return "\n".join(lines)


def _bounds(values: Numbers) -> Numbers:
    """That part a measure's values into equal shares, as many figures as are written."""
    return np.unique([float(f"{v:.3g}") for v in np.quantile(values, np.linspace(0, 1, BOUNDS + 2)[1:-1])])


def _best(score: Numbers, picture: Numbers, which: Numbers, number: int) -> Numbers:
    """Of `which` (N,) those rows that are among the `number` best of their picture."""
    at = np.flatnonzero(which)
    at = at[np.lexsort((-score[at], picture[at]))]
    place = np.arange(len(at)) - np.searchsorted(picture[at], picture[at])
    best = np.zeros(len(score), bool)
    best[at[place < number]] = True
    return best


class Tree(NamedTuple):
    """Measures asked for and the numbers of their bounds: first, up to it, above it; and what is added (2, 2)."""

    questions: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    added: Numbers

    def values(self, places: Numbers) -> Numbers:
        """What is added for rows (N, MEASURES) of which it is known between which bounds they lie."""
        first, low, high = (places[:, measure] > bound for measure, bound in self.questions)
        values: Numbers = self.added[first.astype(np.int64), np.where(first, high, low).astype(np.int64)]
        return values

    def told(self, bounds: list[Numbers]) -> str:
        """The line of the table."""
        asked = [f"{MEASURES[measure]} {bounds[measure][bound]:.3g}" for measure, bound in self.questions]
        sides = [
            f"{question} {low:.3g} {high:.3g}" for question, (low, high) in zip(asked[1:], self.added, strict=True)
        ]
        return " | ".join([asked[0], *sides])


def _tree(places: Numbers, slope: Numbers, bend: Numbers) -> Tree:
    """The tree that lessens the loss most, of which each row (N, MEASURES) has this slope and bend."""
    first = _question(places, slope, bend)
    is_above = places[:, first[0]] > first[1]
    sides, added = [], np.zeros((2, 2))
    for i, side in enumerate((~is_above, is_above)):
        measure, bound = _question(places[side], slope[side], bend[side])
        is_high = places[side, measure] > bound
        for j, part in enumerate((~is_high, is_high)):
            added[i, j] = RATE * slope[side][part].sum() / (bend[side][part].sum() + SMOOTH)
        sides.append((measure, bound))
    return Tree((first, sides[0], sides[1]), added)


def _question(places: Numbers, slope: Numbers, bend: Numbers) -> tuple[int, int]:
    """The measure and the bound that part the rows best."""
    best, question = -np.inf, (0, 0)
    for measure, place in enumerate(places.T):
        below = np.cumsum(np.bincount(place, slope, BOUNDS + 1)[:BOUNDS])
        bend_below = np.cumsum(np.bincount(place, bend, BOUNDS + 1)[:BOUNDS])
        gain = below**2 / (bend_below + SMOOTH)
        gain += (slope.sum() - below) ** 2 / (bend.sum() - bend_below + SMOOTH)
        bound = int(gain.argmax())
        if gain[bound] > best and np.any(place > bound):
            best, question = gain[bound], (measure, bound)
    return question


def write(table: str) -> None:
    """Puts the table in the place of the one that `trainer/pixel_letter_trees.py` has."""
    path = Path(pixel_letter_trees.__file__)
    before, start, rest = path.read_text(encoding="utf-8").partition('TREES = """\n')
    _, end, after = rest.partition('\n"""\n')
    path.write_text(before + start + table + end + after, encoding="utf-8")
    importlib.reload(pixel_letter_trees)


def main() -> None:
    """Prints tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=600, help="with lettering, and as many without")
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--grow", type=int, nargs="?", const=1000, default=0, metavar="PICTURES")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args()
    if options.seed == GROWN_SEED:
        parser.error(f"the trees grow on seed {GROWN_SEED}: measure on another one")
    found = draw(options.seed, options.pictures, MEASURED_FACES, options.processes)
    report(found)
    if options.grow:
        write(grow(draw(GROWN_SEED, options.grow, GROWN_FACES, options.processes)))
        print(f"\nwith trees grown on {2 * options.grow} pictures of seed {GROWN_SEED}")
        report(found)


if __name__ == "__main__":
    main()
