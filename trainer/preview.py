"""Draws preview pictures with the live weights: always the same prompts from the same noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import diffusers
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from trainer import device as devices
from trainer.families.backbone import Conditioning

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.families.backbone import Backbone
    from trainer.settings import PreviewPrompt


@dataclass(frozen=True)
class Sampler:
    """A sampler: its scheduler in diffusers, its options, and the name that A1111 writes."""

    scheduler: str
    options: dict[str, Any]
    title: str


SAMPLERS = {
    "dpmpp_2m": Sampler("DPMSolverMultistepScheduler", {}, "DPM++ 2M"),
    "dpmpp_2m_karras": Sampler("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}, "DPM++ 2M Karras"),
    "ddim": Sampler("DDIMScheduler", {}, "DDIM"),
    "euler": Sampler("EulerDiscreteScheduler", {}, "Euler"),
    "euler_a": Sampler("EulerAncestralDiscreteScheduler", {}, "Euler a"),
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


def parameters_text(prompt: PreviewPrompt, extra: dict[str, str]) -> str:
    """The generation parameters as A1111 writes them into PNG files and Civitai reads them.

    Three lines: prompt, negative prompt (left out when empty), then "Steps: 20, Sampler: ..., Size: 512x512, ...".
    """
    facts = {
        "Steps": prompt.steps, "Sampler": SAMPLERS[prompt.sampler].title, "CFG scale": f"{prompt.guidance:g}", "Seed": prompt.seed,
        "Size": f"{prompt.width}x{prompt.height}",
    } | extra  # fmt: skip
    lines = [prompt.prompt]
    if prompt.negative:
        lines.append(f"Negative prompt: {prompt.negative}")
    lines.append(", ".join(f"{key}: {_quoted(str(value))}" for key, value in facts.items()))
    return "\n".join(lines)


def save(picture: Image.Image, path: Path, parameters: str) -> None:
    """Writes the PNG with the parameters in its text chunk."""
    text = PngInfo()
    text.add_text("parameters", parameters) if parameters.isascii() else text.add_itxt("parameters", parameters)
    picture.save(path, format="PNG", pnginfo=text)


def _quoted(value: str) -> str:
    """Values with a comma, a colon or a line break stand in quotes, as A1111's reader expects."""
    return (
        '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") + '"'
        if any(c in value for c in ',:\n"')
        else value
    )
