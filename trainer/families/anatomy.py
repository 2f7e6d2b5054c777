"""What a base model is made of, from its configurations alone: layers, shapes, where each works. Imports no torch."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import resources
from trainer import families
from trainer.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from trainer.families import Family

UNET_TARGETS = {
    "attention": (".to_q", ".to_k", ".to_v", ".to_out.0"),
    "feed_forward": (".ff.net.0.proj", ".ff.net.2"),
    "projections": (".proj_in", ".proj_out"),
    "convolutions": (".conv1", ".conv2", ".time_emb_proj", ".conv_shortcut", "samplers.0.conv"),
}
TEXT_TARGETS = {
    "attention": (".self_attn.q_proj", ".self_attn.k_proj", ".self_attn.v_proj", ".self_attn.out_proj"),
    "feed_forward": (".mlp.fc1", ".mlp.fc2"),
}

_SHARE = 0.5  # of what a UNet's transformers keep, that `neediest` names


@dataclass(frozen=True)
class Layer:
    """A linear layer (kernel 0) or convolution: its module path, its weight's shape, and whether it has a bias."""

    name: str
    inputs: int
    outputs: int
    kernel: int = 0
    bias: bool = True
    stride: int = 1

    @property
    def weights(self) -> int:
        """Numbers in its weight."""
        return self.inputs * self.outputs * max(1, self.kernel) ** 2

    @property
    def parameters(self) -> int:
        """Numbers in its weight and bias."""
        return self.weights + (self.outputs if self.bias else 0)


@dataclass(frozen=True)
class Piece:
    """A block of a UNet or autoencoder, in the order of computation.

    level: how often width and height have been halved where it works. depth: transformer layers of an attention; 0 in an
    autoencoder, whose attention is one layer. others: numbers in norms and the like.
    """

    kind: Literal["resnet", "attention", "sampler", "edge"]
    name: str
    inputs: int
    outputs: int
    level: int
    layers: tuple[Layer, ...]
    others: int = 0
    depth: int = 0

    @property
    def parameters(self) -> int:
        """All its numbers."""
        return sum(layer.parameters for layer in self.layers) + self.others


@dataclass(frozen=True)
class Text:
    """A text encoder: its layers with weights, the numbers besides them, and what tells its activations."""

    layers: tuple[Layer, ...]
    others: int
    width: int
    inner: int
    depth: int

    @property
    def parameters(self) -> int:
        """All its numbers."""
        return sum(layer.parameters for layer in self.layers) + self.others


@dataclass(frozen=True)
class Anatomy:
    """A base model. unet, encoder, decoder (of the autoencoder) in order of computation; text: by part name.

    context: width of the states that the UNet attends to. scale: pixels of a picture to one of its latents, on a side.
    """

    family: Family
    unet: tuple[Piece, ...]
    text: Mapping[str, Text]
    encoder: tuple[Piece, ...]
    decoder: tuple[Piece, ...]
    context: int
    scale: int

    def layers(self, part: str) -> tuple[Layer, ...]:
        """Layers with weights of "unet" or of a text encoder."""
        return (
            tuple(layer for piece in self.unet for layer in piece.layers) if part == "unet" else self.text[part].layers
        )

    def parameters(self, part: str) -> int:
        """Numbers in "unet", "vae" or a text encoder."""
        pieces = {"unet": self.unet, "vae": (*self.encoder, *self.decoder)}.get(part)
        return self.text[part].parameters if pieces is None else sum(piece.parameters for piece in pieces)


def of(base: Path, vae: Path | None = None) -> Anatomy:
    """The anatomy of a model folder or single file; no weight is read. vae: an autoencoder used instead of its own.

    Raises:
        ModelError: it is no model that can be trained, or its configuration cannot be read.
    """
    family = families.detect(base)
    folder = resources.path("configs", family.id) if base.is_file() else base
    own = _vae_folder(vae) if vae is not None and vae.is_dir() else folder / "vae"
    try:
        unet, autoencoder = _config(folder / "unet"), _config(own)
        text = {part: _text(part, _config(folder / part)) for part in family.text_parts}
        return Anatomy(
            family, tuple(_unet(unet)), text, tuple(_encoder(autoencoder)), tuple(_decoder(autoencoder)),
            int(unet["cross_attention_dim"]), 2 ** (len(autoencoder["block_out_channels"]) - 1),
        )  # fmt: skip
    except (KeyError, TypeError, IndexError) as error:
        raise ModelError(
            f"The configuration of {base} is not that of a usual {family.title} model ({error!r})."
        ) from None


def targeted(layers: Iterable[Layer], targets: Iterable[str], table: Mapping[str, tuple[str, ...]]) -> list[Layer]:
    """Those of the layers that get adapters."""
    ends = endings(targets, table)
    return [layer for layer in layers if layer.name.endswith(ends)]


