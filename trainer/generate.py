"""Draws class pictures with a base model as it is: what keeps a LoRA from forgetting, drawn once, each with its caption."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from PIL import Image

from trainer import device as devices
from trainer import families, metadata, picture_text, pixels, preflight, quantized_parts
from trainer.diffusion import Schedule
from trainer.errors import RunError, os_message
from trainer.preview import Painter
from trainer.run_folder import write_atomically
from trainer.tasks import each

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trainer.families.backbone import Backbone, Conditioning
    from trainer.settings import PreviewPrompt, TrainingSettings
    from trainer.tasks import Tell

_NUMBERED = re.compile(r"\d{5}\.png")
_SEEDS = 2**32


@dataclass(frozen=True)
class Generated:
    """What was done. kept: pictures that were there already; drawn: new ones."""

    folder: Path
    kept: int
    drawn: int


def draw(
    settings: TrainingSettings, folder: Path, count: int, tell: Tell, *, force: bool = False, shown: Callable[[Path], object] = id
) -> Generated:  # fmt: skip
    """Draws pictures 00001.png to `count` into a folder, each with its prompt in a .txt file beside it.

    Those that are there already are kept, so that the same call goes on after it was cancelled; picture n has the seed of
    the first one plus n - 1.

    Args:
        settings: the base model and how it computes; their only preview says what to draw, a width or height of 0 takes the
            size that the model was made for.
        folder: made if it is not there; other files in it stay as they are.
        count: how many pictures there are in the end, 1 to 99,999.
        tell: hears how far it is.
        force: draw those anew that were drawn before.
        shown: is given every picture's path when it is written.

    Raises:
        AtelierError: the model cannot be used, or the folder's pictures were not drawn with this prompt.
        Cancelled: by `tell`; the pictures that were drawn stay.
    """
    prompt = settings.previews[0]
    base = preflight.base_path(settings.base)
    families.check(base, settings.vae)
    wanted = [folder / f"{number:05}.png" for number in range(1, count + 1)]
    _refuse_others(folder, prompt, may_replace=force)
    missing = [path for path in wanted if force or not path.exists()]
    kept = count - len(missing)
    if not missing:
        return Generated(folder, kept, 0)
    tell("Loading the base model", 0, 0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        artist, told, untold = _ready(settings, base, prompt)
        prompt = _sized(prompt, artist.backbone)
        for path in each(missing, "Drawing pictures", lambda label, done, _: tell(label, kept + done, count)):
            seed = (prompt.seed + int(path.stem) - 1) % _SEEDS
            one = prompt.model_copy(update={"seed": seed})
            _write(path, artist.draw(one, told, untold), one, metadata.base_name(settings))
            shown(path)
    except OSError as error:
        raise RunError(os_message(f"The pictures could not be written to {folder}", error)) from None
    except torch.OutOfMemoryError:
        raise RunError(
            f"Memory is full: {prompt.width} x {prompt.height} px is too much for this model here. Give a smaller width and "
            "height, or end other programs; what was drawn is kept."
        ) from None
    return Generated(folder, kept, len(missing))


def _refuse_others(folder: Path, prompt: PreviewPrompt, *, may_replace: bool) -> None:
    """Numbered pictures that were not drawn here are somebody's own; those of another prompt are another class."""
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file. Choose a folder for the pictures.")
    names = sorted(p.name for p in folder.iterdir() if _NUMBERED.fullmatch(p.name)) if folder.is_dir() else []
    for name in names:
        drawn_with = _prompt_of(folder / name)
        if drawn_with is None:
            raise RunError(f"{folder / name} was not drawn here, and is not replaced. Choose another folder.")
        if drawn_with != _line(prompt.prompt) and not may_replace:
            raise RunError(
                f'The pictures in {folder} show something else: "{drawn_with}". Choose another folder, or have them drawn anew.'
            )


def _prompt_of(path: Path) -> str | None:
    """The prompt that a picture says it was drawn with; None when it says nothing, from its header only."""
    try:
        with Image.open(path) as picture:
            text = picture.info.get("parameters")
    except pixels.UNREADABLE:
        return None
    return text.partition("\n")[0] if isinstance(text, str) else None


def _ready(settings: TrainingSettings, base: Path, prompt: PreviewPrompt) -> tuple[Painter, Conditioning, Conditioning]:
    """The model with the encoded prompt and negative prompt; its text encoders have left memory."""
    device = devices.choose(settings.device)
    dtype = devices.dtype_of(settings.precision, device)
    backbone = families.load(base, settings.vae)
    schedule = Schedule.of(backbone.noise, settings)
    backbone.load_text_encoders(dtype, device)
    with torch.no_grad(), devices.autocast(device, dtype):
        told, untold = (
            backbone.encode_captions(
                [_line(text)],
                clip_skip=settings.clip_skip,
                max_tokens=settings.max_tokens,
                weights=settings.prompt_weights,
            )
            for text in (prompt.prompt, prompt.negative)
        )
    backbone.free_text_encoders()
    backbone.load_unet(dtype, device, quantized_parts.wanted(settings, device))
    zero_snr = settings.zero_terminal_snr or bool(backbone.noise.get("rescale_betas_zero_snr"))
    return Painter(backbone, device, dtype, schedule.prediction, zero_snr), told, untold


def _sized(prompt: PreviewPrompt, backbone: Backbone) -> PreviewPrompt:
    usual = int(backbone.source.config("unet").get("sample_size") or 0) * backbone.vae_scale
    usual = usual or backbone.family.resolution
    return prompt.model_copy(
        update={"prompt": _line(prompt.prompt), "width": prompt.width or usual, "height": prompt.height or usual}
    )


def _write(path: Path, picture: Image.Image, prompt: PreviewPrompt, model: str) -> None:
    """The caption comes first: a picture that is there has one."""
    caption = prompt.prompt.encode("utf-8")
    parameters = picture_text.parameters_text(prompt, {"Model": model})
    write_atomically(path.with_suffix(".txt"), lambda p: p.write_bytes(caption))
    write_atomically(path, lambda p: picture_text.save(picture, p, parameters))


def _line(text: str) -> str:
    return " ".join(text.split())
