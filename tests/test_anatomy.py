"""families/anatomy.py: from configurations alone, exactly the layers and numbers that the real models have."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

import resources
from tests import single_files, tiny_models
from trainer import families
from trainer.adapter import Adapter, fresh_sizes
from trainer.errors import ModelError
from trainer.families import FAMILIES, anatomy
from trainer.settings import TrainingSettings

if TYPE_CHECKING:
    from pathlib import Path

CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=[*FAMILIES])
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.make(request.param, tmp_path_factory.mktemp("anatomy") / request.param)


def count(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def check_layers(model: torch.nn.Module, layers: tuple[anatomy.Layer, ...]) -> None:
    """Names, shapes, biases and strides of every linear layer and convolution."""
    real = {
        name: (tuple(m.weight.shape), m.bias is not None, getattr(m, "stride", (1,))[0])
        for name, m in model.named_modules()
        if isinstance(m, torch.nn.Linear | torch.nn.Conv2d)
    }
    told = {
        layer.name: (
            (layer.outputs, layer.inputs, *(layer.kernel,) * (2 if layer.kernel else 0)),
            layer.bias,
            layer.stride,
        )
        for layer in layers
    }
    assert {n.removeprefix("text_model."): v for n, v in told.items()} == {
        n.removeprefix("text_model."): v for n, v in real.items()
    }


@pytest.mark.parametrize("family", [*FAMILIES])
def test_a_published_model_is_told_to_the_last_number(family: str, tmp_path: Path) -> None:
    folder = resources.path("configs", family)
    with init_empty_weights():
        unet = UNet2DConditionModel.from_config(config(folder / "unet"))
        vae = AutoencoderKL.from_config(config(folder / "vae"))
    made = anatomy.of(sparse(family, tmp_path / "base.safetensors"))
    assert made.parameters("unet") == count(unet) and made.parameters("vae") == count(vae)
    check_layers(unet, made.layers("unet"))
    for part in FAMILIES[family].text_parts:
        kind: Any = CLIPTextModel if part == "text_encoder" else CLIPTextModelWithProjection
        with init_empty_weights():
            encoder = kind(CLIPTextConfig(**config(folder / part)))
        assert made.parameters(part) == count(encoder)
        check_layers(encoder, made.layers(part))


def sparse(family: str, path: Path) -> Path:
    """A single file of true size whose weights are a hole, which takes no room on the disk."""
    entries, end = {}, 0
    for name, tensor in sorted(single_files.true_size(family).items()):
        size = 2 * tensor.numel()
        entries[name] = {"dtype": "F16", "shape": list(tensor.shape), "data_offsets": [end, end + size]}
        end += size
    header = json.dumps(entries).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    os.truncate(path, 8 + len(header) + end)
    return path


def config(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return values


def test_a_folder_is_told_to_the_last_number_and_by_level(tiny: Path) -> None:
    made, backbone = anatomy.of(tiny), families.load(tiny)
    unet, vae = backbone.load_unet(torch.float32, CPU), backbone.load_vae(CPU)
    assert made.parameters("unet") == count(unet) and made.parameters("vae") == count(vae)
    assert made.scale == backbone.vae_scale and made.context == unet.config.cross_attention_dim
    seen: dict[str, int] = {}

    def hook(name: str) -> Any:
        return lambda _module, _given, out: seen.__setitem__(name, out.shape[-1] * out.shape[-2])

    names = {piece.name: piece for piece in made.unet if piece.kind in ("resnet", "sampler")}
    for name, module in unet.named_modules():
        if name in names:
            module.register_forward_hook(hook(name))
    told = torch.zeros(1, 77, made.context)
    extra = {"text_embeds": torch.zeros(1, 32), "time_ids": torch.zeros(1, 6)} if len(made.text) > 1 else None
    with torch.no_grad():
        unet(torch.zeros(1, 4, 24, 16), torch.tensor([3]), told, added_cond_kwargs=extra)
    positions = {p.name: n for p, n in anatomy.seen(made.unet, 128, 192, made.scale) if p.name in names}
    assert positions == seen and len(seen) > 10


@pytest.mark.parametrize("targets", [("attention",), ("convolutions", "projections"), ("feed_forward", "attention")])
def test_adapters_go_where_the_run_puts_them(targets: tuple[str, ...], tiny: Path) -> None:
    settings = TrainingSettings(targets=targets, rank=3, conv_rank=2, train_text_encoder=True)
    made, backbone = anatomy.of(tiny), families.load(tiny)
    backbone.load_unet(torch.float32, CPU)
    backbone.load_text_encoders(torch.float32, CPU)
    adapter = Adapter(backbone, fresh_sizes(backbone, settings), settings)
    for part in adapter.parts:
        table = anatomy.UNET_TARGETS if part == "unet" else anatomy.TEXT_TARGETS
        told = [layer.name.removeprefix("text_model.") for layer in anatomy.targeted(made.layers(part), targets, table)]
        real = [name.removeprefix("text_model.") for of, name in adapter.layers if of == part]
        assert sorted(told) == sorted(real) and told


def test_what_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="There is no base model"):
        anatomy.of(tmp_path / "nothing")
    folder = tiny_models.make("sd1", tmp_path / "odd")
    (folder / "unet" / "config.json").write_text('{"block_out_channels": [8]}')
    with pytest.raises(ModelError, match=r"not that of a usual SD 1\.x model"):
        anatomy.of(folder)
