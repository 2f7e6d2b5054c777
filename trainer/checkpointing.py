"""Gradient checkpointing: which parts of a model are computed again on the way back instead of being kept.

Chen et al. 2016, https://arxiv.org/abs/1604.06174. The blocks' own switches (diffusers, transformers) do the work.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch.utils.checkpoint import checkpoint

from trainer.families import anatomy

if TYPE_CHECKING:
    import torch
    from diffusers import UNet2DConditionModel


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
    """The transformers that hold half of what all of them hold; see `trainer.families.anatomy.neediest`."""
    found = {name: module for name, module in unet.named_modules() if isinstance(module, Transformer2DModel)}
    levels = len(unet.config.block_out_channels)
    facts = [(n, m.in_channels, len(m.transformer_blocks), _level(n, levels)) for n, m in found.items()]
    return [found[name] for name in anatomy.neediest(facts)]


def _level(name: str, levels: int) -> int:
    """How often both sides of the latents are halved where a module works, by its place."""
    if place := re.match(r"(down|up)_blocks\.(\d+)", name):
        return int(place[2]) if place[1] == "down" else levels - 1 - int(place[2])
    return levels - 1


def _computed_again(module: torch.nn.Module, *inputs: Any, preserve_rng_state: bool) -> Any:
    return checkpoint(module.__call__, *inputs, use_reentrant=False, preserve_rng_state=preserve_rng_state)
