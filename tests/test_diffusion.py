"""Noise, timesteps, targets and weights against numbers computed here with numpy from the papers' formulas."""

from __future__ import annotations

import math

import numpy
import pytest
import torch

from trainer import diffusion
from trainer.diffusion import EPSILON, V_PREDICTION, Schedule
from trainer.errors import ModelError
from trainer.settings import TrainingSettings

STABLE_DIFFUSION = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
}
OFF = TrainingSettings(min_snr_gamma=0)  # every trick of this module off
SHAPE = (2, 4, 16, 24)


def alpha_bar() -> numpy.ndarray:
    """Product of 1 - beta; beta is the square of a line between the square roots, as in Rombach et al. In fp64."""
    return numpy.cumprod(1 - numpy.linspace(math.sqrt(0.00085), math.sqrt(0.012), 1000) ** 2)


def snr_at(t: int) -> float:
    return alpha_bar()[t] / (1 - alpha_bar()[t])


def schedule(prediction: str = EPSILON, **settings: object) -> Schedule:
    return Schedule.of(STABLE_DIFFUSION | {"prediction_type": prediction}, OFF.model_copy(update=settings))


def latents(seed: int, *, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# The schedule


@pytest.mark.parametrize("t", [0, 1, 100, 500, 999])
def test_the_schedule_is_scaled_linear(t: int) -> None:
    assert float(schedule().alpha_bar[t]) == pytest.approx(alpha_bar()[t], rel=1e-4)


def test_stable_diffusion_ends_at_its_well_known_0_00466() -> None:
    """0.0047 at t = 999: Lin et al. 2023, table 1 (sqrt 0.068265)."""
    assert float(schedule().alpha_bar[999].sqrt()) == pytest.approx(0.068265, abs=2e-6)


def test_zero_terminal_snr_follows_algorithm_1_of_lin_et_al() -> None:
    """Shift sqrt(alpha_bar) so that the last is 0, scale it so that the first is as before, square."""
    root = numpy.sqrt(alpha_bar())
    expected = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
    ours = schedule(zero_terminal_snr=True).alpha_bar
    assert float(ours[-1]) == 0
    assert float(ours[0]) == pytest.approx(alpha_bar()[0], rel=1e-6)
    # fp32 betas, multiplied 1000 times: 2e-4 of the value, or 1e-7 near the end
    assert ours.numpy() == pytest.approx(expected, rel=2e-4, abs=1e-7)


def test_a_scheduler_that_asks_for_zero_terminal_snr_gets_it() -> None:
    ours = Schedule.of(STABLE_DIFFUSION | {"rescale_betas_zero_snr": True}, OFF)
    assert float(ours.alpha_bar[-1]) == 0


def test_a_linear_schedule_of_another_length_is_respected() -> None:
    ours = Schedule.of({"num_train_timesteps": 10, "beta_schedule": "linear", "beta_start": 0.1, "beta_end": 0.2}, OFF)
    assert ours.alpha_bar.numpy() == pytest.approx(numpy.cumprod(1 - numpy.linspace(0.1, 0.2, 10)), rel=1e-5)


@pytest.mark.parametrize(
    ("of_model", "of_settings", "expected"),
    [
        (V_PREDICTION, "auto", V_PREDICTION),
        (EPSILON, "auto", EPSILON),
        (None, "auto", EPSILON),
        (EPSILON, V_PREDICTION, V_PREDICTION),
        (V_PREDICTION, EPSILON, EPSILON),
    ],
)
def test_the_model_says_what_it_predicts_unless_the_settings_do(
    of_model: str | None, of_settings: str, expected: str
) -> None:
    noise = STABLE_DIFFUSION | ({"prediction_type": of_model} if of_model else {})
    assert Schedule.of(noise, OFF.model_copy(update={"prediction": of_settings})).prediction == expected


def test_a_model_that_predicts_something_else_is_refused_in_a_sentence() -> None:
    with pytest.raises(ModelError, match=r'predicts "sample"; only epsilon and v_prediction'):
        schedule("sample")


def test_snr_is_alpha_bar_over_its_rest() -> None:
    ours = schedule().snr(torch.tensor([0, 500, 999]))
    assert ours.numpy() == pytest.approx([snr_at(0), snr_at(500), snr_at(999)], rel=2e-4)


# x_t and targets


def test_noisy_latents_follow_equation_4_of_ho_et_al() -> None:
    x0, noise, t = latents(1), latents(2), torch.tensor([7, 900])
    ours = schedule().noisy(x0, noise, t).numpy()
    for i, a in enumerate(alpha_bar()[[7, 900]]):
        assert ours[i] == pytest.approx(math.sqrt(a) * x0[i].numpy() + math.sqrt(1 - a) * noise[i].numpy(), abs=1e-4)


def test_the_epsilon_target_is_the_noise_itself() -> None:
    x0, noise = latents(1), latents(2)
    assert torch.equal(schedule().target(x0, noise, torch.tensor([7, 900])), noise)


def test_the_v_target_follows_salimans_and_ho() -> None:
    x0, noise, t = latents(1), latents(2), torch.tensor([7, 900])
    v, x_t = schedule(V_PREDICTION).target(x0, noise, t), schedule(V_PREDICTION).noisy(x0, noise, t)
    for i, a in enumerate(alpha_bar()[[7, 900]]):
        assert v[i].numpy() == pytest.approx(
            math.sqrt(a) * noise[i].numpy() - math.sqrt(1 - a) * x0[i].numpy(), abs=1e-4
        )
        # appendix D: x0 = sqrt(a) x_t - sqrt(1 - a) v
        assert (math.sqrt(a) * x_t[i] - math.sqrt(1 - a) * v[i]).numpy() == pytest.approx(x0[i].numpy(), abs=1e-4)


def test_with_zero_terminal_snr_the_last_step_is_pure_noise_and_v_is_minus_the_picture() -> None:
    x0, noise, t = latents(1), latents(2), torch.tensor([999, 999])
    ours = schedule(V_PREDICTION, zero_terminal_snr=True)
    assert torch.equal(ours.noisy(x0, noise, t), noise)
    assert torch.equal(ours.target(x0, noise, t), -x0)


# Loss weights


@pytest.mark.parametrize(
    ("snr", "epsilon", "v"),
    [
        (0.0, 1.0, 0.0),
        (0.25, 1.0, 0.2),
        (4.0, 1.0, 0.8),
        (5.0, 1.0, 5 / 6),
        (20.0, 0.25, 5 / 21),
        (1175.0, 5 / 1175, 5 / 1176),
    ],
)
def test_min_snr_weights_follow_hang_et_al(snr: float, epsilon: float, v: float) -> None:
    """min(SNR, 5) / SNR for epsilon (limit 1 at SNR 0), min(SNR, 5) / (SNR + 1) for v; worked out by hand."""
    assert float(diffusion.min_snr_weights(torch.tensor([snr]), 5.0, EPSILON)) == pytest.approx(epsilon, rel=1e-6)
    assert float(diffusion.min_snr_weights(torch.tensor([snr]), 5.0, V_PREDICTION)) == pytest.approx(v, rel=1e-6)


@pytest.mark.parametrize(
    ("snr", "epsilon", "v"), [(0.0, 31.6228, 0.999), (0.25, 2.0, 0.8), (4.0, 0.5, 0.2), (1e6, 0.0316228, 1 / 1001)]
)
def test_debiased_weights_follow_yu_et_al_with_the_snr_kept_in_bounds(snr: float, epsilon: float, v: float) -> None:
    """1 / sqrt(SNR), 1 / (SNR + 1); SNR between 1e-3 and 1000, so that no weight is infinite."""
    assert float(diffusion.debiased_weights(torch.tensor([snr]), EPSILON)) == pytest.approx(epsilon, rel=1e-5)
    assert float(diffusion.debiased_weights(torch.tensor([snr]), V_PREDICTION)) == pytest.approx(v, rel=1e-5)


@pytest.mark.parametrize("prediction", [EPSILON, V_PREDICTION])
def test_the_settings_choose_the_weights(prediction: str) -> None:
    t, ours = torch.tensor([10, 600, 999]), schedule(prediction)
    snr = numpy.array([snr_at(10), snr_at(600), snr_at(999)])
    below = snr if prediction == EPSILON else snr + 1
    assert torch.equal(diffusion.loss_weights(ours, t, OFF), torch.ones(3))
    weights = diffusion.loss_weights(ours, t, TrainingSettings(min_snr_gamma=3)).numpy()
    assert weights == pytest.approx(numpy.minimum(snr, 3) / below, rel=3e-4)
    weights = diffusion.loss_weights(ours, t, OFF.model_copy(update={"debiased": True})).numpy()
    assert weights == pytest.approx(1 / (numpy.sqrt(snr) if prediction == EPSILON else snr + 1), rel=3e-4)


@pytest.mark.parametrize("prediction", [EPSILON, V_PREDICTION])
@pytest.mark.parametrize("trick", [{"min_snr_gamma": 5}, {"min_snr_gamma": 0, "debiased": True}])
def test_every_weight_is_finite_even_where_the_last_step_is_pure_noise(
    prediction: str, trick: dict[str, float]
) -> None:
    ours = schedule(prediction, zero_terminal_snr=True)
    weights = diffusion.loss_weights(ours, torch.arange(1000), TrainingSettings(**trick))  # type: ignore[arg-type]
    assert weights.isfinite().all()
    assert (weights >= 0).all()


# Noise and timesteps


def drawn(seed: int, shape: tuple[int, ...] = SHAPE, **changes: object) -> diffusion.Draw:
    torch.manual_seed(seed)
    return diffusion.draw(torch.zeros(shape), TrainingSettings(**{"min_snr_gamma": 0} | changes))  # type: ignore[arg-type]


def test_the_defaults_draw_plain_noise() -> None:
    plain, ours = latents(3), drawn(3)
    assert torch.equal(ours.noise, plain)
    assert torch.equal(ours.input_noise, plain)
    assert ours.t.shape == (2,)


def test_the_same_seed_draws_the_same_and_another_one_something_else() -> None:
    tricks = {"noise_offset": 0.1, "input_perturbation": 0.1}
    first, again, other = drawn(3, **tricks), drawn(3, **tricks), drawn(4, **tricks)
    assert torch.equal(first.input_noise, again.input_noise)
    assert torch.equal(first.t, again.t)
    assert not torch.equal(first.input_noise, other.input_noise)


def test_timesteps_cover_the_range_of_the_settings_and_nothing_else() -> None:
    assert set(drawn(0, (500, 1, 1, 1), timestep_min=200, timestep_max=210).t.tolist()) == set(range(200, 210))
    whole = drawn(0, (40_000, 1, 1, 1)).t
    assert (int(whole.min()), int(whole.max())) == (0, 999)
    assert float(whole.float().mean()) == pytest.approx(499.5, abs=5)  # 3.5 standard errors of 1.44


def test_offset_noise_shifts_each_channel_by_one_number() -> None:
    generator = torch.Generator().manual_seed(5)
    noise, shift = torch.randn(SHAPE, generator=generator), torch.randn(2, 4, 1, 1, generator=generator)
    assert drawn(5, noise_offset=0.1).noise.numpy() == pytest.approx(noise.numpy() + 0.1 * shift.numpy(), abs=1e-6)


def test_offset_noise_adds_the_square_of_its_strength_to_the_variance_of_the_means() -> None:
    """Variance of a channel's mean: strength^2 + 1 / pixels; 4096 channels, so a standard error of 2.2 %."""
    means = drawn(6, (1024, 4, 8, 8), noise_offset=0.3).noise.mean(dim=(2, 3))
    assert float(means.var()) == pytest.approx(0.09 + 1 / 64, rel=0.09)
    assert float(drawn(6, (1024, 4, 8, 8)).noise.mean(dim=(2, 3)).var()) == pytest.approx(1 / 64, rel=0.09)


def bilinear(coarse: numpy.ndarray, height: int, width: int) -> numpy.ndarray:
    """Pixel centres at (i + 1/2) in/out - 1/2, held inside the picture; the weights are linear between neighbours."""

    def weights(size: int, out: int) -> numpy.ndarray:
        matrix = numpy.zeros((out, size))
        for i in range(out):
            place = max(0.0, (i + 0.5) * size / out - 0.5)
            low = int(place)
            matrix[i, low] += 1 - (place - low)
            matrix[i, min(low + 1, size - 1)] += place - low
        return matrix

    return weights(coarse.shape[2], height) @ coarse @ weights(coarse.shape[3], width).T


def test_multires_noise_is_whitakers_pyramid() -> None:
    """Replayed from the same seed with numpy: levels i = 0, 1, ... of size / r^i, r in [2, 4], scaled by discount^i."""
    generator = torch.Generator().manual_seed(8)
    B, C, h, w = SHAPE
    out = torch.randn(SHAPE, generator=generator).numpy().astype(float)
    levels = 0
    for i in range(6):
        r = float(torch.rand((), generator=generator)) * 2 + 2
        h, w = max(1, int(h / r**i)), max(1, int(w / r**i))
        out += 0.4**i * bilinear(torch.randn(B, C, h, w, generator=generator).numpy(), *SHAPE[2:])
        levels += 1
        if 1 in (h, w):
            break
    assert 2 <= levels < 6, "the end of the pyramid is part of what is tested"
    ours = drawn(8, multires_iterations=6, multires_discount=0.4).noise.numpy()
    assert ours == pytest.approx(out / out.std(ddof=1), abs=1e-5)


def test_multires_noise_has_unit_spread_and_holds_together_over_wide_areas() -> None:
    """The mean over 8 x 8 pixels of plain noise has variance 1/64; coarse levels must more than double it."""
    noise = drawn(9, (64, 4, 32, 32), multires_iterations=6, multires_discount=0.5).noise
    assert float(noise.std()) == pytest.approx(1, abs=1e-5)
    assert float(torch.nn.functional.avg_pool2d(noise, 8).var()) > 2 / 64


def test_input_perturbation_is_on_the_input_only() -> None:
    plain, ours = drawn(10, (64, 4, 16, 16)), drawn(10, (64, 4, 16, 16), input_perturbation=0.1)
    assert torch.equal(ours.noise, plain.noise)
    assert torch.equal(ours.t, plain.t)
    extra = ours.input_noise - ours.noise
    assert float(extra.std()) == pytest.approx(0.1, rel=0.02)
    assert float((extra * ours.noise).mean()) == pytest.approx(0, abs=0.002)  # independent of the noise itself


# The loss


def test_mse_is_each_pictures_mean_square() -> None:
    prediction, target = latents(1), latents(2)
    expected = ((prediction.numpy() - target.numpy()) ** 2).reshape(2, -1).mean(axis=1)
    assert diffusion.picture_losses(prediction, target, OFF).numpy() == pytest.approx(expected, rel=1e-5)


def test_huber_is_khrapovs_formula() -> None:
    prediction, target, c = latents(1), latents(2), 0.1
    d = prediction.numpy() - target.numpy()
    expected = (2 * c * (numpy.sqrt(d**2 + c**2) - c)).reshape(2, -1).mean(axis=1)
    assert diffusion.picture_losses(
        prediction, target, TrainingSettings(loss="huber", huber_c=c)
    ).numpy() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("scale", "c", "limit"), [(0.01, 10.0, "square"), (100.0, 0.001, "straight")])
