"""Models as single files in the original layout: tiny ones written from the tiny folders, and true-size headers without weights."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

import resources
from trainer.families import FAMILIES, original
from trainer.families.original import Place
from trainer.lora_file import DTYPE_BYTES, Header

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest

KINDS: dict[str, Any] = {
    "unet": UNet2DConditionModel,
    "vae": AutoencoderKL,
    "text_encoder": CLIPTextModel,
    "text_encoder_2": CLIPTextModelWithProjection,
}
PLACES: dict[str, dict[str, Place]] = {
    "sd1": {"text_encoder": Place("cond_stage_model.transformer.text_model.", "clip")},
    "sd2": {"text_encoder": Place("cond_stage_model.model.", "openclip")},
    "sdxl": {
        "text_encoder": Place("conditioner.embedders.0.transformer.text_model.", "clip"),
        "text_encoder_2": Place("conditioner.embedders.1.model.", "openclip"),
    },
}
for _places in PLACES.values():
    _places.update(unet=Place("model.diffusion_model.", "unet"), vae=Place("first_stage_model.", "vae"))


def original_tensors(
    family: str, part: str, tensors: dict[str, torch.Tensor], config: dict[str, Any]
) -> dict[str, torch.Tensor]:
    """A part's tensors under the original's names, as tests/test_original.py checks with diffusers' own conversion."""
    out: dict[str, torch.Tensor] = {}
    thirds: dict[str, dict[int, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        origin = original.origin(name, PLACES[family][part], config)
        if origin.third is not None:
            thirds.setdefault(origin.name, {})[origin.third] = tensor
        else:
            out[origin.name] = tensor.T.contiguous() if origin.transposed else tensor
    out |= {name: torch.cat([of[0], of[1], of[2]]) for name, of in thirds.items()}
    if part == "vae":  # the original has 1x1 convolutions where diffusers has matrices
        for name in [n for n in out if ".attn_1." in n and n.endswith("weight") and ".norm." not in n]:
            out[name] = out[name][:, :, None, None].contiguous()
    return out


def folder_tensors(folder: Path, part: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """A part's tensors and configuration, read plainly."""
    config = json.loads((folder / part / "config.json").read_text(encoding="utf-8"))
    tensors = safetensors.torch.load_file(next((folder / part).glob("*.safetensors")))
    if part == "text_encoder":
        tensors = {k.removeprefix("text_model."): v for k, v in tensors.items()}
    return tensors, config


def tensors_of(family: str, folder: Path) -> dict[str, torch.Tensor]:
    """All of a folder's tensors under the original's names, with what real files also hold."""
    out: dict[str, torch.Tensor] = {}
    for part in PLACES[family]:
        out |= original_tensors(family, part, *folder_tensors(folder, part))
    return out | {"betas": torch.zeros(1000), "alphas_cumprod": torch.zeros(1000)}


def write(family: str, folder: Path, path: Path, *, dtype: torch.dtype | None = None, **changes: Any) -> Path:
    """The folder as one file. changes: without="first_stage_model." leaves tensors out; plus adds some; metadata."""
    tensors = {
        k: v for k, v in tensors_of(family, folder).items() if not k.startswith(changes.get("without", "-"))
    } | changes.get("plus", {})
    if dtype is not None:
        tensors = {k: v.to(dtype) for k, v in tensors.items()}
    tensors = {k: v.contiguous() for k, v in tensors.items()}
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(tensors, path, changes.get("metadata"))
    else:
        torch.save(
            {"state_dict": tensors, "global_step": 470000, "epoch": 3},
            path,
            _use_new_zipfile_serialization=not changes.get("legacy"),
        )
    return path


def ema(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """EMA copies of a UNet's weights (other values), under the names that training wrote."""
    return {
        "model_ema." + k.removeprefix("model.").replace(".", ""): v + 1 for k, v in tensors.items() if k.startswith("model.diffusion_model.")
    }  # fmt: skip


def use_tiny_configs(monkeypatch: pytest.MonkeyPatch, models: dict[str, Path]) -> None:
    """The published configurations are those of large models; tiny files have the tiny ones'."""
    monkeypatch.setattr("trainer.families.single_file.config_folder", lambda family: models[family])


# True size, without weights


@functools.cache
def true_size(family: str) -> dict[str, torch.Tensor]:
    """Every tensor of a published single file, on the meta device, by its original name."""
    out: dict[str, torch.Tensor] = {}
    for part, config, model in parts_on_meta(family):
        with torch.device("meta"):
            out |= original_tensors(family, part, dict(model.state_dict()), config)
    for prefix in ("conditioner.embedders.1.model.", "cond_stage_model.model."):
        if prefix + "positional_embedding" in out:
            out[prefix + "logit_scale"] = torch.empty((), device="meta")
    for name in [
        n for n in out if n.startswith("cond_stage_model.model.transformer.resblocks.22.")
    ]:  # diffusers has 23 of the 24 layers
        out[name.replace(".22.", ".23.")] = out[name]
        out["cond_stage_model.model.text_projection"] = torch.empty(1024, 1024, device="meta")
    return out


def parts_on_meta(family: str) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """(part, configuration, model on the meta device) of a family at true size."""
    for part in ("unet", "vae", *FAMILIES[family].text_parts):
        config = json.loads(resources.path("configs", family, part, "config.json").read_text(encoding="utf-8"))
        kind = KINDS[part]
        with init_empty_weights():
            yield part, config, kind(CLIPTextConfig(**config)) if part.startswith("text") else kind.from_config(config)


def header(shapes: dict[str, tuple[int, ...]], dtype: str = "F16", metadata: dict[str, str] | None = None) -> Header:
    """A header as if read from a file."""
    spans, end = {}, 8
    for name, shape in shapes.items():
        size = DTYPE_BYTES[dtype] * torch.Size(shape).numel()
        spans[name] = (end, end + size)
        end += size
    return Header(metadata or {}, shapes, dict.fromkeys(shapes, dtype), 8, spans)
