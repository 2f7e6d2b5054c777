"""LoRA layers as other programs hold them after they loaded a file, compared with those that were trained, and put on a model."""

from __future__ import annotations

import contextlib
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import diffusers
import torch
import transformers
from diffusers.loaders import StableDiffusionLoraLoaderMixin, StableDiffusionXLLoraLoaderMixin
from peft.tuners.lora import LoraLayer
from torch.nn import functional

from trainer import clients

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from trainer.adapter import Adapter
    from trainer.clients import Reading
    from trainer.families.backbone import Backbone

_NAME = "proof"  # of the adapter in diffusers
_SCALE_SLACK = 5e-3  # of alpha / rank: bf16 rounds an alpha such as 1/3 by 0.004 of it


@dataclass(frozen=True)
class Layer:
    """What is added to a module: scale * up @ down. down: (r, in, ...), up: (out, r, ...), fp32 on the CPU.

    magnitude: DoRA's, (out,), or None.
    """

    down: torch.Tensor
    up: torch.Tensor
    scale: float
    magnitude: torch.Tensor | None = None


Layers = dict[tuple[str, str], Layer]
"""By (part, module path without `text_model.`)."""


def of_adapter(adapter: Adapter) -> Layers:
    """The trained layers."""
    return {(part, _plain(module)): _of_peft(layer) for (part, module), layer in adapter.layers.items()}


def by_rules(reading: Reading, tensors: Mapping[str, torch.Tensor]) -> Layers:
    """The file's layers as A1111, Forge, ComfyUI and InvokeAI take them, where their rules place them.

    Raises:
        KeyError: a tensor is missing.
    """
    out: Layers = {}
    for place, stem in reading.stems.items():
        down, up = (tensors[f"{stem}.lora_{half}.weight"].float() for half in ("down", "up"))
        magnitude = tensors.get(f"{stem}.dora_scale")
        scale = float(tensors[f"{stem}.alpha"]) / len(down)
        out[place] = Layer(down, up, scale, None if magnitude is None else magnitude.float().flatten())
    return out


def frames(backbone: Backbone, parts: list[str], configs: Mapping[str, dict[str, Any]]) -> dict[str, torch.nn.Module]:
    """The base model's parts without weights: every parameter has its shape, and the memory of one number."""
    out: dict[str, torch.nn.Module] = {}
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        for part in parts:
            if part == "unet":
                out[part] = diffusers.UNet2DConditionModel.from_config(configs[part])
            else:
                kind = backbone.text_model_classes[part]
                out[part] = kind(kind.config_class(**configs[part]))
    for module in (m for model in out.values() for m in model.modules()):
        for name, value in module.named_parameters(recurse=False):
            setattr(module, name, torch.nn.Parameter(torch.zeros(()).expand(value.shape), requires_grad=False))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, torch.zeros((), dtype=buffer.dtype).expand(buffer.shape))
    return out


def by_diffusers(path: Path, empty: Mapping[str, torch.nn.Module]) -> Layers:
    """The file's layers where diffusers' `load_lora_weights` puts them, with the strength it gives them. empty: `frames`.

    Raises:
        ModelError: diffusers refuses the file.
    """
    mixin = (
        StableDiffusionXLLoraLoaderMixin
        if "text_encoder_2" in empty or _has_sizes(empty)
        else StableDiffusionLoraLoaderMixin
    )
    pipeline: Any = type("Pipeline", (mixin,), {"text_encoder": None, "text_encoder_2": None, "hf_device_map": None})()
    pipeline.components = dict(empty)
    for part, model in empty.items():
        setattr(pipeline, part, model)
    try:
        with torch.random.fork_rng(devices=[]), _silence():
            pipeline.load_lora_weights(str(path), adapter_name=_NAME)
    except Exception as error:  # whatever a file makes it stumble over is why it cannot be loaded there
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise clients.fault(path, f"diffusers refuses it ({reason[:200]})", "it cannot be loaded there") from error
    return {
        (part, _plain(name)): _of_peft(layer, _NAME)
        for part, model in empty.items()
        for name, layer in model.named_modules()
        if isinstance(layer, LoraLayer) and _NAME in layer.lora_A
    }


