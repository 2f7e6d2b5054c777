"""Lets a loaded model take the quickest way to the same numbers that its device has; one module for each way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from trainer import compiled, cpu_attention, offload, packed
from trainer import device as devices

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainer.adapter import Adapter
    from trainer.settings import TrainingSettings


@dataclass(frozen=True)
class Work:
    """What is ahead of a model. steps: still to be done; sizes: of pictures; processes: of this run on this machine."""

    device: torch.device
    dtype: torch.dtype
    steps: int = 0
    sizes: int = 1
    processes: int = 1


def loading_device(settings: TrainingSettings, device: torch.device) -> torch.device:
    """Where the UNet is read to: for offloading into the computer's memory, so that the GPU never holds all of it."""
    return torch.device("cpu") if settings.offload and not offload.unavailable(device) else device


def ready(adapter: Adapter, settings: TrainingSettings, work: Work, warn: Callable[[str], None]) -> bool:
    """Makes the adapted parts ready for many steps, before the optimizer is made; whether frozen weights were packed.

    warn: told in a sentence what cannot be had, now or later.
    """
    parts = [adapter.backbone.part(part) for part in adapter.parts]
    unet = adapter.backbone.part("unet")
    for part in parts:
        devices.tune(part, work.device, work.sizes)
    if settings.offload:
        _offload(unet, work.device, warn)
    if settings.quick_attention and devices.attends_quickly(work.device, work.dtype):
        cpu_attention.use(unet, there_too=not devices.has_amx())
    packs = _packs(parts, settings, work)
    if packs:
        for part in parts:
            packed.pack(part)
    if not compiled.wanted(settings.compile, work.device, work.steps):
        adapter.fuse()
        return packs

    def go_on(sentence: str) -> None:
        warn(sentence)
        hook = unet.register_forward_pre_hook(lambda *given: fuse())  # not now: the way back must be as the way there

        def fuse() -> None:
            hook.remove()
            adapter.fuse()

    # Not fused: each fused layer would need a graph of its own, and the compiler fuses plain layers by itself.
    compiled.compile_blocks(unet, go_on, sizes=work.sizes)
    return packs


def _offload(unet: torch.nn.Module, device: torch.device, warn: Callable[[str], None]) -> None:
    if reason := offload.unavailable(device):
        warn(reason)
    else:
        offload.Offload(unet, device)


def _packs(parts: list[torch.nn.Module], settings: TrainingSettings, work: Work) -> bool:
    cost = sum(packed.packed_bytes(part) for part in parts) * work.processes
    return devices.packs(settings.packing, work.device, work.dtype, cost)
