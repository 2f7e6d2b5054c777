"""clients.py and families/clients.py: the tables of other programs are kohya's, and each planted fault is found and said."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest

from tests.test_lora_names import TRUE_SIZES
from trainer import clients, lora_file
from trainer.errors import ModelError
from trainer.families import FAMILIES
from trainer.families import clients as rules
from trainer.families.single_file import config_folder

if TYPE_CHECKING:
    from pathlib import Path

WIDTHS = {"F16": 2, "BF16": 2, "F32": 4, "F8_E4M3": 1, "F64": 8}
METADATA = {
    "sd1": {"ss_base_model_version": "sd_v1", "ss_v2": "False", "modelspec.architecture": "stable-diffusion-v1/lora"},
    "sd2": {"ss_base_model_version": "sd_v2", "ss_v2": "True", "modelspec.architecture": "stable-diffusion-v2-512/lora"},
    "sdxl": {"ss_base_model_version": "sdxl_base_v1-0", "modelspec.architecture": "stable-diffusion-xl-v1-base/lora"},
}  # fmt: skip
UP = "up_blocks_1_attentions_0"
SD1 = f"lora_unet_{UP}_transformer_blocks_0_attn2_to_k"
SHAPES: dict[str, tuple[int, ...]] = {
    f"{SD1}.lora_down.weight": (4, 768), f"{SD1}.lora_up.weight": (1280, 4), f"{SD1}.alpha": (),
    f"lora_unet_{UP}_proj_in.lora_down.weight": (4, 1280, 1, 1), f"lora_unet_{UP}_proj_in.lora_up.weight": (1280, 4, 1, 1),
    f"lora_unet_{UP}_proj_in.alpha": (),
}  # fmt: skip


def write(
    path: Path, shapes: dict[str, tuple[int, ...]], metadata: dict[str, str], dtype: str = "F16", start: str = ""
) -> Path:
    """A file of zeros, written by hand: no code of the writer's. start: blanks before the header."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    end = 0
    for name, shape in shapes.items():
        size = math.prod(shape) * WIDTHS[dtype]
        header[name], end = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + size]}, end + size
    text = (start + json.dumps(header)).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(end))
    return path


def read(path: Path, family: str = "sd1") -> clients.Reading:
    return clients.read(path, FAMILIES[family], rules.TRUE_SIZE[family])


def layer(stem: str, down: tuple[int, ...], up: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up, f"{stem}.alpha": ()}


# The tables


