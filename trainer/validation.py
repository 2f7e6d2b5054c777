"""Measures the loss on held-out pictures, always with the same noise and timesteps, so that two values can be compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from trainer import device as devices

if TYPE_CHECKING:
    from trainer.diffusion import Schedule
    from trainer.families.backbone import Backbone, Conditioning

TIMESTEPS = (80, 240, 400, 560, 720, 880)


@torch.no_grad()
def loss(
    backbone: Backbone,
    schedule: Schedule,
    pictures: list[tuple[torch.Tensor, Conditioning, torch.Tensor]],
    dtype: torch.dtype,
    at_once: int = 0,
) -> float:
    """Mean squared error of the prediction, unweighted, over all pictures and `TIMESTEPS`.

    pictures: latents (C, h, w), conditioning and size ids (1, 6) of each, on the CPU. Picture i always gets the noise of
    seed i, whatever ran before. at_once: how many timesteps are computed together; 0: all.
    """
    unet = backbone.unet
    assert unet is not None
    device, was_training = unet.device, unet.training
    unet.eval()
    losses = []
    for i, (x0, told, ids) in enumerate(pictures):
        noise = torch.randn(len(TIMESTEPS), *x0.shape, generator=torch.Generator().manual_seed(i))
        t, x0 = torch.tensor(TIMESTEPS), x0.expand(len(TIMESTEPS), *x0.shape)
        noisy, target = schedule.noisy(x0, noise, t).to(device), schedule.target(x0, noise, t).to(device)
        many, size_ids = (
            type(told).cat([told] * len(TIMESTEPS)).to(device, dtype),
            ids.repeat(len(TIMESTEPS), 1).to(device),
        )
        parts = []
        for some in (slice(n, n + (at_once or len(t))) for n in range(0, len(t), at_once or len(t))):
            with devices.autocast(device, dtype):
                parts.append(backbone.denoise(noisy[some].to(dtype), t[some].to(device), many[some], size_ids[some]))
        losses.append((torch.cat(parts).float() - target).square().mean())
    unet.train(was_training)
    return float(torch.stack(losses).mean())