def endings(targets: Iterable[str], table: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """How the names of the layers of these targets end; for `str.endswith`."""
    return tuple(end for target in targets for end in table.get(target, ()))


def neediest(transformers: Iterable[tuple[str, int, int, int]]) -> list[str]:
    """Names of the transformers that hold half of what all of them hold, those first that win most for the time they cost.

    transformers: of a UNet, each with name, width, depth and level. What one keeps for the way back grows with pixels x width
    x depth, and computing it again with pixels x width^2 x depth; so the narrow ones of high resolution come first.
    """
    found = sorted(transformers, key=lambda one: one[1])
    kept = [width * depth * 0.25**level for _, width, depth, level in found]
    out: list[str] = []
    while sum(kept[: len(out)]) < _SHARE * sum(kept):
        out.append(found[len(out)][0])
    return out


def _vae_folder(vae: Path) -> Path:
    return vae if (vae / "config.json").is_file() else vae / "vae"


def _config(folder: Path) -> dict[str, Any]:
    try:
        values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder / 'config.json'} cannot be read ({error}). Copy the model again.") from None
    if not isinstance(values, dict):
        raise ModelError(f"{folder / 'config.json'} is not a configuration file. Copy the model again.")
    return values


# UNet


@dataclass(frozen=True)
class _Unet:
    """What is the same in all blocks. time: width of the time embedding."""

    time: int
    context: int
    linear: bool

    def resnet(self, name: str, inputs: int, outputs: int, level: int) -> Piece:
        layers = [
            Layer(f"{name}.conv1", inputs, outputs, 3),
            *([Layer(f"{name}.time_emb_proj", self.time, outputs)] if self.time else []),
            Layer(f"{name}.conv2", outputs, outputs, 3),
            *([Layer(f"{name}.conv_shortcut", inputs, outputs, 1)] if inputs != outputs else []),
        ]
        return Piece("resnet", name, inputs, outputs, level, tuple(layers), 2 * (inputs + outputs))

    def attention(self, name: str, width: int, level: int, depth: int) -> Piece:
        kernel = 0 if self.linear else 1
        layers = [Layer(f"{name}.proj_in", width, width, kernel)]
        for i in range(depth):
            at = f"{name}.transformer_blocks.{i}"
            for attn, source in (("attn1", width), ("attn2", self.context)):
                layers.append(Layer(f"{at}.{attn}.to_q", width, width, bias=False))
                layers += [Layer(f"{at}.{attn}.to_{word}", source, width, bias=False) for word in "kv"]
                layers.append(Layer(f"{at}.{attn}.to_out.0", width, width))
            layers.append(Layer(f"{at}.ff.net.0.proj", width, 8 * width))
            layers.append(Layer(f"{at}.ff.net.2", 4 * width, width))
        layers.append(Layer(f"{name}.proj_out", width, width, kernel))
        return Piece("attention", name, width, width, level, tuple(layers), 2 * width + 6 * width * depth, depth)


def _unet(config: Mapping[str, Any]) -> Iterator[Piece]:
    widths: list[int] = config["block_out_channels"]
    time, last = 4 * widths[0], len(widths) - 1
    make = _Unet(time, config["cross_attention_dim"], bool(config.get("use_linear_projection")))
    per_block, depths = config.get("layers_per_block", 2), config.get("transformer_layers_per_block", 1)
    depths = [depths] * len(widths) if isinstance(depths, int) else depths
    extra = config.get("projection_class_embeddings_input_dim") if config.get("addition_embed_type") else None
    times = [Layer("time_embedding.linear_1", widths[0], time), Layer("time_embedding.linear_2", time, time)]
    if extra:
        times += [Layer("add_embedding.linear_1", extra, time), Layer("add_embedding.linear_2", time, time)]
    start = Layer("conv_in", config.get("in_channels", 4), widths[0], 3)
    yield Piece("edge", "conv_in", start.inputs, widths[0], 0, (*times, start))
    skips, width = [widths[0]], widths[0]
    for b, kind in enumerate(config["down_block_types"]):
        for i in range(per_block):
            yield make.resnet(f"down_blocks.{b}.resnets.{i}", width, widths[b], b)
            width = widths[b]
            skips.append(width)
            if "CrossAttn" in kind:
                yield make.attention(f"down_blocks.{b}.attentions.{i}", width, b, depths[b])
        if b != last:
            skips.append(width)
            yield _sampler(f"down_blocks.{b}.downsamplers.0", width, b + 1, 2)
    yield make.resnet("mid_block.resnets.0", width, width, last)
    yield make.attention("mid_block.attentions.0", width, last, depths[-1])
    yield make.resnet("mid_block.resnets.1", width, width, last)
    for b, kind in enumerate(config["up_block_types"]):
        level = last - b
        for i in range(per_block + 1):
            yield make.resnet(f"up_blocks.{b}.resnets.{i}", width + skips.pop(), widths[level], level)
            width = widths[level]
            if "CrossAttn" in kind:
                yield make.attention(f"up_blocks.{b}.attentions.{i}", width, level, depths[level])
        if b != last:
            yield _sampler(f"up_blocks.{b}.upsamplers.0", width, level - 1, 1)
    end = Layer("conv_out", width, config.get("out_channels", 4), 3)
    yield Piece("edge", "conv_out", width, end.outputs, 0, (end,), 2 * width)


