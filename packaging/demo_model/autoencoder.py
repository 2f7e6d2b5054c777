"""Trains the demo's AutoencoderKL: 128 px pictures to 16 x 16 x 4 latents and back.

    python autoencoder.py --minutes 35        interrupt it at will; it goes on where it was

Loss: L1 + MSE + L1 of the means of 8 x 8 blocks (colour) + L1 of neighbouring pixels' differences (edges) + a tiny KL term.
A quarter of the pictures are random shapes, and a third are recoloured, so that concepts which the base model never saw
survive too. The first 60 % of the time sees busy crops of 64 px (3 dB better than whole pictures at the same cost), the rest
whole pictures, with the logarithm of the MSE, which is what decibels measure. Not compiled: torch.compile 2.13 gave the
encoder zero gradients here (CPU, bf16 autocast), without a word.
"""

from __future__ import annotations

import argparse
import random
import time

import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file

from muon import Muon
from pictures import SCENES, SUBJECTS, Spec, draw
from work import (
    WORK,
    Budget,
    State,
    as_bytes,
    as_signal,
    average_gradients,
    drawn,
    psnr_db,
    run_processes,
    set_learning_rate,
    spent_together,
    start_process,
)

BATCH = 4  # whole pictures; four times as many crops
CROP_PX, CROPS_UNTIL = 64, 0.6
CONFIG = {
    "block_out_channels": (16, 32, 64, 96), "layers_per_block": 1, "latent_channels": 4, "norm_num_groups": 8, "sample_size": 128,
    "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4,
}  # fmt: skip


def build() -> AutoencoderKL:
    """A fresh autoencoder; the last convolution of each residual branch starts at 0."""
    torch.manual_seed(0)
    model = AutoencoderKL(**CONFIG)
    for name, parameter in model.named_parameters():
        if "resnets" in name and ".conv2." in name:
            torch.nn.init.zeros_(parameter)
    model.quant_conv.bias.data[4:] = -5.0  # the posterior starts narrow, or its noise drowns the picture
    return model


def loss_of(model: AutoencoderKL, x: torch.Tensor, *, in_decibels: bool = False) -> torch.Tensor:
    """x: (B, 3, H, W) in [-1, 1]. in_decibels: the logarithm of each picture's MSE besides."""
    with torch.autocast("cpu", torch.bfloat16):
        posterior = model.encode(x).latent_dist
        y = model.decode(posterior.mean + posterior.std * torch.randn_like(posterior.std)).sample.float()
    small = torch.nn.functional.avg_pool2d(y - x, 8).abs().mean()  # the colour of areas
    edges = (y.diff(dim=2) - x.diff(dim=2)).abs().mean() + (y.diff(dim=3) - x.diff(dim=3)).abs().mean()
    square = (y - x).square().flatten(1).mean(1)
    return (
        (y - x).abs().mean()
        + 4 * square.mean()
        + (0.1 * (square + 1e-4).log().mean() if in_decibels else 0)
        + small
        + 0.3 * edges
        + 1e-4 * posterior.kl().mean() / posterior.mean[0].numel()
    )


def any_colours(x: torch.Tensor) -> torch.Tensor:
    """A third of the pictures in other colours: channels swapped, inverted, weakened.

    Else the latents would only know the base's palette, and a new concept would come back in its colours.
    """
    out = x.clone()
    for i in range(len(x)):
        if torch.rand(()) < 1 / 3:
            sign = torch.where(torch.rand(3) < 0.5, -1.0, 1.0) * (0.5 + 0.5 * torch.rand(3))
            out[i] = x[i, torch.randperm(3)] * sign.view(3, 1, 1)
    return out


