"""Previews: every sampler draws, the same seed the same picture, and the parameters can be read as A1111's."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

import numpy
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
)
from PIL import Image

from tests import tiny_models as makers
from trainer import families, picture_text
from trainer.preview import SAMPLERS, Painter
from trainer.settings import PreviewPrompt

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.families.backbone import Conditioning

CPU = torch.device("cpu")
PROMPT = PreviewPrompt(prompt="a round thing", negative="blob", width=64, height=64, steps=4)


def painter(folder: Path, dtype: torch.dtype = torch.float32, **changes: Any) -> Painter:
    backbone = families.load(folder)
    backbone.load_unet(dtype, CPU)
    backbone.load_text_encoders(dtype, CPU)
    return replace(Painter(backbone, CPU, dtype, "epsilon", False), **changes)


@torch.no_grad()
def told(artist: Painter, text: str) -> Conditioning:
    return artist.backbone.encode_captions([text], clip_skip=1, max_tokens=75)


def drawn(artist: Painter, prompt: PreviewPrompt = PROMPT) -> numpy.ndarray:
    picture = artist.draw(prompt, told(artist, prompt.prompt), told(artist, prompt.negative))
    assert (picture.mode, picture.size) == ("RGB", (prompt.width, prompt.height))
    return numpy.asarray(picture).astype(int)


# Drawing


def test_the_table_holds_exactly_what_the_settings_offer() -> None:
    assert set(SAMPLERS) == set(get_args(PreviewPrompt.model_fields["sampler"].annotation))


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(
    ("prediction", "zero_snr"), [("epsilon", False), ("v_prediction", False), ("v_prediction", True)]
)
def test_every_sampler_draws_finite_pictures(
    sampler: Any, prediction: str, zero_snr: bool, tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture's bytes are always finite, so the latents are looked at."""
    artist = painter(tiny_models["sd1"], prediction=prediction, zero_snr=zero_snr)
    seen: list[torch.Tensor] = []
    decode = artist.backbone.decode_latents
    monkeypatch.setattr(artist.backbone, "decode_latents", lambda x: (seen.append(x), decode(x))[1])
    pixels = drawn(artist, PROMPT.model_copy(update={"sampler": sampler}))
    assert seen[0].isfinite().all()
    assert 0.01 < float(seen[0].std()) < 100
    assert pixels.std() > 1


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_same_seed_draws_the_same_picture_and_another_one_another(
    sampler: Any, tiny_models: dict[str, Path]
) -> None:
    artist = painter(tiny_models["sd1"])
    prompt = PROMPT.model_copy(update={"sampler": sampler})
    torch.manual_seed(1)
    first = drawn(artist, prompt)
    torch.manual_seed(2)
    assert (drawn(artist, prompt) == first).all()
    assert (drawn(artist, prompt.model_copy(update={"seed": 43})) != first).any()


def test_samplers_draw_different_pictures(tiny_models: dict[str, Path]) -> None:
    artist = painter(tiny_models["sd1"])
    pictures = [drawn(artist, PROMPT.model_copy(update={"sampler": s})).tobytes() for s in SAMPLERS]
    assert len(set(pictures)) == len(SAMPLERS)


@pytest.mark.parametrize("family", families.FAMILIES)
def test_prompt_negative_prompt_guidance_and_size_change_the_picture(family: str, tiny_models: dict[str, Path]) -> None:
    artist = painter(tiny_models[family])
    first = drawn(artist)
    for change in ({"guidance": 1.5}, {"prompt": "xyz"}, {"negative": "xyz"}, {"steps": 5}):
        assert (drawn(artist, PROMPT.model_copy(update=change)) != first).any(), change
    assert drawn(artist, PROMPT.model_copy(update={"width": 96})).shape == (64, 96, 3)


def test_guidance_1_does_not_look_at_the_negative_prompt(tiny_models: dict[str, Path]) -> None:
    """without + 1 x (with - without) = with."""
    artist = painter(tiny_models["sd1"])
    prompt = PROMPT.model_copy(update={"guidance": 1.0})
    difference = drawn(artist, prompt) - drawn(artist, prompt.model_copy(update={"negative": "xyz"}))
    assert abs(difference).max() <= 1  # rounding of the sum above


@pytest.mark.parametrize("training", [True, False])
def test_drawing_restores_the_training_mode_and_leaves_torchs_random_state_alone(
    training: bool, tiny_models: dict[str, Path]
) -> None:
    artist = painter(tiny_models["sd1"])
    unet = artist.backbone.part("unet").train(training)
    before = torch.get_rng_state()
    drawn(artist)
    assert unet.training is training
    assert torch.equal(torch.get_rng_state(), before)


def test_bf16_draws_nearly_the_same_picture(tiny_models: dict[str, Path]) -> None:
    exact = drawn(painter(tiny_models["sd1"]))
    rough = drawn(painter(tiny_models["sd1"], torch.bfloat16))
    assert 0 < abs(exact - rough).mean() < 3


