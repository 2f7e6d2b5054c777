"""Gradient checkpointing: which parts of a model are computed again on the way back instead of being kept.

Chen et al. 2016, https://arxiv.org/abs/1604.06174. The blocks' own switches (diffusers, transformers) do the work.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch.utils.checkpoint import checkpoint

if TYPE_CHECKING:
    import torch
    from diffusers import UNet2DConditionModel

_SHARE = 0.5  # of what the UNet's transformers keep, that "some" no longer keeps


def apply(unet: UNet2DConditionModel, text_encoders: dict[str, Any], how: str, *, dropout: bool) -> None:
    """Lets a UNet, and text encoders that are trained, keep less; may be called again.

    how: the setting. "all" computes every block again; "some" only transformers of the UNet, see `neediest`. dropout: whether
    layers draw by chance, which must then be repeated (and costs a wait for the GPU).
    """
    again = functools.partial(_computed_again, preserve_rng_state=dropout)
    unet.disable_gradient_checkpointing()
    if how == "all":
        unet.enable_gradient_checkpointing(again)
    elif how == "some":
        for transformer in neediest(unet):
            transformer.gradient_checkpointing = True
            transformer._gradient_checkpointing_func = again
    for encoder in text_encoders.values():
        if how == "all":
            encoder.gradient_checkpointing_enable({"use_reentrant": False, "preserve_rng_state": dropout})
        else:
            encoder.gradient_checkpointing_disable()


def neediest(unet: UNet2DConditionModel) -> list[Transformer2DModel]:
    """The transformers that hold half of what all of them hold, those first that win most for the time they cost.

    What a transformer keeps grows with pixels x channels x layers, and computing it again with pixels x channels^2 x layers;
    so the wide, shallow ones of the highest resolutions come first.
    """
    found = [(n, m) for n, m in unet.named_modules() if isinstance(m, Transformer2DModel)]
    found.sort(key=lambda pair: pair[1].in_channels)
    kept = [_pixels(name, unet) * module.in_channels * len(module.transformer_blocks) for name, module in found]
    out, freed = [], 0.0
    for (_, module), share in zip(found, kept, strict=True):
        if freed >= _SHARE * sum(kept):
            break
        out.append(module)
        freed += share
    return out


def _pixels(name: str, unet: UNet2DConditionModel) -> float:
    """Pixels that a module sees for each pixel of the latents, by its place: each level down halves both sides."""
    levels = len(unet.config.block_out_channels)
    if place := re.match(r"(down|up)_blocks\.(\d+)", name):
        level = int(place[2]) if place[1] == "down" else levels - 1 - int(place[2])
    else:
        level = levels - 1
    return 0.25**level


def _computed_again(module: torch.nn.Module, *inputs: Any, preserve_rng_state: bool) -> Any:
    return checkpoint(module.__call__, *inputs, use_reentrant=False, preserve_rng_state=preserve_rng_state)
