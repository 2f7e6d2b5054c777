"""Where the layers that LoRAs change lie in a checkpoint of the original layout, and what kohya calls them. Imports no torch."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import resources
from trainer.families import FAMILIES, lora_names, original

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from trainer.families.original import Origin

_BLOCK = (*(f"attn{n}.to_{w}" for n in (1, 2) for w in ("q", "k", "v", "out.0")), "ff.net.0.proj", "ff.net.2")
_RESNET = ("conv1", "time_emb_proj", "conv2", "conv_shortcut")
_TEXT_ATTENTION = tuple(f"self_attn.{w}_proj" for w in ("q", "k", "v", "out"))
_TEXT_LAYER = (*_TEXT_ATTENTION, "mlp.fc1", "mlp.fc2")


@dataclass(frozen=True)
class Target:
    """A module of the file.

    stem: what kohya's LoRA files call it. together: names what must be in a file together or not at all, "" for most:
    A1111 leaves out an OpenCLIP attention of which query, key, value or output is missing.
    """

    stem: str
    origin: Origin
    together: str = ""


class CheckpointLayers:
    """The modules of one checkpoint.

    Attributes:
        parts: those the file holds: "unet", and its text encoders.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], family: str) -> None:
        """shapes: by tensor name, of the file. family: id in the family table."""
        self._shapes, self._family = shapes, FAMILIES[family]
        places = {part: original.place(part, shapes) for part in ("unet", *self._family.text_parts)}
        self._places = {part: place for part, place in places.items() if place is not None}
        self._configs = {part: _config(family, part) for part in self._places}
        self.parts = list(self._places)

    def find(self, stem: str) -> Origin | None:
        """The weight that a layer of a LoRA file changes; None when the file has none."""
        found = lora_names.path(stem)
        return None if found is None else self._origin(*found)

    @staticmethod
    def part(stem: str) -> str:
        """The part that a layer belongs to, or ""."""
        found = lora_names.path(stem)
        return found[0] if found else ""

    def shape(self, origin: Origin) -> tuple[int, ...]:
        """Of the weight."""
        shape = self._shapes[origin.name]
        return shape if origin.third is None else (shape[0] // 3, *shape[1:])

    def targets(self, *, convolutions: bool) -> Iterator[Target]:
        """All modules that kohya makes layers for, in the model's order; convolutions: those of ResNet blocks too."""
        for part in self.parts:
            for module in _unet(self._configs[part], convolutions) if part == "unet" else self._text(part):
                if (origin := self._origin(part, module)) is not None:
                    fused = self._places[part].style == "openclip" and module.endswith(_TEXT_ATTENTION)
                    together = f"{part}.{module.rsplit('.', 1)[0]}" if fused else ""
                    yield Target(lora_names.stem(part, module, self._family), origin, together)

    def _origin(self, part: str, module: str) -> Origin | None:
        if (place := self._places.get(part)) is None:
            return None
        origin = original.origin(f"{module}.weight", place, self._configs[part])
        return origin if len(self._shapes.get(origin.name, ())) > 1 else None

    def _text(self, part: str) -> Iterator[str]:
        """Modules of a text encoder; OpenCLIP's last layer is left out where the family does not use it."""
        for layer in range(self._configs[part]["num_hidden_layers"]):
            yield from (f"text_model.encoder.layers.{layer}.{name}" for name in _TEXT_LAYER)


def _config(family: str, part: str) -> dict[str, Any]:
    """As published; only what all models of the family have in common is asked of it."""
    path = resources.path("configs", family, part, "config.json")
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return config


def _unet(config: Mapping[str, Any], convolutions: bool) -> Iterator[str]:
    """Module paths that a UNet of the family can have."""
    blocks, layers = len(config["down_block_types"]), config["layers_per_block"]
    sides = [f"{side}_blocks.{b}" for side in ("down", "up") for b in range(blocks)]
    for block in (*sides[:blocks], "mid_block", *sides[blocks:]):
        for i in range(layers + 1):
            if convolutions:
                yield from (f"{block}.resnets.{i}.{name}" for name in _RESNET)
            yield from _attention(f"{block}.attentions.{i}", config)
        if convolutions and block != "mid_block":
            yield f"{block}.{re.sub('_.*', '', block)}samplers.0.conv"


def _attention(path: str, config: Mapping[str, Any]) -> Iterator[str]:
    depth = config.get("transformer_layers_per_block", 1)
    deepest = depth if isinstance(depth, int) else max(depth)
    yield f"{path}.proj_in"
    for n, name in itertools.product(range(deepest), _BLOCK):
        yield f"{path}.transformer_blocks.{n}.{name}"
    yield f"{path}.proj_out"