def test_every_family_has_its_facts() -> None:
    assert list(rules.FACTS) == list(rules.TRUE_SIZE) == list(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_table_holds_exactly_kohyas_names_at_true_size(family: str) -> None:
    true = TRUE_SIZES[family]
    table = rules.slots(family, rules.TRUE_SIZE[family])
    assert set(table) == true.layers | true.convolutions | true.text
    usual, full, text = true.counts
    unet = [name for name, slot in table.items() if slot.part == "unet"]
    assert (len(true.layers), len(unet), len(table) - len(unet)) == (usual, full, text)
    assert len({(slot.part, slot.module) for slot in table.values()}) == len(table)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_published_configurations_have_the_true_sizes(family: str) -> None:
    configs = {
        part: json.loads((config_folder(family) / part / "config.json").read_text())
        for part in ("unet", *FAMILIES[family].text_parts)
    }
    assert rules.blocks_of(configs.pop("unet"), configs) == rules.TRUE_SIZE[family]


def test_the_other_spelling_is_that_of_the_other_families() -> None:
    assert "lora_unet_down_blocks_1_attentions_0_proj_in" in rules.other_spelling("sdxl", rules.TRUE_SIZE["sdxl"])
    assert "lora_unet_input_blocks_4_1_proj_in" in rules.other_spelling("sd1", rules.TRUE_SIZE["sd1"])
    assert not rules.other_spelling("sd1", rules.TRUE_SIZE["sd1"]) & set(rules.slots("sd1", rules.TRUE_SIZE["sd1"]))


# Versions


@pytest.mark.parametrize("family", FAMILIES)
def test_what_our_metadata_says_is_understood_by_a1111_and_forge(family: str) -> None:
    label = {"sd1": "SD1", "sd2": "SD2", "sdxl": "SDXL"}[family]
    assert rules.a1111_version(METADATA[family]) == rules.forge_version(METADATA[family]) == label


def test_a_version_that_is_not_told_is_unknown() -> None:
    assert rules.a1111_version({}) == rules.forge_version({}) == ""
    assert rules.forge_version({"ss_base_model_version": "sd_v1"}) == "", "Forge wants the architecture"
    assert rules.a1111_version({"ss_v2": "true"}) == "SD1", "only True is true to A1111"


@pytest.mark.parametrize(
    ("shapes", "version"),
    [
        ({"x_attn2_to_k.lora_down.weight": (4, 768)}, "SD1"),
        ({"x_attn2_to_k.lora_down.weight": (4, 1024)}, "SD2"),
        ({"x_attn2_to_k.lora_down.weight": (4, 2048)}, "SDXL"),
        ({"x_attn2_to_k.lora_down.weight": (4, 64)}, ""),
        ({"lora_te_self_attn_k_proj.lora_down.weight": (4, 768)}, "SD1"),
        ({"lora_te1_a.alpha": (), "lora_te2_a.alpha": ()}, "SDXL"),
        ({"x_transformer_blocks_2_attn1_to_q.lora_down.weight": (4, 640)}, "SDXL"),
        ({"x_transformer_blocks_1_attn1_to_q.lora_down.weight": (4, 640)}, ""),
        ({"x_resnets_0_time_emb_proj.lora_down.weight": (4, 1280)}, "SDXL"),
    ],
    ids=str,
)
def test_invokeai_tells_families_by_their_layers(shapes: dict[str, tuple[int, ...]], version: str) -> None:
    assert rules.invokeai_version(shapes) == version


# A good file


def test_a_good_file_loads_in_all_programs(tmp_path: Path) -> None:
    reading = read(write(tmp_path / "a.safetensors", SHAPES, METADATA["sd1"]))
    assert reading.programs == clients.PROGRAMS and not reading.limits and not reading.sentences
    assert reading.stems["unet", "up_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"] == SD1
    assert (reading.dtype, reading.is_dora, len(reading.stems)) == ("F16", False, 2)


def test_a_file_without_metadata_loads_too(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.safetensors", SHAPES, {})).programs == clients.PROGRAMS


# Faults


def changed(old: str, new: str) -> dict[str, tuple[int, ...]]:
    return {key.replace(old, new): shape for key, shape in SHAPES.items()}


FAULTS: dict[str, tuple[dict[str, tuple[int, ...]], str]] = {
    "a wrong key name": (changed("attn2_to_k", "attn2_to_kk"), "the base model has no layer .*_attn2_to_kk; A1111, Forge and ComfyUI leave it out"),
    "a block that is not there": (changed("up_blocks_1", "up_blocks_0"), "the base model has no layer lora_unet_up_blocks_0_attentions_0"),
    "the other spelling": (changed(f"{UP}_proj_in", "output_blocks_3_1_proj_in"), "output_blocks_3_1_proj_in has a name in another spelling"),
    "a missing alpha": ({k: s for k, s in SHAPES.items() if k != f"{SD1}.alpha"}, f"layer {SD1} has no alpha; A1111, Forge, ComfyUI and InvokeAI take its rank"),
    "an alpha of many numbers": (SHAPES | {f"{SD1}.alpha": (4,)}, "the alpha of layer .* is not one number"),
    "a missing half": ({k: s for k, s in SHAPES.items() if k != f"{SD1}.lora_up.weight"}, r"has no lora_up\.weight; ComfyUI and A1111 leave it out"),
    "a transposed half": (SHAPES | {f"{SD1}.lora_up.weight": (4, 1280)}, "the halves of layer .* do not fit, 4x768 and 4x1280: one is transposed"),
    "a matrix for a convolution": (SHAPES | {f"lora_unet_{UP}_proj_in.lora_down.weight": (4, 1280)}, "has the shapes 4x1280 and 1280x4x1x1, but is a 1x1 convolution"),
    "a convolution for a matrix": (SHAPES | {f"{SD1}.lora_down.weight": (4, 768, 1, 1)}, "has the shapes 4x768x1x1 and 1280x4, but is a matrix"),
    "PEFT's names": (changed("lora_down.weight", "lora_A.weight"), r"no program knows what .*\.lora_A\.weight is; diffusers refuses the file"),
    "text_model left out": (SHAPES | layer("lora_te_encoder_layers_0_mlp_fc1", (4, 768), (3072, 4)), "lacks text_model in its name; every program leaves the text"),
    "nothing in it": ({}, "it holds no layers; it does nothing"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_of_names_or_shapes_is_said(kind: str, tmp_path: Path) -> None:
    shapes, message = FAULTS[kind]
    path = write(tmp_path / "a.safetensors", shapes, METADATA["sd1"])
    with pytest.raises(ModelError, match=rf"^a\.safetensors would not work as it was trained: .*{message}") as caught:
        read(path)
    assert str(caught.value).endswith("It is not kept. Export again; if that happens again, please report it.")


def test_two_spellings_in_one_file_of_sdxl_are_a_fault(tmp_path: Path) -> None:
    inner = "transformer_blocks_0_attn1_to_q"
    shapes = layer(f"lora_unet_input_blocks_4_1_{inner}", (4, 640), (640, 4))
    path = write(tmp_path / "a.safetensors", shapes, METADATA["sdxl"])
    assert "A1111" in read(path, "sdxl").programs
    shapes |= layer(f"lora_unet_down_blocks_1_attentions_1_{inner}", (4, 640), (640, 4))
    with pytest.raises(
        ModelError, match=r"down_blocks_1_attentions_1_.* has a name in another spelling .*diffusers leaves"
    ):
        read(write(path, shapes, METADATA["sdxl"]), "sdxl")


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F64"])
def test_a_format_that_not_all_read_is_a_fault(dtype: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", SHAPES, METADATA["sd1"], dtype)
    with pytest.raises(ModelError, match=rf"is saved as {dtype}; A1111 and others read only fp16, bf16 and fp32"):
        read(path)


def test_a_header_that_begins_with_a_blank_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r'its header does not begin with \{"; A1111 and Forge refuse it'):
        read(write(tmp_path / "a.safetensors", SHAPES, METADATA["sd1"], start=" "))


def test_a_truncated_file_is_said(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", SHAPES, METADATA["sd1"])
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ModelError, match=r"a\.safetensors is cut off: 7 bytes are missing"):
        read(path)


METADATA_FAULTS: dict[str, tuple[dict[str, str], str]] = {
    "another family": ({"ss_v2": "True"}, "its metadata makes A1111 take it for SD2; A1111 hides it"),
    "another architecture": (
        {"modelspec.architecture": "stable-diffusion-xl-v1-base/lora"}, "its metadata makes Forge take it for SDXL",
    ),
    "a brace": ({"modelspec.description": "{mine}"}, "modelspec.description begins with a brace"),
    "a Python dict": ({"ss_dataset_dirs": "{'a': 1}"}, "ss_dataset_dirs begins with a brace and is no JSON table"),
    "a list": ({"ss_tag_frequency": "[1]"}, "ss_tag_frequency is no JSON table"),
    "tags without folders": ({"ss_tag_frequency": '{"cat": 3}'}, "ss_tag_frequency is no table of tags by folder"),
    "a forbidden name": ({"ss_output_name": "None"}, 'its name "None" cannot stand in a prompt'),
    "a name with a colon": ({"ss_output_name": "a:b"}, 'its name "a:b" cannot stand in a prompt'),
    "a wrong hash": ({"sshs_model_hash": "e3b0c44298fc"}, "the hash in its metadata is that of another file; Civitai"),
    "another wrong hash": ({"modelspec.hash_sha256": "0x12"}, "the hash in its metadata is that of another file"),
}  # fmt: skip


@pytest.mark.parametrize("kind", METADATA_FAULTS)
def test_a_fault_of_the_metadata_is_said(kind: str, tmp_path: Path) -> None:
    told, message = METADATA_FAULTS[kind]
    with pytest.raises(ModelError, match=message):
        read(write(tmp_path / "a.safetensors", SHAPES, METADATA["sd1"] | told))


def test_the_right_hash_is_right(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", SHAPES, METADATA["sd1"])
    digest = lora_file.file_sha256(path, lora_file.read_header(path).data_start)
    told = {
        "sshs_model_hash": digest,
        "modelspec.hash_sha256": f"0x{digest}",
        "ss_tag_frequency": '{"10_cat": {"cat": 3}}',
    }
    assert read(write(path, SHAPES, METADATA["sd1"] | told)).programs == clients.PROGRAMS


# Limits


def test_dora_is_read_by_forge_and_comfyui_only(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", SHAPES | {f"{SD1}.dora_scale": (1280, 1)}, METADATA["sd1"])
    reading = read(path)
    assert reading.is_dora and reading.programs == ("Forge", "ComfyUI")
    assert reading.sentences[1:] == (
        "DoRA's magnitudes are misread by A1111 and InvokeAI", "DoRA's magnitudes are ignored by diffusers",
    )  # fmt: skip


def test_a1111_wants_all_four_of_openclips_attention(tmp_path: Path) -> None:
    begin, shapes = "lora_te2_text_model_encoder_layers_3_self_attn", dict[str, tuple[int, ...]]()
    for which in "qkv":
        shapes |= layer(f"{begin}_{which}_proj", (4, 1280), (1280, 4))
    reading = read(write(tmp_path / "a.safetensors", shapes, METADATA["sdxl"]), "sdxl")
    assert reading.limits["A1111"] == "Text-encoder layers that lack one of q, k, v and out are left out by"
    shapes |= layer(f"{begin}_out_proj", (4, 1280), (1280, 4))
    assert "A1111" in read(write(tmp_path / "a.safetensors", shapes, METADATA["sdxl"]), "sdxl").programs


def test_invokeai_may_not_know_the_family(tmp_path: Path) -> None:
    shapes = layer(f"lora_unet_{UP}_transformer_blocks_0_attn1_to_q", (4, 1280), (1280, 4))
    reading = read(write(tmp_path / "a.safetensors", shapes, METADATA["sd1"]))
    assert reading.sentences == ("Its family is not recognised by InvokeAI",)
    shapes = layer("lora_unet_up_blocks_1_resnets_0_time_emb_proj", (4, 1280), (1280, 4))
    reading = read(write(tmp_path / "a.safetensors", shapes, METADATA["sd1"]))
    assert reading.sentences == ("It is taken for SDXL by InvokeAI",)
