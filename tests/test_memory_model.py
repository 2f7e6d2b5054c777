"""memory_model.py: against peaks that were measured (tests/benchmarks/forecast.py), and in what it says of each setting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from accelerate import init_empty_weights
from diffusers import UNet2DConditionModel

import resources
from tests import tiny_models
from trainer import adapter_sizes, checkpointing, families, memory_model, settings_file
from trainer.families import FAMILIES, anatomy
from trainer.forecast_memory import COMFORTABLE
from trainer.machine import Kind, Memory, Spot
from trainer.memory_model import Need, Work, need
from trainer.preflight import base_path

GB = 10**9
ROWS: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "data" / "forecast.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, anatomy.Anatomy]:
    """Of every base in the matrix: the demo, tiny models, and those of published size."""
    found = {"demo": anatomy.of(base_path("demo"))}
    for family in FAMILIES:
        found[family] = anatomy.of(tiny_models.make(family, tmp_path_factory.mktemp("memory") / family))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(families, "detect", lambda _base, family=family: FAMILIES[family])
            found[f"published {family}"] = anatomy.of(resources.path("configs", family))
    return found


def work(body: anatomy.Anatomy, kind: Kind = "cpu", free_gb: float = 1000, **changes: Any) -> Work:
    settings = settings_file.from_dict({"precision": "bf16", "device": kind} | changes)
    spot = Spot(kind, settings.precision, Memory(2000 * GB, round(free_gb * GB)))  # type: ignore[arg-type]
    side = settings.resolution
    return Work(body, settings, adapter_sizes.adapted(body, settings), spot, (side, side))


def computed(row: dict[str, Any], bodies: dict[str, anatomy.Anatomy]) -> Need:
    values = {k: v for k, v in row["values"].items() if k != "device"}
    values["packed_weights"] = "on" if row["started"]["packed"] else "off"
    return need(work(bodies[row["base"]], **values))


def test_the_matrix_is_wide_enough() -> None:
    values = [row["values"] for row in ROWS.values()]
    assert len(ROWS) >= 24 and not any(row["failed"] for row in ROWS.values())
    assert {"demo", *FAMILIES, "published sd1"} <= {row["base"] for row in ROWS.values()}
    assert len({v["resolution"] for v in values}) >= 3 and len({v["rank"] for v in values}) >= 2
    for name, options in {
        "gradient_checkpointing": {"some", "all"}, "quantization": {"nf4"}, "precision": {"fp32", "bf16"},
        "packed_weights": {"off"}, "batch_size": {1, 8}, "train_text_encoder": {True},
    }.items():  # fmt: skip
        assert options <= {v.get(name, 1 if name == "batch_size" else None) for v in values}, name


def test_the_mean_error_is_at_most_8_percent(bodies: dict[str, anatomy.Anatomy]) -> None:
    errors = {name: computed(row, bodies).peak.bytes / row["peak"] - 1 for name, row in ROWS.items()}
    assert sum(map(abs, errors.values())) / len(errors) <= 0.08, errors


@pytest.mark.parametrize("name", ROWS)
def test_it_never_says_that_a_run_fits_which_does_not(name: str, bodies: dict[str, anatomy.Anatomy]) -> None:
    """With just too little memory for what was measured, the verdict must not be "fits"."""
    row = ROWS[name]
    assert computed(row, bodies).peak.bytes > COMFORTABLE * (row["peak"] - 1)


# What each setting does


def peak(body: anatomy.Anatomy, kind: Kind = "cpu", **changes: Any) -> int:
    return need(work(body, kind, packed_weights="off", **changes)).peak.bytes


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
@pytest.mark.parametrize(
    "changes",
    [
        {"gradient_checkpointing": "all"}, {"gradient_checkpointing": "some"}, {"micro_batch": 1}, {"resolution": 384},
        {"quantization": "nf4"}, {"quantization": "int8"}, {"batch_size": 2}, {"targets": ["attention"]},
    ],
)  # fmt: skip
def test_what_saves_memory_is_known_to_save_it(kind: Kind, changes: dict[str, Any], bodies: Any) -> None:
    plain = {"batch_size": 4, "resolution": 512}
    assert peak(bodies["published sd1"], kind, **plain | changes) < peak(bodies["published sd1"], kind, **plain)


@pytest.mark.parametrize(
    "changes", [{"precision": "fp32"}, {"rank": 128}, {"dora": True}, {"dropout": 0.1}, {"train_text_encoder": True}]
)
def test_what_costs_memory_is_known_to_cost_it(changes: dict[str, Any], bodies: Any) -> None:
    body = bodies["published sdxl"]
    assert peak(body, **changes) > peak(body)


def test_some_checkpointing_lies_between_none_and_all(bodies: Any) -> None:
    modes = [peak(bodies["published sd1"], resolution=768, gradient_checkpointing=m) for m in ("off", "some", "all")]
    assert modes == sorted(modes, reverse=True) and len(set(modes)) == 3


@pytest.mark.parametrize("family", FAMILIES)
def test_the_blocks_that_are_computed_again_are_those_that_the_worker_chooses(family: str, bodies: Any) -> None:
    with init_empty_weights():
        unet = UNet2DConditionModel.from_config(
            json.loads(resources.path("configs", family, "unet", "config.json").read_text())
        )
    neediest = {id(module) for module in checkpointing.neediest(unet)}
    chosen = {name for name, module in unet.named_modules() if id(module) in neediest}
    assert memory_model.computed_again(bodies[f"published {family}"].unet, "some") == chosen and chosen


def test_memory_grows_linearly_with_pictures_and_pixels(bodies: Any) -> None:
    body = bodies["published sd1"]
    results = [
        next(s for s in need(work(body, packed_weights="on", **changes)).stages if s.title == "training").parts["intermediate results"]
        for changes in ({}, {"batch_size": 3}, {"resolution": 1024})
    ]  # fmt: skip
    assert results[1] == pytest.approx(3 * results[0], rel=0.01)
    assert results[2] == pytest.approx(4 * results[0], rel=0.05)  # captions stay as long as they are


def test_each_phase_is_there_and_the_peak_is_the_largest(bodies: Any) -> None:
    made = need(work(bodies["demo"], previews=[{"prompt": "x", "width": 2048, "height": 2048}], resolution=128))
    assert [stage.title for stage in made.stages] == [
        "encoding the pictures", "encoding the captions", "loading the base model", "training", "drawing previews",
    ]  # fmt: skip
    assert made.peak.title == "drawing previews" and made.peak.bytes == max(stage.bytes for stage in made.stages)
    assert "drawing previews" not in [s.title for s in need(work(bodies["demo"], preview_every_steps=0)).stages]


def test_an_offloaded_model_is_mostly_elsewhere(bodies: Any) -> None:
    body = bodies["published sdxl"]
    assert peak(body, "cuda") - peak(body, "cuda", offload=True) > 0.5 * memory_model.weight_bytes(work(body), "unet")
    assert peak(body, offload=True) == peak(body)  # on a CPU there is nowhere else


def test_quantised_weights_are_as_small_as_their_formats(bodies: Any) -> None:
    body = bodies["published sdxl"]
    linear = sum(layer.weights for layer in body.layers("unet") if not layer.kernel)
    sizes = {q: memory_model.weight_bytes(work(body, quantization=q), "unet") for q in ("none", "int8", "nf4")}
    assert sizes["none"] - sizes["int8"] == pytest.approx(linear, rel=0.01)
    assert sizes["none"] - sizes["nf4"] == pytest.approx(1.484 * linear, rel=0.01)


def test_the_largest_bucket_is_the_one_with_most_pixels() -> None:
    assert memory_model.largest_size([(64, 512), (256, 192), (448, 64)], 512) == (256, 192)
    assert memory_model.largest_size([], 512) == (512, 512)
