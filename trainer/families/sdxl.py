"""SDXL: two text encoders, a pooled embedding, size and crop ids, CompVis names in LoRA files."""

from __future__ import annotations

import torch
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from trainer.families.backbone import Backbone, Conditioning, weighed
from trainer.families.original import unet_name
from trainer.families.sd import join_chunks, text_stem


class StableDiffusionXL(Backbone):
    """Stable Diffusion XL and its descendants (Pony, Illustrious, NoobAI, ...)."""

    text_model_classes = {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection}  # noqa: RUF012

    def encode_captions(
        self, texts: list[str], *, clip_skip: int, max_tokens: int, weights: bool = False
    ) -> Conditioning:
        """The last layer but one of both encoders side by side, (B, 77 x chunks, 2048), without the final norm.

        The pooled embedding is the second encoder's projection of the first chunk. SDXL knows no clip skip.
        """
        states = []
        for part in self.family.text_parts:
            ids, factors = self.tokenize(part, texts, max_tokens, weights=weights)
            out = self.text_encoders[part](ids, output_hidden_states=True)
            states.append(join_chunks(weighed(out.hidden_states[-2], factors), len(texts)))
        pooled = out.text_embeds[: len(texts) * max_tokens // 75 : max_tokens // 75]
        return Conditioning(torch.cat(states, dim=-1), pooled)

    def denoise(self, noisy: torch.Tensor, t: torch.Tensor, told: Conditioning, size_ids: torch.Tensor) -> torch.Tensor:
        """The UNet also gets the pooled embedding and the size ids; those in fp32, as bf16 would round 1333 px to 1336."""
        assert self.unet is not None
        assert told.pooled is not None
        extra = {"text_embeds": told.pooled, "time_ids": size_ids.float()}
        prediction: torch.Tensor = self.unet(noisy, t, told.states, added_cond_kwargs=extra, return_dict=False)[0]
        return prediction

    def stems(self, part: str, module: str) -> tuple[str, ...]:
        """CompVis names, as kohya writes; diffusers names are read too."""
        if part != "unet":
            return (text_stem(self.family.text_parts[part], module),)
        blocks = self.unet.config.layers_per_block if self.unet is not None else 2
        return tuple("lora_unet_" + name.replace(".", "_") for name in (unet_name(module, blocks), module))


BACKBONE = StableDiffusionXL
