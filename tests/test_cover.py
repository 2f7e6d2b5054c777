"""The small picture in a LoRA file: its size, who can read it, and that no hash and no reader minds it."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from types import SimpleNamespace as Thing
from typing import Any

import numpy
import pytest
import torch
from PIL import Image

from tests.app.run_folders import make_run
from tests.runs import make_run as make_tiny
from tests.runs import train
from trainer import cover, export, lora_file, metadata, occasions, proof
from trainer.errors import DataError
from trainer.events import Warned
from trainer.metadata import Words
from trainer.run_folder import RunFolder


def noise(path: Path, size: tuple[int, int]) -> Path:
    """The picture that compresses worst."""
    pixels = numpy.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=numpy.uint8)
    Image.fromarray(pixels).save(path)
    return path


def thumbnail(told: dict[str, str]) -> Image.Image:
    """As a reader of ModelSpec takes it out."""
    kind, _, text = told["modelspec.thumbnail"].partition(",")
    assert kind == "data:image/jpeg;base64"
    picture = Image.open(io.BytesIO(base64.b64decode(text, validate=True)))
    assert picture.format == "JPEG"
    return picture


@pytest.mark.parametrize(
    ("size", "small"), [((1024, 1024), (256, 256)), ((1216, 832), (256, 175)), ((64, 48), (64, 48))]
)
def test_the_thumbnail_is_small_and_keeps_its_shape(
    size: tuple[int, int], small: tuple[int, int], tmp_path: Path
) -> None:
    told = cover.entries(noise(tmp_path / "a.png", size))
    assert thumbnail(told).size == small
    assert all(len(text) < 40_000 for text in told.values())
    assert told == cover.entries(tmp_path / "a.png"), "the same each time"


def test_a1111_and_comfyui_find_a_list_of_pictures(tmp_path: Path) -> None:
    Image.new("RGBA", (300, 300), (255, 0, 0, 128)).save(tmp_path / "a.png")
    (text,) = json.loads(cover.entries(tmp_path / "a.png")["ssmd_cover_images"])
    picture = Image.open(io.BytesIO(base64.b64decode(text)))
    assert picture.size == (256, 256) and picture.convert("RGB").getpixel((5, 5))[1] == pytest.approx(127, abs=4)  # type: ignore[index]


def test_a_picture_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"a\.png cannot be read as a picture"):
        metadata.retold({}, Words(picture=tmp_path / "a.png"))


def test_the_newest_picture_of_the_first_prompt_is_taken(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs")
    assert [cover.last_drawn(run, step) for step in (9, 10, 15, 25)] == [
        None, run.sample(10, 0, 42), run.sample(10, 0, 42), run.sample(20, 0, 42),
    ]  # fmt: skip
    assert cover.last_drawn(make_run(tmp_path / "runs", "none", samples=()), 20) is None


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "lora_unet_a.lora_down.weight": torch.randn(640, 1000, generator=generator), "lora_unet_a.lora_up.weight": torch.zeros(64, 640), "lora_unet_a.alpha": torch.tensor(4.0),
    }  # fmt: skip


def test_no_hash_changes_with_the_picture(tmp_path: Path) -> None:
    plain = {"ss_output_name": "a", "modelspec.title": "a"}
    export.write(tmp_path / "plain.safetensors", tensors(), plain, "fp16")
    told = metadata.retold(plain, Words(picture=noise(tmp_path / "a.png", (512, 512))))
    export.write(tmp_path / "shown.safetensors", tensors(), told, "fp16")
    one, other = (lora_file.read_header(tmp_path / f"{name}.safetensors").metadata for name in ("plain", "shown"))
    assert "modelspec.thumbnail" in other
    for key in ("sshs_model_hash", "sshs_legacy_hash", "modelspec.hash_sha256"):
        assert one[key] == other[key]


def test_the_run_puts_its_last_preview_into_the_file_it_exports(
    tiny_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    previews = [{"prompt": "a", "steps": 1, "width": 64, "height": 64}]
    run = make_tiny(
        tiny_models["sd1"], pictures, tmp_path, steps=2, preview_every_steps=1, previews=previews, trigger="zorblin"
    )
    train(run)
    told = lora_file.read_header(run.export / "test.safetensors").metadata
    assert told["modelspec.trigger_phrase"] == "zorblin"
    with Image.open(run.sample(2, 0, 42)) as drawn:
        difference = numpy.asarray(thumbnail(told), int) - numpy.asarray(drawn, int)
    assert abs(difference).mean() < 40, "JPEG of an untrained model's noise"
    inside = lora_file.read_header(run.checkpoint(2) / "lora.safetensors").metadata
    assert "modelspec.thumbnail" not in inside, "it would be that of an earlier step"


def test_many_long_tags_do_not_blow_up_the_header() -> None:
    """ComfyUI looks into headers below 8 MiB only. 40 folders with 500 tags of 1,000 signs, ä being six in JSON."""
    texts = [", ".join(f"{n:03d}{'ä' * 1000}" for n in range(500))]
    entries: Any = [
        Thing(picture=Thing(path=Path(f"/d/f{i}/a.png"), relative="a.png", repeats=1), texts=texts) for i in range(40)
    ]
    found = metadata._tag_frequency(Thing(data=Path("/d")), Thing(entries=entries))  # type: ignore[arg-type]
    assert 900_000 < len(json.dumps(found)) < 1_100_000
    assert len(found) == 40 and all(isinstance(n, int) for tags in found.values() for n in tags.values())


def test_a_broken_preview_costs_the_picture_and_not_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunFolder(tmp_path)
    told: list[Any] = []
    found = Thing(skipped="x", sentence=lambda: "", programs=())
    monkeypatch.setattr(proof, "of_session", lambda session, path: found)  # there is no model
    run.samples.mkdir()
    run.sample(2, 0, 42).write_bytes(b"")
    session: Any = Thing(
        folder=run, trained=Thing(adapter=Thing(tensors=lambda copied: tensors())), metadata_at=lambda step: {"modelspec.title": "a"},
        settings=Thing(title="a", export_precision="fp16"),
    )  # fmt: skip
    occasions.write_export(session, 2, told.append)
    assert [e.message.split(" cannot")[0] for e in told if isinstance(e, Warned)] == ["000002_p0_s42.png"]
    metadata_now = lora_file.read_header(run.export / "a.safetensors").metadata
    assert metadata_now["modelspec.title"] == "a" and "modelspec.thumbnail" not in metadata_now
