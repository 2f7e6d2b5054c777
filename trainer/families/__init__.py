"""The table of model families: facts, and which family a model is. Imports no torch.

A new family is one row here plus one module with its backbone class (see `trainer.families.backbone.Backbone`).
"""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainer.errors import ModelError
from trainer.families.headers import identify, latent_channels, read, require_base
from trainer.families.weight_files import choose

if TYPE_CHECKING:
    from collections.abc import Mapping
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
_SECOND_PARTS = ("text_encoder_2", "tokenizer_2")


def load(base: Path, vae: Path | None = None) -> Backbone:
    """The backbone of a model folder or file, its parts not read yet. vae: an autoencoder to use instead of its own.

    Raises:
        ModelError: it is no model that can be trained, or the VAE is none that fits.
    """
    family = check(base, vae)
    module: Any = importlib.import_module(family.module)
    return module.BACKBONE(family, base, vae)  # type: ignore[no-any-return]


def check(base: Path, vae: Path | None = None) -> Family:
    """The family of a model that can be trained with this VAE (None: its own).

    Raises:
        ModelError: as `detect`, or there is no VAE that fits.
    """
    family = detect(base)
    if vae is not None:
        _check_vae(vae)
    elif base.is_file() and not identify(base).has_vae:
        raise ModelError(f"{base.name} holds no VAE. Give the VAE that belongs to it (a file or folder) under VAE.")
    return family


def detect(base: Path) -> Family:
    """The family of a model, from a folder's configuration files or a single file's header only.

    Raises:
        ModelError: there is no such model, it is something else (a LoRA, an inpainting model, ...), or a part is missing.
    """
    if base.is_file():
        return FAMILIES[require_base(base).family]
    _check_is_folder(base)
    index = _read_json(base / "model_index.json")
    for part in parts_of(index, str(base)):
        _check_part(base, part)
    return family_of(index, _read_json(base / "unet" / "config.json"), str(base))


def parts_of(model_index: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """The sub-folders that training needs of the model called `name`, by its model_index.json.

    Raises:
        ModelError: it is a model of another kind.
    """
    pipeline = _pipeline(model_index)
    if pipeline.startswith("StableDiffusionXL"):
        return _PARTS + _SECOND_PARTS
    if "Inpaint" not in pipeline and not pipeline.startswith("StableDiffusionPipeline"):
        titles = ", ".join(f.title for f in FAMILIES.values())
        raise ModelError(f"{name} is a {pipeline} model, which is not supported; use one of {titles}.")
    return _PARTS


def family_of(model_index: Mapping[str, Any], unet: Mapping[str, Any], name: str) -> Family:
    """The family of the model called `name`, by its model_index.json and its UNet's configuration.

    Raises:
        ModelError: it is made for something else than text to image.
    """
    pipeline = _pipeline(model_index)
    if "Inpaint" in pipeline or unet.get("in_channels", 4) != 4:
        raise ModelError(f"{name} is an inpainting or editing model; choose the text-to-image model it was made from.")
    extra_large = pipeline.startswith("StableDiffusionXL")
    return FAMILIES["sdxl" if extra_large else "sd2" if unet.get("use_linear_projection") else "sd1"]


def _pipeline(model_index: Mapping[str, Any]) -> str:
    return str(model_index.get("_class_name", "StableDiffusionPipeline"))


def _check_is_folder(base: Path) -> None:
    if not base.exists():
        raise ModelError(
            f'There is no base model "{base}". Give a single file (.safetensors, .ckpt), a diffusers folder, or "demo".'
        )
    if not (base / "model_index.json").is_file() and not (base / "unet").is_dir():
        files = list(base.glob("*.safetensors"))
        if any(looks_like_lora(p) for p in files):
            raise ModelError(f"{base} holds a LoRA, not a base model. Choose the model it was made for.")
        if files:
            raise ModelError(f"{base} is a folder of single files, e.g. {files[0].name}. Choose the file itself.")
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
        if choose(p.name for p in folder.iterdir() if p.is_file()) is None:
            raise ModelError(f"The base model {base} has no weights in {part}. Copy the model again, whole.")


def _check_vae(vae: Path) -> None:
    if not vae.exists():
        raise ModelError(
            f'There is no VAE "{vae}". Give a VAE file or folder, or leave VAE empty for the model\'s own.'
        )
    if vae.is_dir():
        folder = vae if (vae / "config.json").is_file() else vae / "vae"
        if not (folder / "config.json").is_file():
            raise ModelError(f"{vae} is no VAE: it has neither config.json nor a vae folder in it.")
        channels = _read_json(folder / "config.json").get("latent_channels", 4)
    else:
        channels = latent_channels(read(vae))
    if channels == 0:
        raise ModelError(f"{vae.name} holds no VAE ({identify(vae).title}). Choose a VAE file, or leave VAE empty.")
    if channels != 4:
        raise ModelError(
            f"{vae.name} is a VAE with {channels} channels (of SD 3, Flux or another later model); SD and SDXL have 4."
        )


def looks_like_lora(path: Path) -> bool:
    """Whether a .safetensors file holds LoRA layers, from its header only."""
    if path.suffix != ".safetensors":
        return False
    try:
        return identify(path).kind == "lora"
    except ModelError:
        return False


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
