"""Which family a model folder is, and what is said of folders that are none. Reading the parts: test_backbone.py."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from tests import tiny_models as makers
from trainer import families
from trainer.errors import ModelError
from trainer.families import FAMILIES


@pytest.fixture
def copy(tiny_models: dict[str, Path], tmp_path: Path) -> Any:
    """A tiny model that may be damaged."""
    return lambda family="sdxl": Path(shutil.copytree(tiny_models[family], tmp_path / "model"))


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | values), encoding="utf-8")


def test_every_family_has_a_tiny_model() -> None:
    assert list(makers.MAKERS) == list(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_family_is_told_from_the_folder(family: str, tiny_models: dict[str, Path]) -> None:
    assert families.detect(tiny_models[family]) is FAMILIES[family]
    backbone = families.load(tiny_models[family])
    assert backbone.family is FAMILIES[family]
    assert (backbone.unet, backbone.vae, backbone.text_encoders) == (None, None, {})
    assert set(backbone.text_model_classes) == set(backbone.family.text_parts)


@pytest.mark.parametrize(
    ("family", "part"),
    [
        (family.id, part)
        for family in FAMILIES.values()
        for text in [list(family.text_parts)]
        for part in ("unet", "vae", "scheduler", *text, *(t.replace("text_encoder", "tokenizer") for t in text))
    ],
)
def test_a_missing_part_is_named(family: str, part: str, copy: Any) -> None:
    folder = copy(family)
    shutil.rmtree(folder / part)
    with pytest.raises(ModelError, match=rf"has no {part} folder\. Copy the model again, whole\."):
        families.detect(folder)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("model_index.json", "lacks .*model_index.json"),
        ("unet/config.json", "lacks unet/config.json"),
        ("vae/config.json", "lacks vae/config.json"),
        ("scheduler/scheduler_config.json", "lacks scheduler/scheduler_config.json"),
        ("unet/diffusion_pytorch_model.safetensors", "has no weights in unet"),
        ("text_encoder_2/model.safetensors", "has no weights in text_encoder_2"),
        ("tokenizer_2/tokenizer.json", "has no vocabulary in tokenizer_2"),
    ],
)
def test_a_missing_file_is_named(file: str, message: str, copy: Any) -> None:
    folder = copy()
    (folder / file).unlink()
    with pytest.raises(ModelError, match=rf"{message}.*Copy the model again, whole"):
        families.detect(folder)


@pytest.mark.parametrize("text", ["{", "", "[]"])
@pytest.mark.parametrize(
    "file", ["model_index.json", "unet/config.json", "vae/config.json", "scheduler/scheduler_config.json"]
)
def test_a_damaged_configuration_is_named(file: str, text: str, copy: Any) -> None:
    folder = copy()
    (folder / file).write_text(text, encoding="utf-8")
    with pytest.raises(
        ModelError, match=rf"{file}.* (cannot be read|is not a configuration file).*Copy the model again"
    ):
        families.load(folder)


def test_a_path_that_leads_nowhere_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r'There is no base model ".*nothing"'):
        families.detect(tmp_path / "nothing")


def test_a_folder_of_something_else_is_said(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"is not a diffusers model folder: it has no model_index\.json and no unet folder"
    ):
        families.detect(tmp_path)


def test_a_lora_given_as_base_model_is_recognised(tmp_path: Path) -> None:
    file = tmp_path / "style.safetensors"
    safetensors.torch.save_file({"lora_unet_a.lora_down.weight": torch.zeros(1, 2)}, file)
    with pytest.raises(ModelError, match=r"style\.safetensors is a LoRA, not a base model.*start_from"):
        families.detect(file)
    with pytest.raises(ModelError, match="holds a LoRA, not a base model"):
        families.detect(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "model.ckpt"])
def test_a_file_of_something_unknown_is_said(name: str, tmp_path: Path) -> None:
    safetensors.torch.save_file({"model.diffusion_model.out.2.bias": torch.zeros(2)}, tmp_path / name)
    with pytest.raises(
        ModelError, match=f"{name} holds 1 tensor of a kind that is not known, e.g. model.diffusion_model"
    ):
        families.detect(tmp_path / name)


def test_a_folder_of_single_files_is_said(tmp_path: Path) -> None:
    safetensors.torch.save_file({"a": torch.zeros(2)}, tmp_path / "nice.safetensors")
    with pytest.raises(
        ModelError, match=r"is a folder of single files, e\.g\. nice\.safetensors\. Choose the file itself"
    ):
        families.detect(tmp_path)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("channels", [9, 8])
def test_an_inpainting_or_editing_model_is_refused(family: str, channels: int, copy: Any) -> None:
    folder = copy(family)
    change(folder / "unet" / "config.json", in_channels=channels)
    with pytest.raises(ModelError, match="is an inpainting or editing model; choose the text-to-image model"):
        families.detect(folder)
    change(folder / "model_index.json", _class_name="StableDiffusionInpaintPipeline")
    with pytest.raises(ModelError, match="is an inpainting or editing model"):
        families.detect(folder)


def test_another_kind_of_pipeline_is_named_even_if_its_parts_are_called_otherwise(copy: Any) -> None:
    folder = copy()
    change(folder / "model_index.json", _class_name="FluxPipeline")
    (folder / "unet").rename(folder / "transformer")
    with pytest.raises(
        ModelError, match=r"is a FluxPipeline model, which is not supported; use one of SD 1\.x, SD 2\.x, SDXL"
    ):
        families.detect(folder)
