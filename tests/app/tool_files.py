"""Small LoRA files and checkpoints with real names, and made-up commands, for the tests of the LoRA tools."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import numpy
from safetensors.numpy import load_file, save_file

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

ATTENTION = "lora_unet_down_blocks_0_attentions_{}_transformer_blocks_0_attn2_to_k"
CONVOLUTION = "lora_unet_mid_block_resnets_0_conv1"
OUTPUTS = 32
CONTEXT = {"sd_v1": 768, "sdxl_base_v1-0": 2048}


def write_lora(
    path: Path, rank: int = 4, family: str = "sd_v1", *, layers: int = 2, wide_rank: int = 0, seed: int = 0, **said: str
) -> Path:
    """A LoRA in kohya's names, fp16, whose alpha is half its rank."""
    random, tensors = numpy.random.default_rng(seed), {}
    shapes: dict[str, tuple[int, tuple[int, ...], int]] = {
        ATTENTION.format(i): (rank, (CONTEXT[family],), OUTPUTS) for i in range(layers)
    }
    if wide_rank:
        shapes[CONVOLUTION] = (wide_rank, (8, 3, 3), 8)
    for stem, (inner, inputs, outputs) in shapes.items():
        tensors[f"{stem}.lora_down.weight"] = random.normal(0, 0.1, (inner, *inputs)).astype(numpy.float16)
        tensors[f"{stem}.lora_up.weight"] = random.normal(0, 0.1, (outputs, inner, *[1] * (len(inputs) - 1))).astype(numpy.float16)  # fmt: skip
        tensors[f"{stem}.alpha"] = numpy.array(inner / 2, numpy.float16)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, {"ss_base_model_version": family, "modelspec.title": path.stem} | said)
    return path


def write_peft(path: Path) -> Path:
    """A LoRA in the names of diffusers and PEFT."""
    module = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
    save_file({f"{module}.lora_A.weight": numpy.zeros((4, 768), numpy.float16), f"{module}.lora_B.weight": numpy.zeros((32, 4), numpy.float16)}, path)  # fmt: skip
    return path


def write_dora(path: Path) -> Path:
    """A LoRA with magnitudes."""
    stem = ATTENTION.format(0)
    save_file(
        {f"{stem}.lora_down.weight": numpy.zeros((4, 768), numpy.float16), f"{stem}.lora_up.weight": numpy.zeros((32, 4), numpy.float16),
         f"{stem}.alpha": numpy.array(4, numpy.float16), f"{stem}.dora_scale": numpy.ones((32, 1), numpy.float16)},
        path, {"ss_base_model_version": "sd_v1"},
    )  # fmt: skip
    return path


def changes(path: Path) -> dict[str, NDArray[numpy.float64]]:
    """dW of each layer of a kohya file, flattened."""
    tensors, out = load_file(path), {}
    for key, down in tensors.items():
        if key.endswith(".lora_down.weight"):
            stem = key.removesuffix(".lora_down.weight")
            up, alpha = tensors[f"{stem}.lora_up.weight"].astype(float), float(tensors[f"{stem}.alpha"])
            out[stem] = alpha / len(down) * up.reshape(len(up), -1) @ down.astype(float).reshape(len(down), -1)
    return out


def ranks_of(path: Path) -> set[int]:
    """All ranks in a kohya file."""
    return {len(down) for key, down in load_file(path).items() if key.endswith(".lora_down.weight")}


def script(*lines: str) -> list[str]:
    """A made-up sub-command."""
    return [sys.executable, "-c", "\n".join(("import json, sys, time", *lines))]


def saying(**values: object) -> str:
    """A line of it that tells something."""
    return f"print({json.dumps(json.dumps(values))}, flush=True)"


# Says how far it is, and then waits to be cancelled.
BUSY = (
    saying(type="progress", label="Merging layers", done=3, total=4),
    "assert sys.stdin.readline() == 'cancel\\n'",
    saying(type="cancelled"),
)


def write_model(path: Path, family: str) -> Path:
    """A checkpoint with as little in it as tells its family ("sd1", "sdxl") from its header."""
    unet = "model.diffusion_model."
    names = [f"{unet}input_blocks.{i}.0.weight" for i in range(12 if family == "sd1" else 9)] + [f"{unet}middle_block.1.norm.weight"]  # fmt: skip
    if family == "sdxl":
        names += ["conditioner.embedders.0.transformer.text_model.final_layer_norm.weight", f"{unet}label_emb.0.0.weight"]  # fmt: skip
    tensors = {name: numpy.zeros((4, 4, 3, 3), numpy.float16) for name in names}
    save_file(tensors, path)
    return path
