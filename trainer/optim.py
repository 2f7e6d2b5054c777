"""Tables of optimizers and learning-rate schedules."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from trainer import device as devices

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainer.settings import TrainingSettings

Groups = list[dict[str, Any]]


def build(settings: TrainingSettings, groups: Groups, device: torch.device) -> tuple[torch.optim.Optimizer, str]:
    """The optimizer, and a sentence when another one than asked for had to be taken (else empty).

    groups: `params`, `lr` and `part` each; `lr` is also kept as `initial_lr`, from which the schedule computes.
    """
    name: str = settings.optimizer
    warning = ""
    if name in _EIGHT_BIT and (reason := devices.missing_bitsandbytes(device)):
        name = _EIGHT_BIT[name]
        warning = f"{reason} The plain {name} optimizer is used instead; it needs a little more memory."
    if name == "prodigy":
        warning = _with_one_rate(groups)
    for group in groups:
        group["initial_lr"] = group["lr"]
    return OPTIMIZERS[name](groups, settings), warning


def _with_one_rate(groups: Groups) -> str:
    """Prodigy refuses groups whose rates differ, so all that are trained take the first one's; a sentence if any did."""
    rate = groups[0]["lr"]
    moved = [g["part"].replace("_", " ") for g in groups if g["lr"] not in (rate, 0)]
    for group in groups:
        group["lr"] = rate if group["lr"] else 0.0
    return (
        f"Prodigy has one learning rate for all parts, so {rate:g} is used for {' and '.join(moved)} too."
        if moved
        else ""
    )


def _adamw(groups: Groups, s: TrainingSettings) -> torch.optim.Optimizer:
    """Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101; one fused kernel for all parameters."""
    return torch.optim.AdamW(groups, weight_decay=s.weight_decay, fused=True)


def _adamw8bit(groups: Groups, s: TrainingSettings) -> torch.optim.Optimizer:
    """AdamW with 8-bit moments. Dettmers et al. 2022, https://arxiv.org/abs/2110.02861."""
    import bitsandbytes

    return bitsandbytes.optim.AdamW8bit(groups, weight_decay=s.weight_decay)  # type: ignore[no-any-return]


def _lion(groups: Groups, s: TrainingSettings) -> torch.optim.Optimizer:
    """Sign of the momentum. Chen et al. 2023, https://arxiv.org/abs/2302.06675."""
    from lion_pytorch import Lion

    return Lion(groups, weight_decay=s.weight_decay)  # type: ignore[no-any-return]


def _lion8bit(groups: Groups, s: TrainingSettings) -> torch.optim.Optimizer:
    """Lion with 8-bit moments."""
    import bitsandbytes

    return bitsandbytes.optim.Lion8bit(groups, weight_decay=s.weight_decay)  # type: ignore[no-any-return]


def _adafactor(groups: Groups, s: TrainingSettings) -> torch.optim.Optimizer:
    """Shazeer & Stern 2018, https://arxiv.org/abs/1804.04235, at the given learning rate (no relative steps)."""
    from transformers.optimization import Adafactor

    fixed_rate = {"relative_step": False, "scale_parameter": False, "warmup_init": False}
    return Adafactor(groups, lr=s.learning_rate, weight_decay=s.weight_decay, **fixed_rate)  # type: ignore[no-any-return]


def _prodigy(groups: Groups, s: TrainingSettings) -> torch.optim.Optimizer:
    """Mishchenko & Defazio 2023, https://arxiv.org/abs/2306.06101; it estimates the learning rate, ours multiplies it."""
    from prodigyopt import Prodigy

    options = {"decouple": True, "use_bias_correction": True, "safeguard_warmup": True}
    return Prodigy(groups, lr=1.0, weight_decay=s.weight_decay, **options)  # type: ignore[no-any-return]


OPTIMIZERS: dict[str, Callable[[Groups, TrainingSettings], torch.optim.Optimizer]] = {
    "adamw": _adamw, "adamw8bit": _adamw8bit, "lion": _lion, "lion8bit": _lion8bit, "adafactor": _adafactor, "prodigy": _prodigy,
}  # fmt: skip
_EIGHT_BIT = {"adamw8bit": "adamw", "lion8bit": "lion"}


def schedule_factor(settings: TrainingSettings, step: int, total: int) -> float:
    """What the learning rate is multiplied with in optimizer step `step` (counted from 0), in [0, 1].

    The first `warmup_steps` rise in a line and end at 1; then the schedule runs to the last step.
    """
    warmup = min(settings.warmup_steps, total)
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, total - warmup)
    return SCHEDULES[settings.schedule](progress, settings)


def _cosine(progress: float) -> float:
    """Half a cosine from 1 to 0. Loshchilov & Hutter 2017, equation 5, https://arxiv.org/abs/1608.03983."""
    return 0.5 * (1 + math.cos(math.pi * progress))


SCHEDULES: dict[str, Callable[[float, TrainingSettings], float]] = {
    "constant": lambda progress, s: 1.0,
    "linear": lambda progress, s: 1 - progress,
    "cosine": lambda progress, s: _cosine(progress),
    "cosine_restarts": lambda progress, s: _cosine(progress * s.restarts % 1.0),
}


def set_learning_rates(
    optimizer: torch.optim.Optimizer, settings: TrainingSettings, step: int, total: int
) -> dict[str, float]:
    """Gives each group its rate for this step; returns them by part."""
    factor = schedule_factor(settings, step, total)
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
    return {group["part"]: group["lr"] for group in optimizer.param_groups}
