"""The whole run, in the order things happen."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from trainer import bundle, checkpoint, cover, diffusion, export, metadata, optim, picture_text, proof, validation
from trainer import device as devices
from trainer.batches import torch_seed
from trainer.errors import DataError, DivergedError, RunError, os_message
from trainer.events import (
    CheckpointSaved,
    Exported,
    Finished,
    Pause,
    Paused,
    Phase,
    PreviewDrawn,
    Resume,
    Resumed,
    SampleNow,
    SaveNow,
    Started,
    StepDone,
    Stop,
    Validated,
    Warned,
)
from trainer.run_folder import safe_name, write_atomically
from trainer.session import Session, prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trainer.batches import Entry, View
    from trainer.control import Control
    from trainer.events import Event
    from trainer.run_folder import RunFolder

REPORT_SECONDS = 0.2  # how often losses are read from the device; reading is a sync point


def train(folder: RunFolder, emit: Callable[[Event], None], control: Control) -> None:
    """Trains the run in `folder` from its last checkpoint (or from the start) to its end.

    Raises:
        AtelierError: the run cannot start or go on; the last good checkpoint stays as it is.
    """
    orders = _Orders()
    session = _prepare_or_stop(folder, emit, control, orders)
    if session is None:
        emit(Finished(max(folder.checkpoints(), default=0), completed=False))
        return
    step, total = _resume(session), session.batches.total_steps
    emit(_started(session, step))
    if step == 0:
        _draw_previews(session, 0, emit)
        _validate(session, 0, emit)
    losses, saved_at = _Losses(session, emit), step
    while step < total and not orders.stop:
        losses.add(step + 1, *_optimizer_step(session, step, total))
        step += 1
        orders.take(control.poll())
        if step == total or orders.any or losses.due or anything_is_due(session, step):
            losses.report()
        if orders.pause:
            saved_at = _save(session, step, emit)
            emit(Paused(step))
            orders.wait_for_resume(control)
            if not orders.stop:
                emit(Resumed(step))
        if saved_at != step and (step == total or orders.save or orders.stop or save_is_due(session, step)):
            saved_at = _save(session, step, emit)
        if step == total or orders.sample or preview_is_due(session, step):
            _draw_previews(session, step, emit)
        if step == total or step % session.settings.validate_every_steps == 0:
            _validate(session, step, emit)
        orders.done()
        losses.restart_clock()
    if orders.stop is None or orders.stop.export:
        _export(session, step, emit)
    emit(Finished(step, completed=step == total))


def save_is_due(session: Session, step: int) -> bool:
    """Whether a checkpoint falls on this step."""
    s = session.settings
    if s.save_every_epochs:
        every = s.save_every_epochs * session.batches.per_epoch
        return step * s.accumulation // every > (step - 1) * s.accumulation // every
    return s.save_every_steps > 0 and step % s.save_every_steps == 0


def preview_is_due(session: Session, step: int) -> bool:
    """Whether previews fall on this step."""
    every = session.settings.preview_every_steps
    return every > 0 and step % every == 0


def anything_is_due(session: Session, step: int) -> bool:
    """Whether anything but training happens after this step; losses are read first, so that events stay in order."""
    return (
        save_is_due(session, step) or preview_is_due(session, step) or step % session.settings.validate_every_steps == 0
    )


@dataclass
class _Orders:
    """What the user asked for since the last step."""

    stop: Stop | None = None
    pause: bool = False
    save: bool = False
    sample: bool = False

    @property
    def any(self) -> bool:
        return bool(self.stop or self.pause or self.save or self.sample)

    def take(self, commands: Sequence[object]) -> None:
        for command in commands:
            match command:
                case Stop():
                    self.stop = command
                case Pause():
                    self.pause = True
                case Resume():
                    self.pause = False
                case SaveNow():
                    self.save = True
                case SampleNow():
                    self.sample = True

    def wait_for_resume(self, control: Control) -> None:
        while self.pause and not self.stop:
            self.take([control.wait()])

    def done(self) -> None:
        self.save = self.sample = self.pause = False


@dataclass
class _Losses:
    """Losses that wait on the device until an event is due."""

    session: Session
    emit: Callable[[Event], None]
    waiting: list[tuple[int, torch.Tensor, dict[str, float], float]] = field(default_factory=list)
    read_at: float = field(default_factory=time.monotonic)
    step_ended_at: float = field(default_factory=time.monotonic)

    @property
    def due(self) -> bool:
        return time.monotonic() - self.read_at >= REPORT_SECONDS

    def add(self, step: int, loss: torch.Tensor, rates: dict[str, float]) -> None:
        now = time.monotonic()
        self.waiting.append((step, loss, rates, now - self.step_ended_at))
        self.step_ended_at = now

    def report(self) -> None:
        """Reads the losses (a sync point), tells them, and stops a run whose loss is no longer a number."""
        if not self.waiting:
            return
        asked_at = time.monotonic()
        values = torch.stack([loss for _, loss, _, _ in self.waiting]).tolist()
        waited = (time.monotonic() - asked_at) / len(self.waiting)  # a GPU was still at work on these steps
        memory = devices.memory_gb(self.session.device)
        for (step, _, rates, seconds), value in zip(self.waiting, values, strict=True):
            self.emit(StepDone(step, value, rates, seconds + waited, memory))
            if value != value or value in (float("inf"), float("-inf")):
                raise DivergedError(
                    f"The loss is no longer a finite number at step {step}: the run diverged. Resume from the last checkpoint with "
                    f"a lower learning rate (it was {rates['unet']:g}), or with precision bf16 or fp32."
                )
        self.waiting, self.read_at = [], time.monotonic()

    def restart_clock(self) -> None:
        self.step_ended_at = time.monotonic()


def _prepare_or_stop(
    folder: RunFolder, emit: Callable[[Event], None], control: Control, orders: _Orders
) -> Session | None:
    """The session, or None when the user stopped while pictures were still being encoded; other orders are kept."""

    def tell(event: Event) -> None:
        emit(event)
        orders.take(control.poll())
        if orders.stop:
            raise _StoppedEarly

    try:
        return prepare(folder, tell)
    except _StoppedEarly:
        return None


class _StoppedEarly(Exception):
    """The user stopped before the first step."""


def _resume(session: Session) -> int:
    """Restores the last checkpoint, if there is one; returns the step to go on from."""
    steps = session.folder.checkpoints()
    if not steps:
        return 0
    checkpoint.restore(session.folder, session.trained, steps[-1])
    return steps[-1]


def _started(session: Session, step: int) -> Started:
    parameters = sum(p.numel() for p in session.trained.adapter.parameters())
    return Started(
        step, session.batches.total_steps, len(session.pictures.training), session.batches.steps_per_epoch, parameters,
        str(session.device), devices.precision_name(session.dtype), session.packed,
    )  # fmt: skip


def _optimizer_step(session: Session, step: int, total: int) -> tuple[torch.Tensor, dict[str, float]]:
    """One optimizer step, `accumulation` batches; returns the loss (on the device, unread) and the learning rates."""
    s, trained = session.settings, session.trained
    for part in trained.adapter.parts:
        session.backbone.part(part).train()
    rates = optim.set_learning_rates(trained.optimizer, s, step, total)
    losses = []
    for number in range(step * s.accumulation, (step + 1) * s.accumulation):
        loss = _batch_loss(session, session.batches.batch(number), number)
        trained.scaler.scale(loss / s.accumulation).backward()  # type: ignore[no-untyped-call]
        losses.append(loss.detach())
    if s.gradient_clip:
        trained.scaler.unscale_(trained.optimizer)
        torch.nn.utils.clip_grad_norm_(trained.adapter.parameters(), s.gradient_clip)
    trained.scaler.step(trained.optimizer)
    trained.scaler.update()
    trained.optimizer.zero_grad(set_to_none=True)
    return torch.stack(losses).mean(), rates


def _batch_loss(session: Session, views: list[View], number: int) -> torch.Tensor:
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
    ids = torch.tensor([_size_ids(v.entry) for v in views], device=device)
    with devices.autocast(device, dtype):
        prediction = session.backbone.denoise(noisy, draw.t.to(device), told, ids)
    if mask is not None:
        mask = mask.to(device, non_blocking=True)
    return (diffusion.picture_losses(prediction, target, s, mask) * weights.to(device)).mean()


def _size_ids(entry: Entry) -> list[int]:
    """Original height and width, crop top and left, target height and width: SDXL's size conditioning.

    Podell et al. 2023, section 2.2, https://arxiv.org/abs/2307.01952
    """
    picture, fit = entry.picture, entry.fit
    width, height = picture.seen_px
    return [height, width, fit.corner[1], fit.corner[0], fit.size[1], fit.size[0]]


def _save(session: Session, step: int, emit: Callable[[Event], None]) -> int:
    described = export.with_hashes(session.trained.adapter.tensors(), session.metadata_at(step))
    path = checkpoint.save(session.folder, step, session.trained, described, session.settings.keep_checkpoints)
    emit(CheckpointSaved(step, session.folder.relative(path)))
    return step


def _draw_previews(session: Session, step: int, emit: Callable[[Event], None]) -> None:
    """Draws all prompts with the live weights."""
    if not session.prompts or not session.settings.preview_every_steps:
        return
    for i, prompt in enumerate(session.prompts):
        emit(Phase("Drawing previews", i, len(session.prompts)))
        path = session.folder.sample(step, i, prompt.seed)
        with torch.no_grad():
            told, untold = session.told([prompt.prompt]), session.told([prompt.negative])
        picture = session.painter.draw(prompt, told, untold)
        text = picture_text.parameters_text(
            prompt,
            {
                "Model": metadata.base_name(session.settings),
                "LoRA": session.settings.title,
                "LoRA step": str(step),
            },
        )
        try:
            write_atomically(path, lambda p, picture=picture, text=text: picture_text.save(picture, p, text))  # type: ignore[misc]
        except OSError as error:
            raise RunError(os_message(f"The preview {path.name} could not be written", error)) from error
        emit(PreviewDrawn(step, i, prompt.seed, session.folder.relative(path)))
    if session.device.type != "cpu" and session.backbone.vae is not None:
        session.backbone.vae.to("cpu")


def _validate(session: Session, step: int, emit: Callable[[Event], None]) -> None:
    """Measures the loss on the held-out pictures, if there are any."""
    if not session.pictures.validation:
        return
    pictures = []
    for entry in session.pictures.validation:
        with torch.no_grad():
            told = session.told([entry.texts[0]])
        ids = torch.tensor([_size_ids(entry)])
        pictures.append((session.cache.latents(entry, False), told, ids))
    emit(Validated(step, validation.loss(session.backbone, session.schedule, pictures, session.dtype)))


def _export(session: Session, step: int, emit: Callable[[Event], None]) -> None:
    """Writes the file for other programs; it takes its place once it is proved that they load it."""
    emit(Phase("Checking the LoRA file as other programs read it"))
    path = session.folder.export / f"{safe_name(session.settings.title)}.safetensors"
    tensors, told = session.trained.adapter.tensors(), session.metadata_at(step)
    if picture := cover.last_drawn(session.folder, step):
        try:
            told |= cover.entries(picture)
        except DataError as error:
            emit(Warned(f"{error} The LoRA file has no picture in it."))
    try:
        with bundle.staging(path) as folder:
            made = folder / path.name
            difference = export.write(made, tensors, told, session.settings.export_precision)
            found = proof.of_session(session, made)
            made.replace(path)
    except OSError as error:
        raise RunError(os_message(f"The LoRA file {path.name} could not be written", error)) from error
    measured = -1.0 if found.skipped else found.largest_difference
    emit(
        Exported(step, session.folder.relative(path), difference, found.sentence(), ", ".join(found.programs), measured)
    )