def _sampler(name: str, width: int, level: int, stride: int) -> Piece:
    return Piece("sampler", name, width, width, level, (Layer(f"{name}.conv", width, width, 3, stride=stride),))


# Autoencoder and text encoders


def _encoder(config: Mapping[str, Any]) -> Iterator[Piece]:
    widths, latents = config["block_out_channels"], config.get("latent_channels", 4)
    last, width, make = len(widths) - 1, widths[0], _Unet(0, 0, linear=True)
    yield Piece("edge", "encoder.conv_in", 3, width, 0, (Layer("encoder.conv_in", 3, width, 3),))
    for b in range(len(widths)):
        for i in range(config.get("layers_per_block", 1)):
            yield make.resnet(f"encoder.down_blocks.{b}.resnets.{i}", width, widths[b], b)
            width = widths[b]
        if b != last:
            yield _sampler(f"encoder.down_blocks.{b}.downsamplers.0", width, b + 1, 2)
    yield from _middle("encoder", width, last)
    end = (Layer("encoder.conv_out", width, 2 * latents, 3), Layer("quant_conv", 2 * latents, 2 * latents, 1))
    yield Piece("edge", "encoder.conv_out", width, 2 * latents, last, end, 2 * width)


def _decoder(config: Mapping[str, Any]) -> Iterator[Piece]:
    widths, latents = config["block_out_channels"], config.get("latent_channels", 4)
    last, width, make = len(widths) - 1, widths[-1], _Unet(0, 0, linear=True)
    start = (Layer("post_quant_conv", latents, latents, 1), Layer("decoder.conv_in", latents, width, 3))
    yield Piece("edge", "decoder.conv_in", latents, width, last, start)
    yield from _middle("decoder", width, last)
    for b in range(len(widths)):
        level = last - b
        for i in range(config.get("layers_per_block", 1) + 1):
            yield make.resnet(f"decoder.up_blocks.{b}.resnets.{i}", width, widths[level], level)
            width = widths[level]
        if b != last:
            yield _sampler(f"decoder.up_blocks.{b}.upsamplers.0", width, level - 1, 1)
    yield Piece("edge", "decoder.conv_out", width, 3, 0, (Layer("decoder.conv_out", width, 3, 3),), 2 * width)


def _middle(side: str, width: int, level: int) -> Iterator[Piece]:
    make, at = _Unet(0, 0, linear=True), f"{side}.mid_block"
    yield make.resnet(f"{at}.resnets.0", width, width, level)
    layers = tuple(Layer(f"{at}.attentions.0.{name}", width, width) for name in ("to_q", "to_k", "to_v", "to_out.0"))
    yield Piece("attention", f"{at}.attentions.0", width, width, level, layers, 2 * width)
    yield make.resnet(f"{at}.resnets.1", width, width, level)


def _text(part: str, config: Mapping[str, Any]) -> Text:
    width, inner, depth = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    layers = []
    for i in range(depth):
        at = f"text_model.encoder.layers.{i}"
        layers += [Layer(f"{at}.self_attn.{word}_proj", width, width) for word in ("k", "v", "q", "out")]
        layers += [Layer(f"{at}.mlp.fc1", width, inner), Layer(f"{at}.mlp.fc2", inner, width)]
    projects = "Projection" in "".join(config.get("architectures") or ()) or part != "text_encoder"
    if projects:
        layers.append(Layer("text_projection", width, config["projection_dim"], bias=False))
    embedded = config["vocab_size"] + config.get("max_position_embeddings", 77)
    return Text(tuple(layers), embedded * width + 4 * width * depth + 2 * width, width, inner, depth)


def seen(pieces: Iterable[Piece], width_px: int, height_px: int, scale: int = 1) -> Iterator[tuple[Piece, int]]:
    """Each piece with the positions (pixels of its feature map) it works on, for a picture; scale: see `Anatomy`."""
    for piece in pieces:
        by = scale * 2**piece.level
        yield piece, math.ceil(width_px / by) * math.ceil(height_px / by)
