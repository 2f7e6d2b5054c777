"""SDXL: two text encoders, a pooled embedding, size and crop ids, CompVis names in LoRA files."""

from __future__ import annotations

import re

import torch
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from trainer.families.backbone import Backbone, Conditioning
from trainer.families.sd import join_chunks, text_stem


class StableDiffusionXL(Backbone):
    """Stable Diffusion XL and its descendants (Pony, Illustrious, NoobAI, ...)."""

    text_model_classes = {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection}  # noqa: RUF012

    def encode_captions(self, texts: list[str], *, clip_skip: int, max_tokens: int) -> Conditioning:
        """The last layer but one of both encoders side by side, (B, 77 x chunks, 2048), without the final norm.

        The pooled embedding is the second encoder's projection of the first chunk. SDXL knows no clip skip.
        """
        states = []
        for part in self.family.text_parts:
            out = self.text_encoders[part](self.tokenize(part, texts, max_tokens), output_hidden_states=True)
            states.append(join_chunks(out.hidden_states[-2], len(texts)))
        pooled = out.text_embeds.reshape(len(texts), -1, out.text_embeds.shape[-1])[:, 0]
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
        return tuple("lora_unet_" + name.replace(".", "_") for name in (compvis_name(module, blocks), module))


def compvis_name(module: str, layers_per_block: int = 2) -> str:
    """A diffusers UNet path as the original code names it, e.g. `down_blocks.1.attentions.0.` as `input_blocks.4.1.`."""
    down, up = layers_per_block + 1, layers_per_block + 1

    def block(kind: str, b: str, i: str) -> str:
        slot = "1" if kind == "attentions" else "0"
        return slot if not b else f"{b}{i}.{slot}"

    module = re.sub(
        r"^down_blocks\.(\d+)\.(resnets|attentions)\.(\d+)",
        lambda m: "input_blocks." + block(m[2], str(down * int(m[1]) + int(m[3]) + 1), ""),
        module,
    )
    module = re.sub(
        r"^down_blocks\.(\d+)\.downsamplers\.0\.conv", lambda m: f"input_blocks.{down * int(m[1]) + down}.0.op", module
    )
    module = re.sub(r"^mid_block\.resnets\.(\d+)", lambda m: f"middle_block.{2 * int(m[1])}", module)
    module = re.sub(r"^mid_block\.attentions\.0", "middle_block.1", module)
    module = re.sub(
        r"^up_blocks\.(\d+)\.(resnets|attentions)\.(\d+)",
        lambda m: "output_blocks." + block(m[2], str(up * int(m[1]) + int(m[3])), ""),
        module,
    )
    # In the output blocks of SDXL's own layout the upsampler follows the attention, so its index is 2; without one, 1.
    module = re.sub(
        r"^up_blocks\.(\d+)\.upsamplers\.0\.conv", lambda m: f"output_blocks.{up * int(m[1]) + up - 1}.2.conv", module
    )
    for ours, theirs in (
        ("conv1", "in_layers.2"),
        ("conv2", "out_layers.3"),
        ("time_emb_proj", "emb_layers.1"),
        ("conv_shortcut", "skip_connection"),
    ):
        module = re.sub(rf"\.{ours}$", f".{theirs}", module)
    return module


BACKBONE = StableDiffusionXL
