"""The table of model families: facts, and which family a model folder is. Imports no torch.

A new family is one row here plus one module with its backbone class (see `trainer.families.backbone.Backbone`).
"""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainer.errors import ModelError
from trainer.lora_file import read_header

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.families.backbone import Backbone


@dataclass(frozen=True)
class Family:
    """Facts about a model family.

    text_parts: prefix of each text encoder's keys in a LoRA file, by part name. context_width: width of the states that
    the UNet attends to at full size. kohya_version, architecture, implementation: what LoRA files say about the base
    (`ss_base_model_version`, `modelspec.*`); `_v` variants for v-prediction.
    """

    id: str
    title: str
    module: str
    resolution: int
    context_width: int
    text_parts: dict[str, str]
    kohya_version: str
    kohya_version_v: str
    architecture: str
    architecture_v: str
    implementation: str
    is_v2: bool = False


FAMILIES: dict[str, Family] = {
    family.id: family
    for family in (
        Family(
            "sd1", "SD 1.x", "trainer.families.sd", 512, 768, {"text_encoder": "lora_te"}, "sd_v1", "sd_v1",
            "stable-diffusion-v1/lora", "stable-diffusion-v1/lora", "diffusers",
        ),
        Family(
            "sd2", "SD 2.x", "trainer.families.sd", 768, 1024, {"text_encoder": "lora_te"}, "sd_v2", "sd_v2_v",
            "stable-diffusion-v2-512/lora", "stable-diffusion-v2-768-v/lora", "diffusers", is_v2=True,
        ),
        Family(
            "sdxl", "SDXL", "trainer.families.sdxl", 1024, 2048, {"text_encoder": "lora_te1", "text_encoder_2": "lora_te2"},
            "sdxl_base_v1-0", "sdxl_base_v1-0", "stable-diffusion-xl-v1-base/lora", "stable-diffusion-xl-v1-base/lora",
            "https://github.com/Stability-AI/generative-models",
        ),
    )
}  # fmt: skip

_PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
_WEIGHTS = ("diffusion_pytorch_model", "model", "pytorch_model")


def load(base: Path) -> Backbone:
    """The backbone of a model folder, its parts not read yet.

    Raises:
        ModelError: the folder is no model that can be trained.
    """
    family = detect(base)
    module: Any = importlib.import_module(family.module)
    return module.BACKBONE(family, base)  # type: ignore[no-any-return]


def detect(base: Path) -> Family:
    """The family of a diffusers model folder, from its configuration files only.

    Raises:
        ModelError: there is no such model, it is something else (a LoRA, a single file), or a part is missing.
    """
    _check_is_folder(base)
    pipeline = str(_read_json(base / "model_index.json").get("_class_name", "StableDiffusionPipeline"))
    extra_large, editing = pipeline.startswith("StableDiffusionXL"), "Inpaint" in pipeline
    if not extra_large and not editing and not pipeline.startswith("StableDiffusionPipeline"):
        titles = ", ".join(f.title for f in FAMILIES.values())
        raise ModelError(f"{base} is a {pipeline} model, which is not supported; use one of {titles}.")
    for part in _PARTS + (("text_encoder_2", "tokenizer_2") if extra_large else ()):
        _check_part(base, part)
    unet = _read_json(base / "unet" / "config.json")
    if editing or unet.get("in_channels", 4) != 4:
        raise ModelError(f"{base} is an inpainting or editing model; choose the text-to-image model it was made from.")
    return FAMILIES["sdxl" if extra_large else "sd2" if unet.get("use_linear_projection") else "sd1"]


def _check_is_folder(base: Path) -> None:
    if not base.exists():
        raise ModelError(f'There is no base model "{base}". Give a diffusers folder, or "demo".')
    if base.is_file():
        if looks_like_lora(base):
            raise ModelError(
                f"{base.name} is a LoRA, not a base model. Choose the model it was made for; to train the LoRA further use start_from."
            )
        raise ModelError(
            f"{base.name} is a single file; this version reads diffusers folders (with unet/, vae/, text_encoder/ in them)."
        )
    if not (base / "model_index.json").is_file() and not (base / "unet").is_dir():
        files = list(base.glob("*.safetensors"))
        if any(looks_like_lora(p) for p in files):
            raise ModelError(f"{base} holds a LoRA, not a base model. Choose the model it was made for.")
        raise ModelError(f"{base} is not a diffusers model folder: it has no model_index.json and no unet folder.")


def _check_part(base: Path, part: str) -> None:
    folder = base / part
    if not folder.is_dir():
        raise ModelError(f"The base model {base} has no {part} folder. Copy the model again, whole.")
    if part.startswith("tokenizer"):
        if not any((folder / f).is_file() for f in ("vocab.json", "tokenizer.json")):
            raise ModelError(f"The base model {base} has no vocabulary in {part}. Copy the model again, whole.")
    elif part == "scheduler":
        _read_json(folder / "scheduler_config.json")
    else:
        _read_json(folder / "config.json")
        if not any(
            p.name.startswith(_WEIGHTS) and p.suffix in (".safetensors", ".json", ".bin") for p in folder.iterdir()
        ):
            raise ModelError(f"The base model {base} has no weights in {part}. Copy the model again, whole.")


def looks_like_lora(path: Path) -> bool:
    """Whether a .safetensors file holds LoRA layers, from its header only."""
    if path.suffix != ".safetensors":
        return False
    try:
        keys = read_header(path).shapes
    except ModelError:
        return False
    return any(".lora_down." in k or ".lora_A." in k or ".lora.down." in k for k in keys)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"The base model lacks {path.parent.name}/{path.name} ({path}). Copy the model again, whole."
        ) from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error}). Copy the model again.") from None
    if not isinstance(values, dict):
        raise ModelError(f"{path} is not a configuration file. Copy the model again.")
    return values