def by_diffusers(folder: Path, scheduler: type[Any], **options: Any) -> numpy.ndarray:
    """The pipeline's own picture of `PROMPT`."""
    pipe = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = scheduler.from_config(pipe.scheduler.config, **options)
    generator = torch.Generator().manual_seed(PROMPT.seed)
    sizes = {"width": 64, "height": 64, "num_inference_steps": 4, "guidance_scale": 7.0}
    return numpy.asarray(pipe(PROMPT.prompt, negative_prompt=PROMPT.negative, generator=generator, **sizes).images[0])


DIFFUSERS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "dpmpp_2m": (DPMSolverMultistepScheduler, {}),
    "dpmpp_2m_karras": (DPMSolverMultistepScheduler, {"use_karras_sigmas": True}),
    "ddim": (DDIMScheduler, {}),
    "euler": (EulerDiscreteScheduler, {}),
    "euler_a": (EulerAncestralDiscreteScheduler, {}),
}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_draws_as_diffusers_does(sampler: Any, tiny_models: dict[str, Path]) -> None:
    """Within 2 of 255. Every family with a LoRA: test_export.py."""
    scheduler, options = DIFFUSERS[sampler]
    ours = drawn(painter(tiny_models["sd1"]), PROMPT.model_copy(update={"sampler": sampler}))
    assert abs(ours - by_diffusers(tiny_models["sd1"], scheduler, **options)).max() <= 2


def test_a_zero_snr_v_model_is_drawn_as_by_diffusers(tmp_path: Path) -> None:
    """Within 2 of 255; the pipeline needs trailing timesteps to begin in pure noise (Lin et al. 2023, section 3.3)."""
    folder = makers.make("sd2", tmp_path / "sd2", prediction="v_prediction")
    prompt = PROMPT.model_copy(update={"sampler": "ddim"})
    ours = drawn(painter(folder, prediction="v_prediction", zero_snr=True), prompt)
    theirs = by_diffusers(folder, DDIMScheduler, rescale_betas_zero_snr=True, timestep_spacing="trailing")
    assert abs(ours - theirs).max() <= 2


# Parameters


PARAMETER = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


def as_a1111_reads(text: str) -> dict[str, str]:
    """A1111's `parse_generation_parameters`: the last line holds the facts, before it prompt and negative prompt."""
    *lines, last = text.strip().split("\n")
    assert len(PARAMETER.findall(last)) >= 3, "else A1111 takes the last line for a part of the prompt"
    out = {"prompt": "", "negative": ""}
    part = "prompt"
    for line in map(str.strip, lines):
        if line.startswith("Negative prompt:"):
            part, line = "negative", line.removeprefix("Negative prompt:").strip()
        out[part] += ("\n" if out[part] else "") + line
    for key, value in PARAMETER.findall(last):
        out[key] = json.loads(value) if value[0] == '"' and value[-1] == '"' else value
    return out


@pytest.mark.parametrize(
    "prompt", ["a hat", "a hat, (red:1.2), <lora:x:1>", "zörblin 猫", "two\nlines", 'a "quoted" one']
)
@pytest.mark.parametrize("negative", ["", "blob, ugly", "häßlich"])
def test_a1111_reads_the_parameters_back(prompt: str, negative: str) -> None:
    chosen = PROMPT.model_copy(update={"prompt": prompt, "negative": negative, "guidance": 7.5, "seed": 42})
    extra = {"Model": "my, model: v2", "LoRA": 'zörb "lin" \\o/, x', "LoRA step": "200", "Note": "two\nlines"}
    read = as_a1111_reads(picture_text.parameters_text(chosen, extra))
    facts = {"Steps": "4", "Sampler": "DPM++ 2M", "CFG scale": "7.5", "Seed": "42", "Size": "64x64"}
    assert read == {"prompt": prompt, "negative": negative} | facts | extra | {"Note": "two lines"}


def test_an_empty_negative_prompt_is_left_out() -> None:
    text = picture_text.parameters_text(PROMPT.model_copy(update={"negative": ""}), {})
    assert text == "a round thing\nSteps: 4, Sampler: DPM++ 2M, CFG scale: 7, Seed: 42, Size: 64x64"


@pytest.mark.parametrize(
    ("prompt", "chunk"),
    [("a hat", b"tEXtparameters\0a hat"), ("zörblin 猫", b"iTXtparameters\0\0\0\0\0z\xc3\xb6rblin")],
)
def test_the_png_carries_the_parameters(prompt: str, chunk: bytes, tmp_path: Path) -> None:
    """ASCII in a tEXt chunk, which everybody reads, other text in an iTXt chunk, which is UTF-8."""
    text = picture_text.parameters_text(PROMPT.model_copy(update={"prompt": prompt}), {})
    picture_text.save(Image.new("RGB", (8, 8), "red"), tmp_path / "a.part", text)
    assert chunk in (tmp_path / "a.part").read_bytes()
    with Image.open(tmp_path / "a.part") as picture:
        assert picture.format == "PNG"
        assert picture.info["parameters"] == text
