"""Names of LoRA layers turned around without a model, against loaded models and the table of true files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from tests.test_lora_names import TRUE_SIZES
from tests.test_lora_tools import LINEAR, close, dense, lora, merged
from trainer import families, lora_convert
from trainer.families import lora_names

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("family", families.FAMILIES)
def test_names_agree_with_those_of_a_loaded_model(family: str, tiny_models: dict[str, Path]) -> None:
    """Both ways, every layer that can have an adapter; the text encoders' level text_model is left to the reader."""
    backbone = families.load(tiny_models[family])
    backbone.load_unet(torch.float32, torch.device("cpu"))
    backbone.load_text_encoders(torch.float32, torch.device("cpu"))
    modules = backbone.lora_modules(("attention", "feed_forward", "projections", "convolutions"), text=True)
    for part, names in modules.items():
        for name in names:
            for stem in backbone.stems(part, name):
                found = lora_names.path(stem)
                assert found is not None
                assert (found[0], found[1].removeprefix("text_model.")) == (part, name.removeprefix("text_model."))
            assert lora_names.stem(part, name, backbone.family) == backbone.stems(part, name)[0]


@pytest.mark.parametrize("family", families.FAMILIES)
def test_every_name_in_a_true_file_turns_into_a_path_and_back(family: str) -> None:
    """The names that kohya writes for models of true size, from the independent table of tests/test_lora_names.py."""
    true = TRUE_SIZES[family]
    stems = true.layers | true.convolutions | true.text
    for stem in stems:
        found = lora_names.path(stem)
        assert found is not None and lora_names.stem(*found, families.FAMILIES[family]) == stem
        assert stem.startswith("lora_te") or "_blocks." in found[1] or "mid_block." in found[1]
    assert len({lora_names.path(stem) for stem in stems}) == len(stems) > 300


@pytest.mark.parametrize(
    ("names", "family"),
    [
        ({"lora_unet_x_attn2_to_k.lora_down.weight": (4, 768)}, "sd1"),
        ({"lora_unet_x_attn2_to_k.lora_down.weight": (4, 1024)}, "sd2"),
        ({"unet.x.attn2.to_v.lora_A.weight": (4, 2048)}, "sdxl"),
        ({"lora_te2_text_model_x.lora_down.weight": (4, 1280)}, "sdxl"),
        ({"lora_unet_output_blocks_0_1_proj_in.lora_down.weight": (4, 1280)}, "sdxl"),
        ({"lora_unet_x_attn2_to_k.lora_down.weight": (4, 4096)}, None),
        ({"lora_te_text_model_x.lora_down.weight": (4, 768)}, None),
    ],
)
def test_the_family_is_told_from_layers_when_the_file_does_not_say(
    names: dict[str, tuple[int, ...]], family: str | None
) -> None:
    found = lora_names.family_of({}, names)
    assert (found.id if found else None) == family


def test_two_spellings_of_sdxl_become_the_one_that_every_client_reads() -> None:
    ours, theirs = "lora_unet_input_blocks_4_1_proj_in", "lora_unet_down_blocks_1_attentions_0_proj_in"
    a, b = ({k.replace(LINEAR, s): v for k, v in lora(i, stems=(LINEAR,)).items()} for i, s in enumerate((ours, theirs)))  # fmt: skip
    out = merged((b, 1.0), (a, 1.0))
    close(dense(out), {ours: dense(a)[ours] + dense(b)[theirs]})
    assert set(dense(merged((b, 1.0)))) == {theirs}


def test_pefts_settings_and_older_names_are_read() -> None:
    family = next(iter(families.FAMILIES.values()))
    down, up = torch.randn(4, 24), torch.randn(40, 4)
    for keys in (
        ("unet.mid_block.attentions.0.proj_in.lora_A.weight", "unet.mid_block.attentions.0.proj_in.lora_B.weight"),
        ("base_model.model.mid_block.attentions.0.proj_in.lora_A.default.weight", "base_model.model.mid_block.attentions.0.proj_in.lora_B.default.weight"),
        ("unet.mid_block.attentions.0.proj_in.lora.down.weight", "unet.mid_block.attentions.0.proj_in.lora.up.weight"),
    ):  # fmt: skip
        out = lora_convert.to_kohya(dict(zip(keys, (down, up), strict=True)), family, "x", {"unet.lora_alpha": 2})
        close(dense(out), {LINEAR: 0.5 * up.double() @ down.double()})
    told = {"unet.lora_alpha": 2, "unet.alpha_pattern": {"^mid_block\\.attentions\\.0\\.proj_in": 8}, "unet.use_rslora": True}  # fmt: skip
    out = lora_convert.to_kohya(dict(zip(keys, (down, up), strict=True)), family, "x", told)
    assert float(out[f"{LINEAR}.alpha"]) == 16
