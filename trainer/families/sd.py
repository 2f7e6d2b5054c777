"""SD 1.x and SD 2.x: one CLIP text encoder, diffusers names in LoRA files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import CLIPTextModel

from trainer.families.backbone import Backbone, Conditioning

if TYPE_CHECKING:
    import torch
    from transformers.modeling_outputs import BaseModelOutputWithPooling


class StableDiffusion(Backbone):
    """Stable Diffusion 1.x and 2.x."""

    text_model_classes = {"text_encoder": CLIPTextModel}  # noqa: RUF012

    def encode_captions(self, texts: list[str], *, clip_skip: int, max_tokens: int) -> Conditioning:
        """States (B, 77 x chunks, C); clip skip n takes the n-th layer from the end, through the final norm."""
        ids = self.tokenize("text_encoder", texts, max_tokens)
        encoder = self.text_encoders["text_encoder"]
        out: BaseModelOutputWithPooling = encoder(ids, output_hidden_states=clip_skip > 1)
        states = out.last_hidden_state
        if clip_skip > 1:
            states = text_core(encoder).final_layer_norm(out.hidden_states[-clip_skip])
        return Conditioning(join_chunks(states, len(texts)))

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
