"""Noise, timesteps, targets and loss weights; every formula with its paper.

Letters: x0 scaled latents (B, C, H, W), t timesteps (B,), ᾱ the cumulative product of the alphas (T,),
SNR(t) = ᾱ / (1 - ᾱ). All draws come from a CPU generator (torch's default one, unless another is given) that is seeded for
each batch, so that a run gives the same noise on any machine and goes on exactly after an interruption.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from diffusers import DDPMScheduler

from trainer.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trainer.settings import TrainingSettings

EPSILON, V_PREDICTION = "epsilon", "v_prediction"


@dataclass(frozen=True)
class Schedule:
    """The noise schedule of a base model. alpha_bar: (T,) fp32 on the CPU. prediction: "epsilon" or "v_prediction"."""

    alpha_bar: torch.Tensor
    prediction: str

    @staticmethod
    def of(noise: dict[str, Any], settings: TrainingSettings) -> Schedule:
        """From the scheduler's configuration; the settings may override what is predicted and ask for zero terminal SNR.

        Zero terminal SNR: betas rescaled as in Lin et al. 2023, algorithm 1, https://arxiv.org/abs/2305.08891

        Raises:
            ModelError: the model predicts something that cannot be trained.
        """
        prediction = noise.get("prediction_type", EPSILON) if settings.prediction == "auto" else settings.prediction
        if prediction not in (EPSILON, V_PREDICTION):
            raise ModelError(
                f'The base model\'s scheduler says that it predicts "{prediction}"; only {EPSILON} and {V_PREDICTION} '
                "can be trained. Choose another base model, or set the prediction type if its scheduler is mistaken."
            )
        zero = settings.zero_terminal_snr or bool(noise.get("rescale_betas_zero_snr"))
        scheduler = DDPMScheduler.from_config(noise, rescale_betas_zero_snr=zero)
        return Schedule(scheduler.alphas_cumprod.float(), prediction)

    def snr(self, t: torch.Tensor) -> torch.Tensor:
        """Signal-to-noise ratio at t, (B,)."""
        a = self.alpha_bar[t]
        return a / (1 - a)

    def noisy(self, x0: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """x_t = sqrt(ᾱ) x0 + sqrt(1 - ᾱ) noise. Ho et al. 2020, equation 4, https://arxiv.org/abs/2006.11239."""
        a = _broadcast(self.alpha_bar[t], x0)
        return a.sqrt() * x0 + (1 - a).sqrt() * noise

    def target(self, x0: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """What the UNet shall predict: the noise, or v = sqrt(ᾱ) noise - sqrt(1 - ᾱ) x0.

        v: Salimans & Ho 2022, appendix D, https://arxiv.org/abs/2202.00512
        """
        if self.prediction == EPSILON:
            return noise
        a = _broadcast(self.alpha_bar[t], x0)
        return a.sqrt() * noise - (1 - a).sqrt() * x0


@dataclass(frozen=True)
class Draw:
    """The chance of one batch, on the CPU. noise is the target's, input_noise what is added to the latents; t (B,)."""

    noise: torch.Tensor
    input_noise: torch.Tensor
    t: torch.Tensor

    def part(self, own: slice) -> Draw:
        """The draws of some of the pictures."""
        return Draw(self.noise[own], self.input_noise[own], self.t[own])


def draw(x0: torch.Tensor, settings: TrainingSettings, chance: torch.Generator | None = None) -> Draw:
    """Noise and timesteps for latents of that shape."""
    noise = torch.randn(x0.shape, generator=chance)
    if settings.noise_offset:
        noise = offset_noise(noise, settings.noise_offset, chance)
    if settings.multires_iterations:
        noise = multires_noise(noise, settings.multires_iterations, settings.multires_discount, chance)
    t = torch.randint(settings.timestep_min, settings.timestep_max, (x0.shape[0],), generator=chance)
    input_noise = noise
    if settings.input_perturbation:
        # Ning et al. 2023, algorithm 1, https://arxiv.org/abs/2301.11706: the input is noisier than the target says.
        input_noise = noise + settings.input_perturbation * torch.randn(x0.shape, generator=chance)
    return Draw(noise, input_noise, t)


def offset_noise(noise: torch.Tensor, strength: float, chance: torch.Generator | None = None) -> torch.Tensor:
    """One more draw per picture and channel, the same for all pixels.

    Guttenberg 2023, https://www.crosslabs.org/blog/diffusion-with-offset-noise
    """
    B, C = noise.shape[:2]
    return noise + strength * torch.randn(B, C, 1, 1, generator=chance)


def multires_noise(
    noise: torch.Tensor, iterations: int, discount: float, chance: torch.Generator | None = None
) -> torch.Tensor:
    """Adds ever coarser noise, level i scaled by discount^i, and brings the sum back to unit variance.

    Whitaker 2023, "Multi-Resolution Noise for Diffusion Model Training",
    https://wandb.ai/johnowhitaker/multires_noise/reports/Multi-Resolution-Noise-for-Diffusion-Model-Training--VmlldzozNjYyOTU2
    """
    B, C, H, W = noise.shape
    out, h, w = noise, H, W
    for i in range(iterations):
        ratio = float(torch.rand((), generator=chance)) * 2 + 2
        h, w = max(1, int(h / ratio**i)), max(1, int(w / ratio**i))
        coarse = torch.randn(B, C, h, w, generator=chance)
        out = out + torch.nn.functional.interpolate(coarse, size=(H, W), mode="bilinear") * discount**i
        if min(h, w) == 1:
            break
    return out / out.std()


def loss_weights(schedule: Schedule, t: torch.Tensor, settings: TrainingSettings) -> torch.Tensor:
    """Weight of each picture's loss by its timestep, (B,)."""
    if settings.debiased:
        return debiased_weights(schedule.snr(t), schedule.prediction)
    if settings.min_snr_gamma:
        return min_snr_weights(schedule.snr(t), settings.min_snr_gamma, schedule.prediction)
    return torch.ones(t.shape)


def min_snr_weights(snr: torch.Tensor, gamma: float, prediction: str) -> torch.Tensor:
    """min(SNR, γ) / SNR for epsilon, min(SNR, γ) / (SNR + 1) for v. Hang et al. 2023, https://arxiv.org/abs/2303.09556."""
    if prediction == V_PREDICTION:
        return snr.clamp(max=gamma) / (snr + 1)
    return gamma / snr.clamp(min=gamma)  # the same as min(SNR, γ) / SNR, and 1 where SNR is 0


def debiased_weights(snr: torch.Tensor, prediction: str) -> torch.Tensor:
    """1 / sqrt(SNR) for epsilon, 1 / (SNR + 1) for v; SNR between 1e-3 and 1000.

    Yu et al. 2023, "Debias the Training of Diffusion Models", https://arxiv.org/abs/2310.08442
    """
    snr = snr.clamp(1e-3, 1000)
    return 1 / (snr + 1) if prediction == V_PREDICTION else snr.rsqrt()


def picture_losses(
    prediction: torch.Tensor, target: torch.Tensor, settings: TrainingSettings, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Each picture's loss in fp32, (B,): mean squared error, or pseudo-Huber 2c (sqrt(d² + c²) - c).

    mask: (B, 1, h, w) in [0, 1], how much each place counts; the mean is weighted by it, so that a small mask does not make
    a picture count less. The setting mask_outside is the least that any place counts.

    Huber: Khrapov et al. 2024, https://arxiv.org/abs/2403.16728; close to d² for d much smaller than c. Written as
    2c d² / (sqrt(d² + c²) + c), which is the same but does not cancel for small d.
    """
    d = prediction.float() - target.float()
    losses = d.square()
    if settings.loss == "huber":
        c = settings.huber_c
        losses = 2 * c * losses / ((losses + c * c).sqrt() + c)
    if mask is None:
        return losses.flatten(1).mean(1)
    weights = (settings.mask_outside + (1 - settings.mask_outside) * mask).expand_as(losses).flatten(1)
    return (losses.flatten(1) * weights).sum(1) / weights.sum(1).clamp(min=1e-6)


def stacked_masks(masks: Sequence[torch.Tensor | None], x0: torch.Tensor) -> torch.Tensor | None:
    """The masks of a batch of latents `x0`, (B, 1, h, w); a picture without one counts everywhere. None when none has one."""
    if all(mask is None for mask in masks):
        return None
    everywhere = torch.ones(1, *x0.shape[2:])
    return torch.stack([everywhere if mask is None else mask for mask in masks])


def _broadcast(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return values.view(-1, *[1] * (like.dim() - 1))
