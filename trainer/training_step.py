"""One optimizer step: batches, noise, the UNet's prediction, the loss, and the adapters' update."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from trainer import device as devices
from trainer import diffusion, optim
from trainer.batches import torch_seed

if TYPE_CHECKING:
    from trainer.batches import Entry, View
    from trainer.session import Session


def optimizer_step(session: Session, step: int, total: int) -> tuple[torch.Tensor, dict[str, float]]:
    """One optimizer step, `accumulation` batches; returns the loss (on the device, unread) and the learning rates."""
    s, trained = session.settings, session.trained
    for part in trained.adapter.parts:
        session.backbone.part(part).train()
    rates = optim.set_learning_rates(trained.optimizer, s, step, total)
    losses = []
    for number in range(step * s.accumulation, (step + 1) * s.accumulation):
        loss = batch_loss(session, session.batches.batch(number), number)
        trained.scaler.scale(loss / s.accumulation).backward()  # type: ignore[no-untyped-call]
        losses.append(loss.detach())
    if s.gradient_clip:
        trained.scaler.unscale_(trained.optimizer)
        torch.nn.utils.clip_grad_norm_(trained.adapter.parameters(), s.gradient_clip)
    trained.scaler.step(trained.optimizer)
    trained.scaler.update()
    trained.optimizer.zero_grad(set_to_none=True)
    return torch.stack(losses).mean(), rates


def batch_loss(session: Session, views: list[View], number: int) -> torch.Tensor:
    """The weighted loss of a batch, a scalar in fp32."""
    s, device, dtype = session.settings, session.device, session.dtype
    latents, masks = zip(*(session.cache.picture(v.entry, v.mirrored) for v in views), strict=True)
    x0 = torch.stack(latents)  # (B, C, h, w)
    mask = diffusion.stacked_masks(masks, x0)
    torch.manual_seed(torch_seed(s.seed, number))
    draw = diffusion.draw(x0, s)
    weights = diffusion.loss_weights(session.schedule, draw.t, s) * torch.tensor(
        [v.entry.weight for v in views]
    )  # (B,)
    noisy = session.schedule.noisy(x0, draw.input_noise, draw.t).to(device, dtype, non_blocking=True)
    target = session.schedule.target(x0, draw.noise, draw.t).to(device, non_blocking=True)
    told = session.told([v.text for v in views])
    ids = torch.tensor([size_ids(v.entry) for v in views], device=device)
    with devices.autocast(device, dtype):
        prediction = session.backbone.denoise(noisy, draw.t.to(device), told, ids)
    if mask is not None:
        mask = mask.to(device, non_blocking=True)
    return (diffusion.picture_losses(prediction, target, s, mask) * weights.to(device)).mean()


def size_ids(entry: Entry) -> list[int]:
    """Original height and width, crop top and left, target height and width: SDXL's size conditioning.

    Podell et al. 2023, section 2.2, https://arxiv.org/abs/2307.01952
    """
    picture, fit = entry.picture, entry.fit
    width, height = picture.seen_px
    return [height, width, fit.corner[1], fit.corner[0], fit.size[1], fit.size[0]]