def difference(trained: Layers, read: Layers, dtype: torch.dtype) -> str:
    """How the first layer that is not as it was trained differs, or "". dtype: the file's, whose rounding is allowed."""
    for part, module in trained.keys() - read.keys():
        return f"layer {module} of {part} was trained and is not loaded"
    for part, module in read.keys() - trained.keys():
        return f"layer {module} of {part} was never trained and is loaded"
    for (part, module), layer in trained.items():
        other = read[part, module]
        for half in ("down", "up", "magnitude"):
            mine, theirs = getattr(layer, half), getattr(other, half)
            if (mine is None) != (theirs is None):
                return f"layer {module} of {part} {'lacks' if theirs is None else 'has'} DoRA's magnitudes"
            if mine is not None and not _is_rounded(mine, theirs, dtype):
                return f"layer {module} of {part} holds other numbers than were trained ({half})"
        if abs(other.scale - layer.scale) > _SCALE_SLACK * layer.scale:
            return f"layer {module} of {part} works {other.scale / layer.scale:.3g} times as strongly as it was trained"
    return ""


@contextlib.contextmanager
def attached(layers: Layers, backbone: Backbone) -> Iterator[None]:
    """The layers' effect on the base model, by hooks; nothing of the model is changed."""
    handles = []
    try:
        for part in {part for part, _ in layers}:
            for name, module in backbone.part(part).named_modules():
                layer = layers.get((part, _plain(name)))
                if layer is not None:
                    base = module.get_base_layer() if isinstance(module, LoraLayer) else module
                    handles.append(module.register_forward_hook(_Effect(layer, base)))
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True)
class _Effect:
    """Adds a layer's effect to what its module gives out."""

    layer: Layer
    base: Any

    def __call__(self, module: torch.nn.Module, given: tuple[torch.Tensor, ...], out: torch.Tensor) -> torch.Tensor:
        down, up = (w.to(out.device) for w in (self.layer.down, self.layer.up))
        x, base = given[0].to(down.dtype), self.base  # a plain or packed layer
        if down.dim() == 4:
            change = functional.conv2d(functional.conv2d(x, down, None, base.stride, base.padding), up)
        else:
            change = functional.linear(functional.linear(x, down), up)
        change = change * self.layer.scale
        if self.layer.magnitude is None:
            return (out + change).to(out.dtype)
        return self._decomposed(out.float(), change.float()).to(out.dtype)

    def _decomposed(self, out: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
        """DoRA as ComfyUI and Forge compute it: relative to the length of the base's weights, not of the changed ones.

        https://github.com/comfyanonymous/ComfyUI/blob/v0.8.0/comfy/weight_adapter/base.py
        """
        assert self.layer.magnitude is not None
        length = self.base.weight.flatten(1).float().norm(dim=1)
        shape = (-1, 1, 1) if self.layer.down.dim() == 4 else (-1,)
        share = (self.layer.magnitude.to(out.device) / length).reshape(shape)
        bias = self.base.bias
        bias = torch.zeros_like(share) if bias is None else bias.float().reshape(shape)
        decomposed: torch.Tensor = share * (out - bias + change) + bias
        return decomposed


def _of_peft(layer: LoraLayer, name: str | None = None) -> Layer:
    name = name or layer.active_adapters[0]
    down, up = (half[name].weight.detach().float().cpu() for half in (layer.lora_A, layer.lora_B))
    magnitude = layer.lora_magnitude_vector[name].weight if name in layer.lora_magnitude_vector else None
    return Layer(
        down, up, float(layer.scaling[name]), None if magnitude is None else magnitude.detach().float().cpu().flatten()
    )


def _is_rounded(mine: torch.Tensor, theirs: torch.Tensor, dtype: torch.dtype) -> bool:
    """Whether `theirs` is `mine` in that format, to one unit in the last place."""
    if mine.shape != theirs.shape:
        return False
    limits = torch.finfo(dtype)
    return bool(((mine - theirs).abs() <= limits.eps * mine.abs() + limits.eps * limits.smallest_normal).all())


def _plain(module: str) -> str:
    """The path without a level that transformers 5 dropped from one kind of CLIP and kept in the other."""
    return module.removeprefix("text_model.")


def _has_sizes(empty: Mapping[str, torch.nn.Module]) -> bool:
    """Whether the UNet is told sizes and crops, as SDXL's is; only that pipeline maps its files' names."""
    unet: Any = empty.get("unet")
    return unet is not None and unet.config.addition_embed_type == "text_time"


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Without the libraries' progress bars and remarks; what is wrong, the comparison says."""
    bars, verbosity = transformers.utils.logging.is_progress_bar_enabled(), diffusers.utils.logging.get_verbosity()
    transformers.utils.logging.disable_progress_bar()
    diffusers.utils.logging.set_verbosity(diffusers.utils.logging.CRITICAL)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        diffusers.utils.logging.set_verbosity(verbosity)
        if bars:
            transformers.utils.logging.enable_progress_bar()
