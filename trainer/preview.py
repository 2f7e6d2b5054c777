"""Draws preview pictures with the live weights: always the same prompts from the same noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import diffusers
import torch
from PIL import Image

from trainer import device as devices
from trainer.families.backbone import Conditioning

if TYPE_CHECKING:
    from trainer.families.backbone import Backbone
    from trainer.settings import PreviewPrompt


@dataclass(frozen=True)
class Sampler:
    """A sampler: its scheduler in diffusers and its options. What A1111 calls it: `picture_text.SAMPLER_TITLES`."""

    scheduler: str
    options: dict[str, Any]


SAMPLERS = {
    "dpmpp_2m": Sampler("DPMSolverMultistepScheduler", {}),
    "dpmpp_2m_karras": Sampler("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "ddim": Sampler("DDIMScheduler", {}),
    "euler": Sampler("EulerDiscreteScheduler", {}),
    "euler_a": Sampler("EulerAncestralDiscreteScheduler", {}),
}


@dataclass(frozen=True)
class Painter:
    """What is needed to draw. prediction: what the base model predicts; zero_snr: whether its schedule ends in pure noise."""

    backbone: Backbone
    device: torch.device
    dtype: torch.dtype
    prediction: str
    zero_snr: bool

    @torch.no_grad()
    def draw(self, prompt: PreviewPrompt, told: Conditioning, untold: Conditioning) -> Image.Image:
        """The picture of a prompt; `told` and `untold` are the encoded prompt and negative prompt.

        Starting noise comes from a CPU generator with the prompt's seed, as in diffusers' pipelines, so that the same LoRA
        gives the same picture there.
        """
        backbone, unet = self.backbone, self.backbone.unet
        assert unet is not None
        was_training = unet.training
        unet.eval()
        generator = torch.Generator().manual_seed(prompt.seed)
        scheduler = self._scheduler(prompt)
        scheduler.set_timesteps(prompt.steps, device=self.device)
        height, width = prompt.height // backbone.vae_scale, prompt.width // backbone.vae_scale
        latents = torch.randn(1, backbone.latent_channels, height, width, generator=generator).to(self.device)
        latents = latents * scheduler.init_noise_sigma
        both = Conditioning.cat([untold, told]).to(self.device, self.dtype)
        ids = torch.tensor([[prompt.height, prompt.width, 0, 0, prompt.height, prompt.width]] * 2, device=self.device)
        extra = {"generator": generator} if prompt.sampler == "euler_a" else {}
        for t in scheduler.timesteps:
            noisy = scheduler.scale_model_input(torch.cat([latents, latents]), t)
            with devices.autocast(self.device, self.dtype):
                without, with_prompt = backbone.denoise(noisy, t.expand(2), both, ids).float().chunk(2)
            guided = without + prompt.guidance * (with_prompt - without)
            latents = scheduler.step(guided, t, latents, return_dict=False, **extra)[0]
        unet.train(was_training)
        backbone.load_vae(self.device)
        signal = backbone.decode_latents(latents)[0]
        pixels = (signal.clamp(-1, 1) / 2 + 0.5).mul(255).round().byte().permute(1, 2, 0).cpu()
        return Image.fromarray(pixels.numpy())

    def _scheduler(self, prompt: PreviewPrompt) -> Any:
        sampler = SAMPLERS[prompt.sampler]
        kind = getattr(diffusers, sampler.scheduler)
        options = sampler.options | {"prediction_type": self.prediction, "rescale_betas_zero_snr": self.zero_snr}
        if self.zero_snr:
            options["timestep_spacing"] = "trailing"
        return kind.from_config(self.backbone.noise, **options)
