"""One optimizer step: batches, the UNet's prediction, the loss, and the adapters' update."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from trainer import device as devices
from trainer import diffusion, heap, optim

if TYPE_CHECKING:
    from trainer.feed import Batch
    from trainer.session import Session


def optimizer_step(session: Session, step: int, total: int) -> tuple[torch.Tensor, dict[str, float]]:
    """One optimizer step, `accumulation` batches; returns the loss (on the device, unread) and the learning rates."""
    loss = gradients(session, step)
    return loss, update(session, step, total)


def gradients(session: Session, step: int) -> torch.Tensor:
    """Computes the step's gradients; returns its loss, on the device, unread. Neither weights nor optimizer change."""
    s, trained = session.settings, session.trained
    for part in trained.adapter.parts:
        session.backbone.part(part).train()
    losses = []
    for number in range(step * s.accumulation, (step + 1) * s.accumulation):
        batch = session.feed.batch(number)
        torch.manual_seed(batch.seed)
        for some in batch.slices(s.micro_batch):
            loss = batch_loss(session, some.to(session.device)) / s.accumulation
            trained.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
    return session.ranks.add_up(trained.adapter.parameters(), torch.stack(losses).sum())


def update(session: Session, step: int, total: int) -> dict[str, float]:
    """Changes the weights by the gradients, which are gone afterwards; returns the learning rates."""
    s, trained = session.settings, session.trained
    rates = optim.set_learning_rates(trained.optimizer, s, step, total)
    if s.gradient_clip:
        trained.scaler.unscale_(trained.optimizer)
        torch.nn.utils.clip_grad_norm_(trained.adapter.parameters(), s.gradient_clip)
    trained.scaler.step(trained.optimizer)
    trained.scaler.update()
    trained.optimizer.zero_grad(set_to_none=True)
    if session.device.type == "cpu" and s.has_memory_to_spare:
        heap.recycle()  # all that stays is there since the first step; the next ones need the same again
    return rates


def batch_loss(session: Session, batch: Batch) -> torch.Tensor:
    """What these pictures add to the weighted loss of their whole batch, a scalar in fp32.

    The parts of a batch that is computed in slices, or by several processes, add up to its loss and its gradient.
    """
    told = session.told(list(batch.texts)) if batch.told is None else batch.told
    with devices.autocast(session.device, session.dtype):
        prediction = session.backbone.denoise(batch.noisy, batch.t, told, batch.size_ids)
    losses = diffusion.picture_losses(prediction, batch.target, session.settings, batch.mask)
    return (losses * batch.weights).sum() / batch.whole
