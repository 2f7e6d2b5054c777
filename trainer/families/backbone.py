"""What every family's model can do; the rest of the trainer knows only this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from trainer import device as devices
from trainer import prompt_syntax
from trainer.families.anatomy import TEXT_TARGETS, UNET_TARGETS, endings
from trainer.families.folder import FolderSource
from trainer.families.single_file import FileSource

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from transformers import CLIPTextModel, CLIPTokenizer

    from trainer.families import Family
    from trainer.quantized_parts import Quantization

_TILE_PX = 512


@dataclass(frozen=True)
class Conditioning:
    """What the UNet is told: states (B, T, C) of the captions; pooled (B, P) where the family has it."""

    states: torch.Tensor
    pooled: torch.Tensor | None = None

    def to(self, device: torch.device, dtype: torch.dtype) -> Conditioning:
        """The same on a device, in a dtype."""
        pooled = None if self.pooled is None else self.pooled.to(device, dtype, non_blocking=True)
        return Conditioning(self.states.to(device, dtype, non_blocking=True), pooled)

    def __getitem__(self, index: slice) -> Conditioning:
        return Conditioning(self.states[index], None if self.pooled is None else self.pooled[index])

    @staticmethod
    def cat(parts: Iterable[Conditioning]) -> Conditioning:
        """One batch of several."""
        parts = list(parts)
        pooled = None if parts[0].pooled is None else torch.cat([p.pooled for p in parts if p.pooled is not None])
        return Conditioning(torch.cat([p.states for p in parts]), pooled)


class Backbone:
    """A base model: the parts are read one by one, used, and let go.

    Attributes:
        unet, vae: None until loaded. text_encoders: by part name, empty until loaded.
        noise: the scheduler's own configuration (betas, prediction type).
        tiles: whether an autoencoder that is loaded from now on takes large pictures in tiles, with little memory.
    """

    text_model_classes: ClassVar[dict[str, type[Any]]]

    def __init__(self, family: Family, base: Path, vae: Path | None = None) -> None:
        """vae: a file or folder whose autoencoder is used instead of the model's own."""
        self.family, self.base = family, base
        self.source: Source = FileSource(base, family.id) if base.is_file() else FolderSource(base)
        self.vae_source = self.source
        if vae is not None:
            self.vae_source = FileSource(vae, family.id) if vae.is_file() else FolderSource(vae, vae_only=True)
        self.unet: UNet2DConditionModel | None = None
        self.vae: AutoencoderKL | None = None
        self.tiles = False
        self.text_encoders: dict[str, CLIPTextModel] = {}
        self.tokenizers: dict[str, CLIPTokenizer] = {}
        self.noise = self.source.config("scheduler")
        config = self.vae_source.config("vae")
        self.latent_channels: int = config.get("latent_channels", 4)
        self.scaling_factor: float = config.get("scaling_factor", 0.18215)
        self.vae_scale: int = 2 ** (len(config.get("block_out_channels", (64,))) - 1)

    # Parts

    def load_unet(
        self, dtype: torch.dtype, device: torch.device, quantization: Quantization | None = None
    ) -> UNet2DConditionModel:
        """Reads the UNet, frozen; its linear layers quantised when asked for."""
        unet = self.source.read(UNet2DConditionModel, "unet", dtype, device, quantization)
        self.unet = unet.requires_grad_(False).eval()
        return self.unet

    def load_vae(self, device: torch.device, dtype: torch.dtype = torch.float32) -> AutoencoderKL:
        """Reads the autoencoder, frozen; never in fp16, where the SDXL one overflows."""
        if self.vae is None or self.vae.dtype is not dtype:
            self.vae = None
            self.vae = self.vae_source.read(AutoencoderKL, "vae", dtype, device)
            self.vae.requires_grad_(False).eval().to(memory_format=torch.channels_last)  # a sixth quicker on CPUs
            if self.tiles:
                self.vae.enable_tiling()
                self.vae.tile_sample_min_size, self.vae.tile_latent_min_size = _TILE_PX, _TILE_PX // self.vae_scale
        return self.vae.to(device)

    def load_text_encoders(
        self, dtype: torch.dtype, device: torch.device, quantization: Quantization | None = None
    ) -> None:
        """Reads tokenizers and text encoders, frozen; their linear layers quantised when asked for."""
        for part in self.family.text_parts:
            self.tokenizers[part] = self.source.tokenizer(part)
            model = self.source.read(self.text_model_classes[part], part, dtype, device, quantization)
            self.text_encoders[part] = model.requires_grad_(False).eval()

    def free_text_encoders(self) -> None:
        """Lets the text encoders leave memory."""
        self.text_encoders = {}
        devices.collect()

    def free_vae(self) -> None:
        """Lets the autoencoder leave memory."""
        self.vae = None
        devices.collect()

    def part(self, name: str) -> torch.nn.Module:
        """The UNet or a text encoder by its part name."""
        module: torch.nn.Module | None = self.unet if name == "unet" else self.text_encoders[name]
        assert module is not None, f"{name} is not loaded"
        return module

    # What a family decides

    def encode_captions(
        self, texts: list[str], *, clip_skip: int, max_tokens: int, weights: bool = False
    ) -> Conditioning:
        """Captions as the UNet is told them; gradients flow when the text encoders are trained.

        weights: whether `(word:1.2)` makes a word stronger; else brackets are text.
        """
        raise NotImplementedError

    def denoise(self, noisy: torch.Tensor, t: torch.Tensor, told: Conditioning, size_ids: torch.Tensor) -> torch.Tensor:
        """The UNet's prediction for latents (B, 4, h, w) at timesteps (B,).

        size_ids: (B, 6): original height and width, crop top and left, target height and width, in px.
        """
        raise NotImplementedError

    def stems(self, part: str, module: str) -> tuple[str, ...]:
        """Names of a module in LoRA files: the one that is written, then others that are read."""
        raise NotImplementedError

    # The same for all

    def encode_pictures(self, pictures: torch.Tensor) -> torch.Tensor:
        """Pictures (B, 3, H, W) in [-1, 1] to scaled latents (B, 4, H/8, W/8) in fp32: the mean of the posterior."""
        assert self.vae is not None, "the autoencoder is not loaded"
        pictures = pictures.to(self.vae.dtype, memory_format=torch.channels_last)
        mean: torch.Tensor = self.vae.encode(pictures).latent_dist.mean
        return mean.float() * self.scaling_factor

    def decode_latents(self, latents: torch.Tensor) -> torch.Tensor:
        """Scaled latents back to pictures in [-1, 1]."""
        assert self.vae is not None, "the autoencoder is not loaded"
        pictures: torch.Tensor = self.vae.decode(latents.float() / self.scaling_factor, return_dict=False)[0]
        return pictures

    def lora_modules(self, targets: Iterable[str], *, text: bool) -> dict[str, list[str]]:
        """Module paths that get adapters, by part, in the model's order."""
        unet_ends = endings(targets, UNET_TARGETS)
        assert self.unet is not None, "the UNet is not loaded"
        out = {"unet": [n for n, _ in self.unet.named_modules() if n.endswith(unet_ends)]}
        text_ends = endings(targets, TEXT_TARGETS)
        if text and text_ends:
            for part, encoder in self.text_encoders.items():
                out[part] = [n for n, _ in encoder.named_modules() if n.endswith(text_ends)]
        return out

    def tokenize(
        self, part: str, texts: list[str], max_tokens: int, *, weights: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Token ids in chunks of 77 (start, 75 tokens, end, padding): (B x max_tokens/75, 77), and each token's weight.

        weights: whether `(word:1.2)` in a text is one. Where any differs from 1, the weights are of that shape, and a last
        row of ids is the empty text, for `weighed`; else they are None.
        """
        tokenizer = self.tokenizers[part]
        rows: list[list[int]] = []
        factors: list[list[float]] = []
        for text in texts:
            words: list[tuple[int, float]] = []
            for piece, weight in prompt_syntax.weighted(text) if weights else [(text, 1.0)]:
                found = tokenizer(piece, add_special_tokens=False, truncation=False, verbose=False).input_ids
                words += [(word, weight) for word in found]
            for start in range(0, max_tokens, 75):
                some = words[:max_tokens][start : start + 75]
                ids = [tokenizer.bos_token_id, *(word for word, _ in some), tokenizer.eos_token_id]
                rows.append(ids + [tokenizer.pad_token_id] * (77 - len(ids)))
                factors.append([1.0, *(weight for _, weight in some), *[1.0] * (76 - len(some))])
        device = self.text_encoders[part].device
        if all(factor == 1 for row in factors for factor in row):
            return torch.tensor(rows, device=device), None
        rows.append([tokenizer.bos_token_id, tokenizer.eos_token_id, *[tokenizer.pad_token_id] * 75])
        return torch.tensor(rows, device=device), torch.tensor(factors, device=device)

    def fingerprint(self, parts: list[str]) -> str:
        """Tells the weights, configurations and tokenizers of parts of this model from those of others, for caches."""
        given = [self.vae_source.fingerprint(["vae"])] if "vae" in parts and self.vae_source is not self.source else []
        rest = [part for part in parts if not (given and part == "vae")]
        return "|".join(given + ([self.source.fingerprint(rest)] if rest else []))


def weighed(states: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    """States (rows, 77, C) at their tokens' weights (rows, 77): away from the empty text's states, which are the last row.

    As ComfyUI; A1111 scales the states themselves, which upsets encoders whose states are far from 0.
    https://github.com/comfyanonymous/ComfyUI/blob/v0.8.0/comfy/sd1_clip.py
    """
    if weights is None:
        return states
    empty = states[-1:]
    return empty + (states[:-1] - empty) * weights[..., None].to(states.dtype)


class Source(Protocol):
    """A base model on disk, whichever its layout."""

    def config(self, part: str) -> dict[str, Any]:
        """The configuration of a part, or of the scheduler."""

    def read(
        self, kind: type[Any], part: str, dtype: torch.dtype, device: torch.device, quantization: Quantization | None = None
    ) -> Any:  # fmt: skip
        """A part with its weights, its linear layers quantised when asked for."""

    def tokenizer(self, part: str) -> CLIPTokenizer:
        """The tokenizer of a text encoder."""

    def fingerprint(self, parts: list[str]) -> str:
        """Tells the parts from those of other models."""
