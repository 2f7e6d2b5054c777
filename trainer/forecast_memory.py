"""Whether a run will fit into memory, where it is tightest, and the cheapest changes that make it fit. Imports no torch."""

from __future__ import annotations

import itertools
import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from trainer import adapter_sizes, memory_model
from trainer.errors import AtelierError
from trainer.families import anatomy
from trainer.memory_model import Need, Work

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from trainer.families.anatomy import Anatomy
    from trainer.forecast import PastRun
    from trainer.machine import Spot
    from trainer.settings import TrainingSettings

Verdict = Literal["fits", "tight", "no", "unknown"]

COMFORTABLE = 0.85  # of the free memory; up to here a forecast that is wrong by a sixth still fits
LATEST = 5  # so many of the runs that are alike correct the model
LEAST, MOST = 0.85, 1.5  # by how much they may
SHOWN = 3  # changes that are offered

# How much longer a step takes, measured on SD 1.5 (shared/performance.md and tests/benchmarks/step_speed.py).
_SLOWER = {"checkpointing some": 1.15, "checkpointing all": 1.4, "int8": 1.1, "nf4": 1.1, "offload": 1.5}
_PACKED_SMALL, _PACKED_LARGE = 1.35, 1.08  # below 400 px, and from there up
_MICRO = 1.06  # for each halving: fewer pictures at once


@dataclass(frozen=True)
class Mend:
    """A change of settings that makes a run fit. slower: factor on the time of a step; exact: whether the result is the same."""

    changes: Mapping[str, Any]
    bytes: int
    slower: float
    exact: bool = True


@dataclass(frozen=True)
class Outlook:
    """What is to be expected of a run's memory.

    need: by phase, as the model says; bytes: the peak, corrected by earlier runs on this machine; mends: the cheapest first,
    each of them enough, or the best there is when nothing is.
    """

    need: Need
    spot: Spot
    bytes: int
    verdict: Verdict
    mends: tuple[Mend, ...] = ()

    @property
    def share(self) -> float | None:
        """Of the free memory; None where that is unknown."""
        return None if self.spot.memory is None else self.bytes / max(1, self.spot.memory.free)


def outlook(
    body: Anatomy, settings: TrainingSettings, spot: Spot, size: tuple[int, int], history: Sequence[PastRun] = ()
) -> Outlook:
    """What a run needs, whether it fits, and what could be done. size: of the largest bucket, px; history: the latest first.

    Raises:
        ModelError: the LoRA to start from cannot be read.
    """
    work = Work(body, settings, adapter_sizes.adapted(body, settings), spot, size)
    factor = correction(work, history)
    found = memory_model.need(work)
    peak = round(found.peak.bytes * factor)
    verdict = judged(peak, spot)
    mends = tuple(_mends(work, factor)) if verdict in ("tight", "no") else ()
    return Outlook(found, spot, peak, verdict, mends)


def judged(need_bytes: int, spot: Spot) -> Verdict:
    """The need against the free memory."""
    if spot.memory is None:
        return "unknown"
    share = need_bytes / max(1, spot.memory.free)
    return "fits" if share <= COMFORTABLE else "tight" if share <= 1 else "no"


def correction(work: Work, history: Sequence[PastRun]) -> float:
    """What the model's figures are multiplied with: the median of measured over computed peaks of earlier runs here.

    Only runs on the same kind of device count, of bases that are still there; the factor is kept within bounds.
    """
    ratios: list[float] = []
    for run in history:
        if run.peak_gb and run.device.partition(":")[0] == work.spot.kind and len(ratios) < LATEST:
            computed = _computed(run, work)
            ratios += [run.peak_gb * 1e9 / computed] if computed else []
    return min(MOST, max(LEAST, statistics.median(ratios))) if ratios else 1.0


def _computed(run: PastRun, work: Work) -> int:
    """What the model says of an earlier run; 0 when its base is gone or was another family's."""
    from trainer import preflight

    try:
        body = anatomy.of(preflight.base_path(run.settings.base), run.settings.vae)
        layers = adapter_sizes.adapted(body, run.settings)
    except (AtelierError, OSError):
        return 0
    spot = type(work.spot)(work.spot.kind, run.precision, None)  # type: ignore[arg-type]
    packed = run.settings.model_copy(update={"packed_weights": "on" if run.packed else "off"})
    side = run.settings.resolution
    return memory_model.need(Work(body, packed, layers, spot, (side, side))).peak.bytes


# Mends


