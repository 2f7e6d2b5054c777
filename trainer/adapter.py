"""LoRA layers on a backbone: where they go, their parameters, their strength, to and from LoRA files.

Hu et al. 2021, https://arxiv.org/abs/2106.09685; the layers themselves are peft's.
"""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer

from trainer import fused_lora
from trainer.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from trainer.families.backbone import Backbone
    from trainer.settings import TrainingSettings

_NAME = "default"  # of peft's adapter


@dataclass(frozen=True)
class Size:
    """Rank and alpha of one adapted module, as LoRA files have them: the update's strength is alpha / rank."""

    rank: int
    alpha: float


class Adapter:
    """The LoRA layers of a run.

    Attributes:
        layers: peft's layer of each module, by (part, module path), in the model's order.
    """

    def __init__(self, backbone: Backbone, sizes: Mapping[str, Mapping[str, Size]], settings: TrainingSettings) -> None:
        self.backbone = backbone
        self.layers: dict[tuple[str, str], LoraLayer] = {}
        for part, modules in sizes.items():
            model = backbone.part(part)
            inject_adapter_in_model(_peft_config(modules, settings), model, _NAME)
            for name, module in model.named_modules():
                if name in modules and isinstance(module, LoraLayer):
                    self.layers[part, name] = module
        for parameter in self.parameters():
            parameter.data = parameter.data.float()  # small updates get lost in bf16
            parameter.requires_grad_(True)

    def parameters(self, part: str | None = None) -> list[torch.nn.Parameter]:
        """The trainable parameters, of one part or of all."""
        return [p for (of, _), layer in self.layers.items() if part in (None, of) for _, p in _weights(layer)]

    @property
    def parts(self) -> list[str]:
        """Parts that have adapters."""
        return list(dict.fromkeys(part for part, _ in self.layers))

    @property
    def usual_size(self) -> Size:
        """Rank and alpha of most modules."""
        sizes = Counter(Size(layer.r[_NAME], float(layer.lora_alpha[_NAME])) for layer in self.layers.values())
        return sizes.most_common(1)[0][0]

    def tensors(self, *, copied: bool = True) -> dict[str, torch.Tensor]:
        """The weights under the names of LoRA files, fp32 on the CPU; each module has its alpha.

        copied: else those that are so already are the parameters themselves, which change when training goes on.
        """
        out: dict[str, torch.Tensor] = {}
        for (part, module), layer in self.layers.items():
            stem = self.backbone.stems(part, module)[0]
            for key, parameter in _weights(layer):
                value = parameter.detach().float().cpu()
                value = _as_dora_scale(value, layer) if key == "dora_scale" else value.contiguous()
                out[f"{stem}.{key}"] = value.clone() if copied else value
            out[f"{stem}.alpha"] = torch.tensor(float(layer.lora_alpha[_NAME]))
        return out

    @torch.no_grad()
    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Takes over weights that were read from a LoRA file (`tensors`).

        Where the file has no magnitudes, a DoRA adapter gets those at which it does what the file does.

        Raises:
            KeyError: a layer's weights are missing.
            ModelError: the file has DoRA's magnitudes and this adapter has none.
        """
        for (part, module), layer in self.layers.items():
            stems = self.backbone.stems(part, module)
            stem = next((s for s in stems if f"{s}.lora_down.weight" in tensors), stems[0])
            weights = dict(_weights(layer))
            if f"{stem}.dora_scale" in tensors and "dora_scale" not in weights:
                raise ModelError("The LoRA was trained with DoRA, which is off. Switch DoRA on to train it further.")
            magnitude = None if f"{stem}.dora_scale" in tensors else weights.pop("dora_scale", None)
            for key, parameter in weights.items():
                parameter.copy_(tensors[f"{stem}.{key}"].reshape(parameter.shape))
            if magnitude is not None:
                magnitude.copy_(_norms(layer).reshape(magnitude.shape))

    def fuse(self) -> int:
        """Lets the layers that can take the quicker way of `fused_lora`; how many do. The numbers stay the same."""
        return fused_lora.fuse(self.layers.values(), _NAME)

    def all_finite(self) -> bool:
        """Whether no weight is NaN or infinite. A sync point: not for the hot path."""
        return bool(torch.stack([p.isfinite().all() for p in self.parameters()]).all())

    @contextlib.contextmanager
    def off(self) -> Iterator[None]:
        """The base model as it is without the adapters."""
        for layer in self.layers.values():
            layer.enable_adapters(False)
        try:
            yield
        finally:
            for layer in self.layers.values():
                layer.enable_adapters(True)
            for parameter in self.parameters():
                parameter.requires_grad_(True)


def fresh_sizes(backbone: Backbone, settings: TrainingSettings) -> dict[str, dict[str, Size]]:
    """Where adapters go and how large they are, as the settings say; 3x3 convolutions have their own rank and alpha."""
    out: dict[str, dict[str, Size]] = {}
    usual = _size(settings.rank, settings.alpha, settings)
    wide = _size(settings.conv_rank or settings.rank, settings.conv_alpha or settings.alpha, settings)
    for part, names in backbone.lora_modules(settings.targets, text=settings.train_text_encoder).items():
        modules = dict(backbone.part(part).named_modules())
        out[part] = {n: wide if getattr(modules[n], "kernel_size", (1, 1)) != (1, 1) else usual for n in names}
    return out


def _size(rank: int, alpha: float, settings: TrainingSettings) -> Size:
    """The strength of rsLoRA, alpha / sqrt(rank), is folded into alpha: files and their readers know only alpha / rank.

    Kalajdzievski 2023, https://arxiv.org/abs/2312.03732
    """
    return Size(rank, alpha * math.sqrt(rank) if settings.rslora else alpha)


def sizes_of_file(backbone: Backbone, tensors: Mapping[str, torch.Tensor], path: Path) -> dict[str, dict[str, Size]]:
    """Where a LoRA file's adapters go in this backbone.

    Raises:
        ModelError: the file is no LoRA, or was made for another base model.
    """
    stems = {key.removesuffix(".lora_down.weight") for key in tensors if key.endswith(".lora_down.weight")}
    if not stems:
        raise ModelError(f"{path.name} holds no LoRA layers in the usual (kohya) format; choose another file.")
    out: dict[str, dict[str, Size]] = {}
    used: set[str] = set()
    misfit = ""
    for part in ("unet", *backbone.text_encoders):
        for name, module in backbone.part(part).named_modules():
            stem = next((s for s in backbone.stems(part, name) if s in stems), None)
            if stem is None or not isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
                continue
            rank, alpha = tensors[f"{stem}.lora_down.weight"].shape[0], tensors.get(f"{stem}.alpha")
            out.setdefault(part, {})[name] = Size(rank, float(rank if alpha is None else alpha))
            used.add(stem)
            misfit = misfit or _misfit(stem, tensors, module.weight)
    unknown = sorted(stems - used)
    # Layers of text encoders have no place unless those are trained.
    if not out or any(not s.startswith("lora_te") for s in unknown):
        raise ModelError(
            f"{path.name} was made for another family of models than {backbone.family.title}: {len(unknown)} of its "
            f"{len(stems)} layers have no place here, e.g. {unknown[0]}. Choose a LoRA made for {backbone.family.title}."
        )
    if misfit:
        raise ModelError(f"{path.name} does not fit this base model: {misfit}. Choose a LoRA made for such a model.")
    return out


def _misfit(stem: str, tensors: Mapping[str, torch.Tensor], weight: torch.Tensor) -> str:
    """Why a layer of a file cannot be put beside `weight`; empty when it can."""
    down, up = tensors[f"{stem}.lora_down.weight"], tensors.get(f"{stem}.lora_up.weight")
    if up is None or min(down.dim(), up.dim()) < 2 or up.flatten(1).shape[1] != down.shape[0]:
        return f"the two halves of layer {stem} do not belong together"
    theirs, ours = (down.flatten(1).shape[1], up.shape[0]), (weight.flatten(1).shape[1], weight.shape[0])
    magnitude = tensors.get(f"{stem}.dora_scale")
    if magnitude is not None and magnitude.shape[:1] != up.shape[:1]:
        return f"the magnitudes of {stem} are not one for each of its {up.shape[0]} outputs"
    if theirs != ours:
        return f"{stem} expects {theirs[0]} inputs and {theirs[1]} outputs, the model has {ours[0]} and {ours[1]}"
    return ""


def _peft_config(modules: Mapping[str, Size], settings: TrainingSettings) -> LoraConfig:
    usual = Counter(modules.values()).most_common(1)[0][0]
    others = {name: size for name, size in modules.items() if size != usual}
    return LoraConfig(
        r=usual.rank, lora_alpha=usual.alpha, target_modules=list(modules), lora_dropout=settings.dropout,
        rank_pattern={f"^{_escaped(n)}": s.rank for n, s in others.items()},
        alpha_pattern={f"^{_escaped(n)}": s.alpha for n, s in others.items()},
        use_dora=settings.dora,
    )  # fmt: skip


def _escaped(name: str) -> str:
    return name.replace(".", r"\.")


def _weights(layer: LoraLayer) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """A layer's parameters by their key in LoRA files."""
    yield "lora_down.weight", layer.lora_A[_NAME].weight
    yield "lora_up.weight", layer.lora_B[_NAME].weight
    if _NAME in layer.lora_magnitude_vector:
        yield "dora_scale", layer.lora_magnitude_vector[_NAME].weight


def _as_dora_scale(magnitude: torch.Tensor, layer: LoraLayer) -> torch.Tensor:
    """Peft's magnitude as files hold it: one number per output, (out, 1) or (out, 1, 1, 1)."""
    return magnitude.reshape(-1, *[1] * (layer.get_base_layer().weight.dim() - 1)).contiguous().clone()


def _norms(layer: LoraLayer) -> torch.Tensor:
    """Length of each output's weights with the adapter in place, (out,): magnitudes at which DoRA changes nothing."""
    weight = layer.get_base_layer().weight.flatten(1).float()
    update = layer.lora_B[_NAME].weight.flatten(1) @ layer.lora_A[_NAME].weight.flatten(1)
    return (weight + layer.scaling[_NAME] * update).norm(dim=1)  # type: ignore[no-any-return]
