"""Trains the demo's UNet2DConditionModel on cached latents and cached captions.

    python unet.py --minutes 90 --processes 2

Epsilon prediction, scaled_linear betas, min-SNR weights (Hang et al. 2023, https://arxiv.org/abs/2303.09556), timesteps
uniform with some extra above 600 (they decide the background), 10 % empty captions for classifier-free guidance, EMA.
"""

from __future__ import annotations

import argparse
import random
import time

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTokenizer

from autoencoder import finished
from muon import Muon
from pictures import caption, draw, random_spec
from text_encoder import encode
from work import (
    WORK,
    Budget,
    State,
    as_bytes,
    as_signal,
    average_gradients,
    run_processes,
    set_learning_rate,
    spent_together,
    start_process,
)

PICTURES, BATCH, GAMMA = 16_000, 32, 5.0  # BATCH: of all processes together
CONFIG = {
    "sample_size": 16, "in_channels": 4, "out_channels": 4, "block_out_channels": (64, 96, 96, 80), "layers_per_block": 2,
    "cross_attention_dim": 128, "attention_head_dim": 2, "norm_num_groups": 8,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",), "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
}  # fmt: skip
SCHEDULER = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "clip_sample": False,
    "steps_offset": 1,
}


def build() -> UNet2DConditionModel:
    """A fresh UNet; the last layer of each residual branch and the output start at 0."""
    torch.manual_seed(0)
    model = UNet2DConditionModel(**CONFIG)
    for name, parameter in model.named_parameters():
        if (
            ".conv2." in name
            or ".to_out." in name
            or ".ff.net.2." in name
            or ".proj_out." in name
            or name.startswith("conv_out")
        ):
            torch.nn.init.zeros_(parameter)
    return model


def finished_autoencoder() -> tuple[AutoencoderKL, float]:
    """The trained autoencoder (its moving average) and the factor that scales its latents to unit variance."""
    model = finished()
    path = WORK / "scale.safetensors"
    if not path.is_file():
        rng = random.Random(5)
        x = torch.stack([as_bytes(draw(random_spec(rng), rng)) for _ in range(256)])
        with torch.no_grad():
            save_file({"scale": 1 / model.encode(as_signal(x)).latent_dist.mean.std()}, path)
    return model.eval(), float(load_file(path)["scale"])


@torch.no_grad()
def corpus() -> dict[str, torch.Tensor]:
    """Scaled latents (N, 4, 16, 16), caption states (M, 77, 128) with number 0 for the empty one, and each picture's four captions (N, 4)."""
    path = WORK / "corpus.safetensors"
    if path.is_file():
        return load_file(path)
    autoencoder, scale = finished_autoencoder()
    tokenizer, encoder = (
        CLIPTokenizer.from_pretrained(WORK / "tokenizer"),
        CLIPTextModel.from_pretrained(WORK / "text_encoder"),
    )
    rng, texts, latents, captions = random.Random(2), {"": 0}, [], []
    for start in range(0, PICTURES, 32):
        specs = [random_spec(rng) for _ in range(32)]
        captions += [[texts.setdefault(caption(s, rng), len(texts)) for _ in range(4)] for s in specs]
        x = as_signal(torch.stack([as_bytes(draw(s, rng)) for s in specs]))
        with torch.autocast("cpu", torch.bfloat16):
            latents.append(autoencoder.encode(x).latent_dist.mean.float() * scale)
        if start % 3200 == 0:
            print("pictures", start, flush=True)
    names = list(texts)
    states = torch.cat([encode(tokenizer, encoder, names[i : i + 256]).bfloat16() for i in range(0, len(names), 256)])
    out = {
        "latents": torch.cat(latents).contiguous(),
        "states": states.contiguous(),
        "captions": torch.tensor(captions),
    }
    save_file(out, path)
    return out


def loss_of(
    model: UNet2DConditionModel,
    x0: torch.Tensor,
    noise: torch.Tensor,
    t: torch.Tensor,
    states: torch.Tensor,
    alpha_bar: torch.Tensor,
) -> torch.Tensor:
    """Per-picture weighted squared error: x0 and noise (B, 4, 16, 16), t (B,), states (B, 77, 128)."""
    a = alpha_bar[t].view(-1, 1, 1, 1)
    with torch.autocast("cpu", torch.bfloat16):
        predicted = model(a.sqrt() * x0 + (1 - a).sqrt() * noise, t, states, return_dict=False)[0]
    snr = alpha_bar[t] / (1 - alpha_bar[t])
    return (predicted.float() - noise).square().mean((1, 2, 3)) * (snr.clamp(max=GAMMA) / snr)


def train(rank: int, minutes: float, processes: int) -> None:
    """Trains within the budget; process 0 saves every three minutes."""
    start_process(rank, processes)
    data = load_file(WORK / "corpus.safetensors")
    latents, states, captions = data["latents"], data["states"], data["captions"]
    alpha_bar = DDPMScheduler(**SCHEDULER).alphas_cumprod
    model = build()
    parameters = list(model.parameters())
    optimizer = Muon(parameters, (model.conv_in.weight, model.conv_out.weight))
    budget = Budget(minutes, peak_learning_rate=1e-3, warmup_share=0.01)
    state = State("unet", model, optimizer, budget)
    state.load()
    torch.manual_seed(state.step * processes + rank)
    B, saved, running, seen = BATCH // processes, time.monotonic(), torch.zeros(5), torch.zeros(5)
    while (share := spent_together(budget)) < 1:
        set_learning_rate(optimizer, budget.learning_rate(share))
        i, t = torch.randint(len(latents), (B,)), torch.randint(1000, (B,))
        which = captions[i, torch.randint(4, (B,))]
        which[torch.rand(B) < 0.1] = 0
        high = torch.rand(B) < 0.25
        t[high] = torch.randint(600, 1000, (int(high.sum()),))
        losses = loss_of(model, latents[i], torch.randn(B, 4, 16, 16), t, states[which], alpha_bar)
        losses.mean().backward()
        average_gradients(parameters)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        state.step += 1
        if rank:
            continue
        state.update_average()
        running.index_add_(0, t // 200, losses.detach())
        seen.index_add_(0, t // 200, torch.ones(B))
        if time.monotonic() - saved > 180:
            state.save()
            by_time = " ".join(f"{v:.4f}" for v in running / seen.clamp(min=1))
            print(
                f"step {state.step} {share:.1%} of {minutes:.0f} min, weighted loss by fifths of t: {by_time}",
                flush=True,
            )
            saved, running, seen = time.monotonic(), torch.zeros(5), torch.zeros(5)
    if rank == 0:
        state.save()
        print("done", state.step, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=90)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    corpus()
    run_processes(train, options.minutes, options.processes)