def _mends(work: Work, factor: float) -> list[Mend]:
    """Single changes that are enough, the cheapest first; else the cheapest of several together; else smaller pictures."""
    choices = _choices(work)
    frugal = _tried(work, {name: value for some in choices for name, value in some[-1].items()}, factor)
    reached = judged(frugal.bytes, work.spot)
    if reached == "no":
        return _smaller(work, frugal, factor)
    single = [_tried(work, change, factor) for some in choices for change in some]
    enough = sorted((m for m in single if judged(m.bytes, work.spot) == "fits"), key=_cost)
    if enough:
        return _one_of_each(enough)[:SHOWN]
    for changes in sorted(_combinations(choices), key=lambda changes: _price(work, changes)):
        if judged((mend := _tried(work, changes, factor)).bytes, work.spot) == reached:
            return [mend]
    return [frugal]


def _smaller(work: Work, frugal: Mend, factor: float) -> list[Mend]:
    """Smaller pictures alone, or with everything else that saves memory; nothing when not even that is enough."""
    for before in ({}, frugal.changes):
        for change in _resolutions(work):
            if judged((mend := _tried(work, {**before, **change}, factor)).bytes, work.spot) != "no":
                return [mend]
    return []


def _price(work: Work, changes: Mapping[str, Any]) -> tuple[bool, float, int]:
    slower, exact = _slower(work, changes)
    return not exact, slower, len(changes)


def _cost(mend: Mend) -> tuple[bool, float, int, int]:
    return not mend.exact, mend.slower, len(mend.changes), mend.bytes


def _one_of_each(mends: list[Mend]) -> list[Mend]:
    """The cheapest for each setting."""
    out: dict[tuple[str, ...], Mend] = {}
    for mend in mends:
        out.setdefault(tuple(mend.changes), mend)
    return list(out.values())


def _choices(work: Work) -> list[list[dict[str, Any]]]:
    """The changes that need not alter what is learnt, by setting; the last of each saves most."""
    s, spot = work.settings, work.spot
    order = ("off", "some", "all")
    halves = [n for n in (s.batch_size // 2, s.batch_size // 4, 1) if 0 < n < work.pictures]
    kinds = {"none": ("int8", "nf4"), "int8": ("nf4",), "nf4": ()}[s.quantization] if spot.kind != "mps" else ()
    choices: list[list[dict[str, Any]]] = [
        [{"packed_weights": "off"}] if memory_model.will_pack(work) else [],
        [{"gradient_checkpointing": m} for m in order[order.index(s.gradient_checkpointing) + 1 :]],
        [{"micro_batch": n} for n in dict.fromkeys(halves)],
        [{"quantization": kind} for kind in kinds],
        [{"offload": True}] if spot.kind == "cuda" and not s.offload else [],
    ]
    return [some for some in choices if some]


def _combinations(choices: list[list[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """Every way to take one change of some of the settings, or none."""
    nothing: dict[str, Any] = {}
    for chosen in itertools.product(*([nothing, *some] for some in choices)):
        yield {name: value for some in chosen for name, value in some.items()}


def _resolutions(work: Work) -> Iterator[dict[str, Any]]:
    """Smaller pictures, which alter what is learnt; in whole bucket steps."""
    s = work.settings
    for share in (0.875, 0.75, 0.625, 0.5, 0.375, 0.25):
        side = int(s.resolution * share) // s.bucket_step * s.bucket_step
        if s.bucket_step <= side < s.resolution and side >= 64:
            yield {"resolution": side}


def _tried(work: Work, changes: Mapping[str, Any], factor: float) -> Mend:
    settings = work.settings.model_copy(update=dict(changes))
    size = work.size
    if "resolution" in changes:
        by = changes["resolution"] / work.settings.resolution
        size = (round(size[0] * by), round(size[1] * by))
    changed = Work(work.body, settings, work.layers, work.spot, size)
    slower, exact = _slower(work, changes)
    return Mend(dict(changes), round(memory_model.need(changed).peak.bytes * factor), slower, exact)


def _slower(work: Work, changes: Mapping[str, Any]) -> tuple[float, bool]:
    """How much longer a step takes, and whether what is learnt stays the same."""
    slower, exact = 1.0, True
    for name, value in changes.items():
        match name:
            case "packed_weights":
                slower *= _PACKED_SMALL if work.settings.resolution < 400 else _PACKED_LARGE
            case "gradient_checkpointing":
                slower *= _SLOWER[f"checkpointing {value}"]
            case "micro_batch":
                slower *= _MICRO ** math.log2(work.pictures / value)
            case "quantization":
                slower, exact = slower * _SLOWER[value], False
            case "offload":
                slower *= _SLOWER["offload"]
            case "resolution":
                slower, exact = slower * (value / work.settings.resolution) ** 2, False
    return slower, exact
