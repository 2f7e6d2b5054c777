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
) -> float:
    """Mean squared error of the prediction, unweighted, over all pictures and `TIMESTEPS`.

    pictures: latents (C, h, w), conditioning and size ids (1, 6) of each, on the CPU. Picture i always gets the noise of
    seed i, whatever ran before.
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
        many = type(told).cat([told] * len(TIMESTEPS)).to(device, dtype)
        with devices.autocast(device, dtype):
            predicted = backbone.denoise(noisy.to(dtype), t.to(device), many, ids.repeat(len(TIMESTEPS), 1).to(device))
        losses.append((predicted.float() - target).square().mean())
    unet.train(was_training)
    return float(torch.stack(losses).mean())
