"""The demo that ships with the app: the model's architecture and size, the data sets, and that a short training works."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from PIL import Image

import resources
from tests.runs import train
from trainer import captions, dataset, families, lora_file, run_folder, settings_file
from trainer.events import Exported, Validated

if TYPE_CHECKING:
    from pathlib import Path

MODEL = resources.path("demo", "model")


def demo_settings(name: str, runs: Path, **changes: object) -> run_folder.RunFolder:
    values = settings_file.read_dict(resources.path("demo", f"{name}.toml")) | {"runs_folder": str(runs)} | changes
    return run_folder.create(settings_file.from_dict(values))


def test_the_model_is_at_most_20_mb_of_fp16_in_the_layout_of_sd_1() -> None:
    assert sum(p.stat().st_size for p in MODEL.rglob("*") if p.is_file()) <= 20e6
    assert families.detect(MODEL).id == "sd1"
    for part, name in (
        ("unet", "diffusion_pytorch_model"),
        ("vae", "diffusion_pytorch_model"),
        ("text_encoder", "model"),
    ):
        header = lora_file.read_header(MODEL / part / f"{name}.safetensors")
        assert set(header.dtypes.values()) == {"F16"}
    keys = lora_file.read_header(MODEL / "text_encoder" / "model.safetensors").shapes
    assert all(k.startswith("text_model.") for k in keys)  # as SD 1.5 has it; transformers 5 leaves it out
    scheduler = json.loads((MODEL / "scheduler" / "scheduler_config.json").read_text())
    assert (scheduler["beta_schedule"], scheduler["prediction_type"]) == ("scaled_linear", "epsilon")


def test_any_text_tokenises() -> None:
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(MODEL / "tokenizer")
    for text in ("zorblin, meadow", "übergröße 猫 🙂", "a_b-c/d"):
        ids = tokenizer(text).input_ids
        assert ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id and len(ids) > 3
        assert tokenizer.eos_token_id not in ids[1:-1]
    assert len(tokenizer("a red cat").input_ids) == 5  # words of the base's captions are whole tokens


@pytest.mark.parametrize(("name", "trigger"), [("character", "zorblin"), ("style", "nwave style")])
def test_the_data_sets_are_captioned_and_held_out_pictures_are_others(name: str, trigger: str) -> None:
    data, held_out = (dataset.scan(resources.path("demo", folder)) for folder in (name, f"{name}_validation"))
    assert (len(data.pictures), len(held_out.pictures)) == (16, 8)
    assert not data.problems and not held_out.problems
    for picture in (*data.pictures, *held_out.pictures):
        assert captions.with_trigger(picture.caption, trigger) == picture.caption
        assert (picture.width_px, picture.height_px) == (128, 128)
    contents = {p.path.read_bytes() for p in (*data.pictures, *held_out.pictures)}
    assert len(contents) == 24


@pytest.fixture(scope="module")
def short_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[run_folder.RunFolder, list[object]]:
    """Thirty steps of the character demo with one preview, exported in fp32."""
    previews = [{"prompt": "zorblin, meadow, flat drawing", "seed": 3, "guidance": 5.0, "steps": 10}]
    folder = demo_settings(
        "character", tmp_path_factory.mktemp("demo"), steps=30, batch_size=4, warmup_steps=3, save_every_steps=0, preview_every_steps=30,
        validate_every_steps=30, previews=previews, export_precision="fp32",
    )  # fmt: skip
    return folder, list(train(folder))


def test_a_short_training_lowers_the_held_out_loss(short_run: tuple[run_folder.RunFolder, list[object]]) -> None:
    """At fixed noise and timesteps; the whole demo reaches far more (tests/benchmarks/demo_quality.py)."""
    before, after = [e.loss for e in short_run[1] if isinstance(e, Validated)]
    assert after < 0.97 * before


def test_the_exported_file_draws_the_engines_own_preview_in_diffusers(
    short_run: tuple[run_folder.RunFolder, list[object]],
) -> None:
    """Same seed, sampler and prompt; fp32 on both sides; at most 2 of 255 levels apart in any pixel."""
    folder, events = short_run
    exported = next(e for e in events if isinstance(e, Exported))
    assert exported.largest_difference == 0
    pipeline = StableDiffusionPipeline.from_pretrained(MODEL, torch_dtype=torch.float32, local_files_only=True)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    untrained = draw(pipeline)
    pipeline.load_lora_weights(folder.path / exported.path)
    theirs = draw(pipeline)
    ours = numpy.array(Image.open(folder.sample(30, 0, 3))).astype(int)
    assert numpy.abs(ours - theirs).max() <= 2
    assert numpy.abs(ours - untrained).max() > 20, "the LoRA changed nothing, so the comparison proves nothing"


def draw(pipeline: StableDiffusionPipeline) -> numpy.ndarray:
    picture = pipeline(
        "zorblin, meadow, flat drawing", num_inference_steps=10, guidance_scale=5.0, height=128, width=128, generator=torch.Generator().manual_seed(3)
    ).images[0]  # fmt: skip
    return numpy.array(picture).astype(int)
