"""What happens between steps: checkpoints, previews, validation, and in the end the file for other programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from trainer import bundle, checkpoint, cover, export, heap, metadata, picture_text, proof, validation
from trainer.errors import DataError, RunError, os_message
from trainer.events import CheckpointSaved, Exported, Phase, PreviewDrawn, Validated, Warned
from trainer.feed import size_ids
from trainer.run_folder import safe_name, write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainer.events import Event
    from trainer.session import Session


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


def save(session: Session, step: int, emit: Callable[[Event], None]) -> int:
    """Writes a checkpoint; returns the step."""
    told, keep = session.metadata_at(step), session.settings.keep_checkpoints
    path = checkpoint.save(session.folder, step, session.trained, told, keep)
    emit(CheckpointSaved(step, session.folder.relative(path)))
    return step


def draw_previews(session: Session, step: int, emit: Callable[[Event], None]) -> None:
    """Draws all prompts with the live weights."""
    if not session.prompts or not session.settings.preview_every_steps:
        return
    heap.release()  # what the steps keep for each other is in the way of other sizes
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
    if session.device.type == "cpu":
        session.backbone.free_vae()  # reading it again takes a second, drawing takes minutes
    elif session.backbone.vae is not None:
        session.backbone.vae.to("cpu")


def validate(session: Session, step: int, emit: Callable[[Event], None]) -> None:
    """Measures the loss on the held-out pictures, if there are any."""
    if not session.pictures.validation:
        return
    pictures = []
    for entry in session.pictures.validation:
        with torch.no_grad():
            told = session.told([entry.texts[0]])
        ids = torch.tensor([size_ids(entry)])
        pictures.append((session.cache.latents(entry, False), told, ids))
    at_once = session.settings.micro_batch
    emit(Validated(step, validation.loss(session.backbone, session.schedule, pictures, session.dtype, at_once)))


def write_export(session: Session, step: int, emit: Callable[[Event], None]) -> None:
    """Writes the file for other programs; it takes its place once it is proved that they load it."""
    emit(Phase("Checking the LoRA file as other programs read it"))
    heap.release()
    path = session.folder.export / f"{safe_name(session.settings.title)}.safetensors"
    tensors, told = session.trained.adapter.tensors(copied=False), session.metadata_at(step)
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
