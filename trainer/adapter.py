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

from trainer.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from trainer.families.backbone import Backbone
    from trainer.settings import TrainingSettings

_NAME = "default"  # of peft's adapter


@dataclass(frozen=True)
class Size:
    """Rank and alpha of one adapted module; the update's strength is alpha / rank (alpha / sqrt(rank) for rsLoRA)."""

    rank: int
    alpha: float


class Adapter:
    """The LoRA layers of a run.

    Attributes:
        layers: peft's layer of each module, by (part, module path), in the model's order.
    """

    def __init__(self, backbone: Backbone, sizes: Mapping[str, Mapping[str, Size]], settings: TrainingSettings) -> None:
        self.backbone, self.rslora = backbone, settings.rslora
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

    def tensors(self) -> dict[str, torch.Tensor]:
        """The weights under the names of LoRA files, fp32 on the CPU; each module has its alpha.

        rsLoRA's scale is folded into alpha, as readers scale by alpha / rank.
        """
        out: dict[str, torch.Tensor] = {}
        for (part, module), layer in self.layers.items():
            stem = self.backbone.stems(part, module)[0]
            for key, parameter in _weights(layer):
                value = parameter.detach().float().cpu()
                out[f"{stem}.{key}"] = _as_dora_scale(value, layer) if key == "dora_scale" else value.contiguous().clone()
            rank, alpha = layer.r[_NAME], float(layer.lora_alpha[_NAME])
            out[f"{stem}.alpha"] = torch.tensor(alpha * math.sqrt(rank) if self.rslora else alpha)
        return out

    @torch.no_grad()
    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Takes over weights that were read from a LoRA file (`tensors`)."""
        for (part, module), layer in self.layers.items():
            stem = next(s for s in self.backbone.stems(part, module) if f"{s}.lora_down.weight" in tensors)
            for key, parameter in _weights(layer):
                if f"{stem}.{key}" in tensors:
                    parameter.copy_(tensors[f"{stem}.{key}"].reshape(parameter.shape))

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
    usual = Size(settings.rank, settings.alpha)
    wide = Size(settings.conv_rank or settings.rank, settings.conv_alpha or settings.alpha)
    for part, names in backbone.lora_modules(settings.targets, text=settings.train_text_encoder).items():
        modules = dict(backbone.part(part).named_modules())
        out[part] = {n: wide if getattr(modules[n], "kernel_size", (1, 1)) != (1, 1) else usual for n in names}
    return out


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
    for part in ("unet", *backbone.text_encoders):
        for name, module in backbone.part(part).named_modules():
            if not isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
                continue
            stem = next((s for s in backbone.stems(part, name) if s in stems), None)
            if stem is None:
                continue
            down, up = tensors[f"{stem}.lora_down.weight"], tensors[f"{stem}.lora_up.weight"]
            weight = module.weight
            if down.flatten(1).shape[1] != weight.flatten(1).shape[1] or up.shape[0] != weight.shape[0]:
                raise ModelError(
                    f"{path.name} does not fit this base model: layer {stem} expects {down.flatten(1).shape[1]} inputs and "
                    f"{up.shape[0]} outputs, the model has {weight.flatten(1).shape[1]} and {weight.shape[0]}. "
                    "Choose a LoRA made for the same kind of base model."
                )
            alpha = tensors.get(f"{stem}.alpha")
            out.setdefault(part, {})[name] = Size(down.shape[0], float(down.shape[0] if alpha is None else alpha))
            used.add(stem)
    text_missing = {s for s in stems - used if s.startswith("lora_te")}
    if len(used) + len(text_missing) < len(stems) or not out:
        unknown = sorted(stems - used)
        raise ModelError(
            f"{path.name} was made for another family of models than {backbone.family.title}: {len(unknown)} of its "
            f"{len(stems)} layers have no place here, e.g. {unknown[0]}. Choose a LoRA made for {backbone.family.title}."
        )
    return out


def _peft_config(modules: Mapping[str, Size], settings: TrainingSettings) -> LoraConfig:
    usual = Counter(modules.values()).most_common(1)[0][0]
    others = {name: size for name, size in modules.items() if size != usual}
    return LoraConfig(
        r=usual.rank, lora_alpha=usual.alpha, target_modules=list(modules), lora_dropout=settings.dropout,  # type: ignore[arg-type]
        rank_pattern={f"^{_escaped(n)}": s.rank for n, s in others.items()},
        alpha_pattern={f"^{_escaped(n)}": s.alpha for n, s in others.items()},
        use_dora=settings.dora, use_rslora=settings.rslora,
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
    """peft's magnitude as files hold it: one number per output, (out, 1) or (out, 1, 1, 1)."""
    return magnitude.reshape(-1, *[1] * (layer.get_base_layer().weight.dim() - 1)).contiguous().clone()