def test_huber_is_square_for_small_and_straight_for_large_differences(scale: float, c: float, limit: str) -> None:
    """d^2 for d much below c (which cancels if written as sqrt(d^2 + c^2) - c), 2 c |d| for d much above it."""
    d = latents(1) * scale
    expected = d.square().mean((1, 2, 3)) if limit == "square" else 2 * c * d.abs().mean((1, 2, 3))
    ours = diffusion.picture_losses(d, torch.zeros(SHAPE), TrainingSettings(loss="huber", huber_c=c))
    assert ours.numpy() == pytest.approx(expected.numpy(), rel=1e-4)


def test_losses_of_half_precision_numbers_are_computed_in_fp32() -> None:
    """300^2 overflows fp16 (largest 65504)."""
    prediction, target = (torch.full((1, 4, 2, 2), x, dtype=torch.float16) for x in (300.0, 0.0))
    assert diffusion.picture_losses(prediction, target, OFF).tolist() == [90000.0]


def test_only_what_the_mask_shows_counts_and_a_small_mask_counts_as_much() -> None:
    prediction, target = torch.zeros(2, 4, 8, 8), torch.ones(2, 4, 8, 8)
    target[:, :, :, 4:] = 3
    left = torch.zeros(1, 8, 8)
    left[..., :4] = 1
    mask = diffusion.stacked_masks([left, None], target)
    assert mask is not None and mask.shape == (2, 1, 8, 8)
    alone = TrainingSettings(mask_outside=0)
    assert diffusion.picture_losses(prediction, target, alone, mask).tolist() == pytest.approx([1, 5])
    soft = TrainingSettings(mask_outside=0.5)
    assert diffusion.picture_losses(prediction, target, soft, mask).tolist() == pytest.approx([(1 + 0.5 * 9) / 1.5, 5])
    none = torch.zeros(2, 1, 8, 8)
    assert diffusion.picture_losses(prediction, target, alone, none).tolist() == [0, 0]
    assert diffusion.stacked_masks([None, None], target) is None
    everywhere = torch.ones(2, 1, 8, 8)
    for loss in ("mse", "huber"):
        asked = TrainingSettings(loss=loss)
        plain = diffusion.picture_losses(prediction, target, asked)
        assert diffusion.picture_losses(prediction, target, asked, everywhere).tolist() == pytest.approx(plain.tolist())
