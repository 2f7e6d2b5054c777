"""SD 1.x and SD 2.x: one CLIP text encoder, diffusers names in LoRA files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import CLIPTextModel

from trainer.families.backbone import Backbone, Conditioning, weighed

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    from trainer.quantized_parts import Quantization


class StableDiffusion(Backbone):
    """Stable Diffusion 1.x and 2.x."""

    text_model_classes = {"text_encoder": CLIPTextModel}  # noqa: RUF012

    def load_unet(
        self, dtype: torch.dtype, device: torch.device, quantization: Quantization | None = None
    ) -> UNet2DConditionModel:
        """Reads the UNet, frozen; when the file does not tell what it predicts (SD 2.x), the UNet is asked."""
        unet = super().load_unet(dtype, device, quantization)
        if "prediction_type" not in self.noise:
            self.noise["prediction_type"] = _asked_prediction(unet)
        return unet

    def encode_captions(
        self, texts: list[str], *, clip_skip: int, max_tokens: int, weights: bool = False
    ) -> Conditioning:
        """States (B, 77 x chunks, C); clip skip n takes the n-th layer from the end, through the final norm."""
        ids, factors = self.tokenize("text_encoder", texts, max_tokens, weights=weights)
        encoder = self.text_encoders["text_encoder"]
        out: BaseModelOutputWithPooling = encoder(ids, output_hidden_states=clip_skip > 1)
        states = out.last_hidden_state
        if clip_skip > 1:
            states = text_core(encoder).final_layer_norm(out.hidden_states[-clip_skip])
        return Conditioning(join_chunks(weighed(states, factors), len(texts)))

    def denoise(self, noisy: torch.Tensor, t: torch.Tensor, told: Conditioning, size_ids: torch.Tensor) -> torch.Tensor:
        """The size ids are not used by this family."""
        assert self.unet is not None
        prediction: torch.Tensor = self.unet(noisy, t, told.states, return_dict=False)[0]
        return prediction

    def stems(self, part: str, module: str) -> tuple[str, ...]:
        """Kohya's names: diffusers paths with underscores."""
        if part != "unet":
            return (text_stem(self.family.text_parts[part], module),)
        return ("lora_unet_" + module.replace(".", "_"),)


@torch.no_grad()
def _asked_prediction(unet: UNet2DConditionModel) -> str:
    """What an SD 2.x UNet predicts, from its answer to a grey picture at the last timestep, where v is about minus the picture.

    https://github.com/AUTOMATIC1111/stable-diffusion-webui/blob/v1.10.1/modules/sd_models_config.py
    """
    grey = torch.full((1, 4, 8, 8), 0.5, device=unet.device, dtype=unet.dtype)
    told = torch.full((1, 2, unet.config.cross_attention_dim), 0.5, device=unet.device, dtype=unet.dtype)
    answer = unet(grey, torch.tensor([999], device=unet.device), told, return_dict=False)[0]
    return "v_prediction" if (answer - grey).float().mean().item() < -1 else "epsilon"


def text_core(encoder: CLIPTextModel) -> Any:
    """The module that holds layers and final norm.

    transformers 5 dropped the level `text_model` from CLIPTextModel but kept it in CLIPTextModelWithProjection.
    """
    return getattr(encoder, "text_model", encoder)


def text_stem(prefix: str, module: str) -> str:
    """A text-encoder module's name in LoRA files, which always has the level `text_model`."""
    return f"{prefix}_text_model_{module.removeprefix('text_model.')}".replace(".", "_")


def join_chunks(states: torch.Tensor, count: int) -> torch.Tensor:
    """(B x chunks, 77, C) to (B, chunks x 77, C), as A1111 and ComfyUI join long prompts."""
    return states.reshape(count, -1, states.shape[-1])


BACKBONE = StableDiffusion
