"""The validation loss: a number that means the same whenever it is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from trainer import adapter as adapters
from trainer import families, validation
from trainer.adapter import Adapter
from trainer.diffusion import EPSILON, V_PREDICTION, Schedule
from trainer.families import FAMILIES
from trainer.settings import TrainingSettings

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.families.backbone import Backbone, Conditioning

    HeldOut = list[tuple[torch.Tensor, Conditioning, torch.Tensor]]

CPU = torch.device("cpu")


def loaded(folder: Path) -> Backbone:
    backbone = families.load(folder)
    backbone.load_unet(torch.float32, CPU)
    backbone.load_text_encoders(torch.float32, CPU)
    return backbone


@torch.no_grad()
def held_out(backbone: Backbone) -> HeldOut:
    """Two pictures of different shapes."""
    told = [backbone.encode_captions([t], clip_skip=1, max_tokens=75) for t in ("a hat", "a round thing")]
    generator = torch.Generator().manual_seed(1)
    latents = [torch.randn(4, 8, 8, generator=generator), torch.randn(4, 8, 12, generator=generator)]
    ids = [torch.tensor([[64, 64, 0, 0, 64, 64]]), torch.tensor([[64, 100, 0, 2, 64, 96]])]
    return list(zip(latents, told, ids, strict=True))


def schedule(backbone: Backbone, prediction: str = EPSILON) -> Schedule:
    return Schedule.of(backbone.noise | {"prediction_type": prediction}, TrainingSettings())


@pytest.mark.parametrize("prediction", [EPSILON, V_PREDICTION])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_it_is_the_mean_square_over_all_pictures_and_timesteps(
    family: str, prediction: str, tiny_models: dict[str, Path]
) -> None:
    """Worked out picture by picture and timestep by timestep; picture i has the noise of seed i."""
    backbone = loaded(tiny_models[family])
    pictures = held_out(backbone)
    squares = []
    for i, (x0, told, ids) in enumerate(pictures):
        noises = torch.randn(6, *x0.shape, generator=torch.Generator().manual_seed(i))
        for noise, t in zip(noises, (80, 240, 400, 560, 720, 880), strict=True):
            a = schedule(backbone).alpha_bar[t]
            x_t = a.sqrt() * x0 + (1 - a).sqrt() * noise
            target = noise if prediction == EPSILON else a.sqrt() * noise - (1 - a).sqrt() * x0
            predicted = backbone.denoise(x_t[None], torch.tensor([t]), told, ids)[0]
            squares.append(float((predicted - target).square().mean()))
    measured = validation.loss(backbone, schedule(backbone, prediction), pictures, torch.float32)
    assert measured == pytest.approx(sum(squares) / len(squares), rel=1e-4)


def test_two_measurements_are_equal_whatever_was_drawn_between_them(tiny_models: dict[str, Path]) -> None:
    backbone = loaded(tiny_models["sdxl"])
    pictures = held_out(backbone)
    torch.manual_seed(1)
    first = validation.loss(backbone, schedule(backbone), pictures, torch.float32)
    torch.manual_seed(2)
    torch.randn(7)
    assert validation.loss(backbone, schedule(backbone), pictures, torch.float32) == first


def test_it_leaves_torchs_random_state_alone(tiny_models: dict[str, Path]) -> None:
    """Otherwise measuring would change the noise that training draws next."""
    backbone = loaded(tiny_models["sd1"])
    before = torch.get_rng_state()
    validation.loss(backbone, schedule(backbone), held_out(backbone), torch.float32)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("training", [True, False])
def test_it_measures_without_dropout_and_restores_the_training_mode(
    training: bool, tiny_models: dict[str, Path]
) -> None:
    backbone = loaded(tiny_models["sd1"])
    settings = TrainingSettings(rank=4, dropout=0.9, targets=("projections",))
    adapter = Adapter(backbone, adapters.fresh_sizes(backbone, settings), settings)
    with torch.no_grad():
        for layer in adapter.layers.values():
            layer.lora_B["default"].weight.normal_()
    pictures, unet = held_out(backbone), backbone.part("unet")
    unet.eval()
    expected = validation.loss(backbone, schedule(backbone), pictures, torch.float32)
    unet.train(training)
    assert validation.loss(backbone, schedule(backbone), pictures, torch.float32) == expected
    assert unet.training is training
    assert all(p.grad is None for p in adapter.parameters())


def test_bf16_measures_nearly_the_same(tiny_models: dict[str, Path]) -> None:
    """bf16 keeps 8 bits, so about 1 % on a loss of about 1."""
    backbone = loaded(tiny_models["sd1"])
    pictures = held_out(backbone)
    exact = validation.loss(backbone, schedule(backbone), pictures, torch.float32)
    backbone.load_unet(torch.bfloat16, CPU)
    assert validation.loss(backbone, schedule(backbone), pictures, torch.bfloat16) == pytest.approx(exact, rel=0.02)