def busy_crops(pictures: torch.Tensor) -> torch.Tensor:
    """Of each picture (N, 3, 128, 128) the more varied one of two random crops, (N, 3, 64, 64)."""
    out = []
    for picture in pictures:
        corners = torch.randint(0, picture.shape[1] - CROP_PX + 1, (2, 2)).tolist()
        crops = [picture[:, y : y + CROP_PX, x : x + CROP_PX] for y, x in corners]
        out.append(max(crops, key=lambda crop: float(crop.float().std())))
    return torch.stack(out)


def concepts(count: int, seed: int) -> torch.Tensor:
    """Pictures of the two demo concepts, as bytes (N, 3, 128, 128)."""
    rng = random.Random(seed)
    out = []
    for i in range(count):
        style = "nwave style" if i % 2 else rng.choice(("flat drawing", "ink drawing"))
        subject = rng.choice(list(SUBJECTS)) if i % 2 else "zorblin"
        out.append(as_bytes(draw(Spec(subject, rng.choice(("red", "blue", "green")), rng.choice(SCENES), style), rng)))
    return torch.stack(out)


@torch.no_grad()
def measure(model: AutoencoderKL) -> dict[str, float]:
    """PSNR in dB on held-out base pictures and on concepts, with the latents' mode."""
    out = {}
    for name, pictures in (("base", drawn(64, 999)), ("concepts", concepts(32, 998))):
        x = as_signal(pictures)
        out[name] = psnr_db(model.decode(model.encode(x).latent_dist.mode()).sample.clamp(-1, 1), x)
    return out


def train(rank: int, minutes: float, processes: int) -> None:
    """Trains encoder and decoder within the budget."""
    _train("autoencoder", build(), rank, minutes, processes)


def train_decoder(rank: int, minutes: float, processes: int) -> None:
    """Trains the finished autoencoder's decoder further; the latents, and with them the UNet, stay as they are."""
    model = finished()
    for frozen in (model.encoder, model.quant_conv):
        frozen.requires_grad_(False)
    _train("decoder", model, rank, minutes, processes)


def finished() -> AutoencoderKL:
    """The moving average of the last training, the decoder's if there was one."""
    model = build()
    for name in ("autoencoder", "decoder"):
        if (path := WORK / f"{name}.safetensors").is_file():
            model.load_state_dict({k[8:]: v for k, v in load_file(path).items() if k.startswith("average.")})
    return model


def _train(name: str, model: AutoencoderKL, rank: int, minutes: float, processes: int) -> None:
    """Process 0 saves and measures every two minutes."""
    start_process(rank, processes)
    pictures = drawn(5000, 1 + rank, random_share=0.25)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = Muon(parameters, (model.encoder.conv_in.weight, model.decoder.conv_out.weight))
    budget = Budget(minutes, peak_learning_rate=2e-3)
    state = State(name, model, optimizer, budget)
    state.load()
    torch.manual_seed(state.step * processes + rank)
    saved, judge = time.monotonic(), build()
    while (share := spent_together(budget)) < 1:
        set_learning_rate(optimizer, budget.learning_rate(share))
        whole = share > CROPS_UNTIL
        chosen = pictures[torch.randint(len(pictures), (BATCH * (1 if whole else 4) // processes,))]
        x = any_colours(as_signal(chosen if whole else busy_crops(chosen)))
        loss = loss_of(model, x, in_decibels=whole)
        loss.backward()
        average_gradients(parameters)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        state.step += 1
        if rank:
            continue
        state.update_average()
        if time.monotonic() - saved > 120:
            state.save()
            judge.load_state_dict(state.average)
            db = measure(judge)
            print(
                f"step {state.step} {share:.0%} loss {loss.item():.4f} "
                f"PSNR base {db['base']:.2f} concepts {db['concepts']:.2f} dB",
                flush=True,
            )
            saved = time.monotonic()
    if rank == 0:
        state.save()
        judge.load_state_dict(state.average)
        print("done", state.step, measure(judge), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=35)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--decoder", action="store_true", help="train only the decoder of the finished autoencoder")
    options = parser.parse_args()
    run_processes(train_decoder if options.decoder else train, options.minutes, options.processes)
