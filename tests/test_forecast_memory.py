"""forecast_memory.py: the verdict, what earlier runs correct, and changes that really make a run fit."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

import resources
from trainer import families, forecast_memory, memory_model
from trainer.families import FAMILIES, anatomy
from trainer.forecast import PastRun
from trainer.forecast_memory import Outlook, correction, judged, outlook
from trainer.machine import Kind, Memory, Spot
from trainer.settings import TrainingSettings

GB = 10**9


def published(family: str, monkeypatch: pytest.MonkeyPatch) -> anatomy.Anatomy:
    """Of a model of true size, from the configurations that ship."""
    with monkeypatch.context() as patch:
        patch.setattr(families, "detect", lambda _base: FAMILIES[family])
        return anatomy.of(resources.path("configs", family))


@pytest.fixture(scope="module")
def bodies() -> dict[str, anatomy.Anatomy]:
    with pytest.MonkeyPatch.context() as patch:
        return {family: published(family, patch) for family in FAMILIES}


def at(free_gb: float, kind: Kind = "cpu", precision: Any = "bf16") -> Spot:
    return Spot(kind, precision, Memory(64 * GB, round(free_gb * GB)))


def told(bodies: Any, spot: Spot, family: str = "sd1", **changes: Any) -> Outlook:
    settings = TrainingSettings(**changes)
    return outlook(bodies[family], settings, spot, (settings.resolution, settings.resolution))


def test_the_verdict_has_a_margin() -> None:
    assert [judged(n * GB, at(10)) for n in (8, 9, 10, 11)] == ["fits", "tight", "tight", "no"]
    assert judged(GB, Spot("cuda", "bf16", None)) == "unknown"


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
@pytest.mark.parametrize("changes", [{"batch_size": 8}, {"resolution": 1024}, {"batch_size": 4, "precision": "fp32"}])
@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
def test_a_change_that_is_offered_makes_the_run_fit(
    bodies: Any, kind: Kind, changes: dict[str, Any], share: float
) -> None:
    precision = changes.get("precision", "bf16")
    whole = told(bodies, at(1000, kind, precision), packed_weights="off", **changes)
    spot = at(whole.bytes * share / GB, kind, precision)
    found = told(bodies, spot, packed_weights="off", **changes)
    assert found.verdict == "no" and found.mends
    for mend in found.mends:
        settings = TrainingSettings(**({"packed_weights": "off"} | changes | dict(mend.changes)))
        size = (settings.resolution, settings.resolution)
        again = outlook(bodies["sd1"], settings, spot, size)
        assert again.verdict in ("fits", "tight") and again.bytes == pytest.approx(mend.bytes, rel=0.02)
    costs = [forecast_memory._cost(mend) for mend in found.mends]
    assert costs == sorted(costs) and len(found.mends) <= forecast_memory.SHOWN


def test_one_change_is_offered_before_several_and_a_smaller_picture_only_when_nothing_else_helps(bodies: Any) -> None:
    whole = told(bodies, at(1000), batch_size=8, packed_weights="off").bytes / GB
    one = told(bodies, at(whole * 0.95), batch_size=8, packed_weights="off").mends
    assert all(len(mend.changes) == 1 and "resolution" not in mend.changes for mend in one)
    assert "micro_batch" in one[0].changes and one[0].exact
    little = told(bodies, at(1.9), resolution=1024, packed_weights="off")
    assert [list(mend.changes)[-1] for mend in little.mends] in (["resolution"], [])
    assert told(bodies, at(0.2)).mends == () and told(bodies, at(0.2)).verdict == "no"


def test_packed_weights_are_the_first_to_go(bodies: Any) -> None:
    need = told(bodies, at(1000), packed_weights="on").bytes / GB
    first = told(bodies, at(need * 0.99), packed_weights="on").mends[0]
    assert dict(first.changes) == {"packed_weights": "off"} and first.slower < 1.2


def test_packed_weights_are_left_out_when_there_is_no_room(bodies: Any) -> None:
    assert told(bodies, at(40)).need.packs and not told(bodies, at(4)).need.packs
    assert not told(bodies, at(40, "cuda")).need.packs and not told(bodies, at(40), dora=True).need.packs


def test_what_a_run_without_a_known_memory_needs_is_said_without_a_verdict(bodies: Any) -> None:
    found = told(bodies, Spot("cuda", "bf16", None))
    assert found.verdict == "unknown" and found.share is None and found.bytes > GB and not found.mends


# Correction


def work(bodies: Any, **changes: Any) -> memory_model.Work:
    settings = TrainingSettings(**changes)
    return memory_model.Work(bodies["sd1"], settings, [], at(20), (512, 512))


def past(peak_share: float, device: str = "cpu", base: str = "demo", **changes: Any) -> PastRun:
    settings = TrainingSettings(base=base, resolution=128, bucket_step=8, bucket_min=32, **changes)
    run = PastRun(settings, 1.0, "kind", device, "bf16", peak_gb=1.0)
    computed = forecast_memory._computed(run, memory_model.Work(None, settings, [], at(20), (128, 128)))  # type: ignore[arg-type]
    return dataclasses.replace(run, peak_gb=peak_share * computed / GB)


def test_earlier_runs_correct_the_model_by_their_median_within_bounds(bodies: Any) -> None:
    now = work(bodies)
    assert correction(now, []) == 1
    assert correction(now, [past(1.2), past(1.1), past(7.0)]) == pytest.approx(1.2)
    assert correction(now, [past(7.0)]) == forecast_memory.MOST
    assert correction(now, [past(0.1)]) == forecast_memory.LEAST
    assert correction(now, [past(1.1)] * 5 + [past(1.4)] * 5) == pytest.approx(1.1)


def test_runs_elsewhere_or_of_bases_that_are_gone_correct_nothing(bodies: Any) -> None:
    gone = PastRun(TrainingSettings(base="/gone"), 1.0, "kind", "cpu", "bf16", peak_gb=9.0)
    silent = dataclasses.replace(past(1.3), peak_gb=0.0)
    assert correction(work(bodies), [past(1.3, device="cuda:0"), gone, silent]) == 1


def test_the_verdict_follows_the_corrected_figure(bodies: Any) -> None:
    settings = TrainingSettings(packed_weights="off")
    plain = outlook(bodies["sd1"], settings, at(1000), (512, 512))
    tight = at(plain.bytes * 1.25 / GB)
    assert outlook(bodies["sd1"], settings, tight, (512, 512)).verdict == "fits"
    assert outlook(bodies["sd1"], settings, tight, (512, 512), [past(1.4)] * 3).verdict == "no"
