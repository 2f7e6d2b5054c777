"""What a LoRA file is, from its header: every trainer's key lists, and what is given by mistake, each in one sentence."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file

from tests import single_files
from tests.test_headers import Shapes, keys, true
from tests.test_lora_names import TRUE_SIZES
from trainer import lora_kinds
from trainer.errors import ModelError
from trainer.families import FAMILIES
from trainer.families.original import unet_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trainer.lora_kinds import LoraKind

KOHYA = (".lora_down.weight", ".lora_up.weight", ".alpha")
WIDTHS = {family.id: family.context_width for family in FAMILIES.values()}


def shape_of(layer: str, ending: str, width: int) -> tuple[int, ...]:
    if ending.endswith("alpha"):
        return ()
    inputs = width if "attn2" in layer and layer.endswith(("to_k", "to_v")) else 640
    return (16, inputs) if re.search(r"down|lora_A|hada|lokr|diff", ending) else (640, 16)


@functools.cache
def kohya(family: str, endings: tuple[str, ...] = KOHYA, *, text: bool = True, convolutions: bool = False) -> Shapes:
    """All layers of a published file, by the independent table of tests/test_lora_names.py."""
    size = TRUE_SIZES[family]
    stems = sorted(size.layers | (size.text if text else set()))
    out = {f"{stem}{end}": shape_of(stem, end, WIDTHS[family]) for stem in stems for end in endings}
    for stem in sorted(size.convolutions) if convolutions else ():
        out |= {
            f"{stem}.lora_down.weight": (8, 320, 3, 3),
            f"{stem}.lora_up.weight": (640, 8, 1, 1),
            f"{stem}.alpha": (),
        }
    return out


ATTENTION = [
    f"{block}.attentions.{i}.transformer_blocks.{n}.attn{a}.to_{w}"
    for block, i in (("down_blocks.1", 0), ("mid_block", 0), ("up_blocks.0", 2))
    for n in (0, 1) for a in (1, 2) for w in ("q", "k", "v", "out.0")
]  # fmt: skip
SD_ATTENTION = [path for path in ATTENTION if "transformer_blocks.0" in path]
TEXT = [f"text_model.encoder.layers.{n}.self_attn.{w}_proj" for n in range(12) for w in ("q", "k", "v", "out")]


def dotted(paths: list[str], endings: tuple[str, ...], prefix: str = "unet.", width: int = 2048) -> Shapes:
    return {f"{prefix}{path}{end}": shape_of(path, end, width) for path in paths for end in endings}


def original(paths: list[str]) -> list[str]:
    return [unet_name(path) for path in paths]


PEFT = (".lora_A.weight", ".lora_B.weight")
OLD = [path.removesuffix(".0").replace(".to_", ".processor.to_") + "_lora" for path in SD_ATTENTION]
AI_TOOLKIT = {
    "software": json.dumps({"name": "ai-toolkit", "repo": "https://github.com/ostris/ai-toolkit", "version": "0.5.1"}), "format": "pt",
    "training_info": json.dumps({"step": 3000, "epoch": 4}), "ss_output_name": "x", "name": "x",
}  # fmt: skip
KOHYA_SAYS = {"ss_network_module": "networks.lora", "ss_base_model_version": "sdxl_base_v1-0", "ss_v2": "False"}
SGM = {"ss_network_module": "lycoris.kohya", "ss_network_args": '{"algo": "lora"}'}


@dataclass(frozen=True)
class Case:
    """A file that can be used. expected: method, naming, family id, software."""

    name: str
    make: Callable[[], Shapes]
    expected: tuple[str, str, str, str]
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Refused:
    """A file that cannot be used. said: how its sentence goes on after the name."""

    name: str
    make: Callable[[], Shapes]
    method: str
    said: str


def scaled(shapes: Shapes, ending: str, value: tuple[int, ...]) -> Shapes:
    return shapes | {key.replace(".lora_up.weight", ending): value for key in shapes if key.endswith(".lora_up.weight")}


USED = (
    Case("kohya, SD 1.x", lambda: kohya("sd1"), ("LoRA", "kohya", "sd1", "")),
    Case("kohya, SD 2.x", lambda: kohya("sd2"), ("LoRA", "kohya", "sd2", "")),
    Case("kohya, SDXL", lambda: kohya("sdxl"), ("LoRA", "kohya", "sdxl", "kohya sd-scripts"), KOHYA_SAYS),
    Case("kohya, SDXL without text encoders", lambda: kohya("sdxl", text=False), ("LoRA", "kohya", "sdxl", "")),
    Case("kohya, text encoder only", lambda: {k: v for k, v in kohya("sd1").items() if k.startswith("lora_te")}, ("LoRA", "kohya", "", "")),
    Case("kohya, said to be SD 1.x by an old file", lambda: {k: v for k, v in kohya("sd1").items() if "_attn1_" in k}, ("LoRA", "kohya", "sd1", ""), {"ss_base_model_version": "sd_v1"}),
    Case("kohya, SD 2.x by ss_v2", lambda: {k: v for k, v in kohya("sd2").items() if "_attn1_" in k}, ("LoRA", "kohya", "sd2", ""), {"ss_v2": "True"}),
    Case("LoCon of kohya", lambda: kohya("sd1", convolutions=True), ("LoCon", "kohya", "sd1", "")),
    Case("LoCon of LyCORIS", lambda: kohya("sdxl", convolutions=True), ("LoCon", "kohya", "sdxl", "kohya sd-scripts with LyCORIS"), SGM),
    Case("LoCon of LyCORIS, Tucker", lambda: kohya("sd1", convolutions=True) | {"lora_unet_mid_block_resnets_0_conv1.lora_mid.weight": (8, 8, 3, 3)}, ("LoCon (Tucker)", "kohya", "sd1", "")),
    Case("LyCORIS without kohya", lambda: dotted([p.replace(".", "_") for p in ATTENTION], KOHYA, "lycoris_"), ("LoRA", "LyCORIS", "sdxl", "")),
    Case("DoRA, outputs", lambda: scaled(kohya("sd1"), ".dora_scale", (640, 1)), ("DoRA", "kohya", "sd1", "")),
    Case("DoRA, inputs (OneTrainer)", lambda: scaled(kohya("sdxl"), ".dora_scale", (1, 640)), ("DoRA", "kohya", "sdxl", "OneTrainer"), {"ot_revision": "abc"}),
    Case("LoCon with DoRA", lambda: scaled(kohya("sd1", convolutions=True), ".dora_scale", (640, 1)), ("LoCon, DoRA", "kohya", "sd1", "")),
    Case("OneTrainer, SDXL in diffusers' block names", lambda: dotted([p.replace(".", "_") for p in ATTENTION], KOHYA, "lora_unet_") | {"bundle_emb.zorb.clip_l": (4, 768)}, ("LoRA", "kohya", "sdxl", "OneTrainer"), {"ot_branch": "master", "ss_base_model_version": "sdxl_"}),
    Case("OneTrainer, OMI, SDXL", lambda: dotted(original(ATTENTION), KOHYA) | dotted(TEXT, KOHYA, "clip_l.") | dotted(TEXT, KOHYA, "clip_g."), ("LoRA", "OMI", "sdxl", "OneTrainer"), {"ot_branch": "omi_format"}),
    Case("OneTrainer, OMI, SD 1.x", lambda: dotted(original(SD_ATTENTION), KOHYA, width=768), ("LoRA", "OMI", "sd1", "OneTrainer"), {"ot_config": "{}"}),
    Case("ai-toolkit, SDXL", lambda: dotted([p.replace(".", "_") for p in ATTENTION], KOHYA, "lora_unet_"), ("LoRA", "kohya", "sdxl", "ai-toolkit 0.5.1"), AI_TOOLKIT | {"ss_base_model_version": "sdxl_1.0"}),
    Case("ai-toolkit, SD 2.x with a JSON boolean", lambda: {k: v for k, v in kohya("sd2").items() if "_attn1_" in k}, ("LoRA", "kohya", "sd2", "ai-toolkit 0.5.1"), AI_TOOLKIT | {"ss_v2": "true"}),
    Case("ai-toolkit, PEFT halves, wrong about its base", lambda: dotted(SD_ATTENTION, PEFT), ("LoRA", "diffusers", "sdxl", "ai-toolkit 0.5.1"), AI_TOOLKIT | {"ss_base_model_version": "sd_1.5"}),
    Case("ai-toolkit, DoRA", lambda: dotted(SD_ATTENTION, PEFT) | dotted(SD_ATTENTION, (".magnitude",)), ("DoRA", "diffusers", "sdxl", "")),
    Case("diffusers 0.12, attention processors", lambda: dotted(OLD, (".down.weight", ".up.weight"), "", 768), ("LoRA", "old diffusers", "", "")),
    Case("diffusers 0.17 with text encoder", lambda: dotted(OLD, (".down.weight", ".up.weight")) | dotted(TEXT, (".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"), "text_encoder."), ("LoRA", "old diffusers", "", "")),
    Case("diffusers 0.22", lambda: dotted(SD_ATTENTION, (".lora.down.weight", ".lora.up.weight"), width=768), ("LoRA", "old diffusers", "sd1", "")),
    Case("diffusers now, SDXL", lambda: dotted(ATTENTION, PEFT) | dotted(TEXT, PEFT, "text_encoder_2."), ("LoRA", "diffusers", "sdxl", "")),
    Case("diffusers now, DoRA", lambda: dotted(ATTENTION, PEFT) | dotted(ATTENTION, (".lora_magnitude_vector",)), ("DoRA", "diffusers", "sdxl", "")),
    Case("PEFT", lambda: dotted(SD_ATTENTION, PEFT, "base_model.model.", 1024), ("LoRA", "PEFT", "sd2", "")),
    Case("PEFT with the adapter's name", lambda: dotted(SD_ATTENTION, (".lora_A.zorb.weight", ".lora_B.zorb.weight"), "base_model.model.", 768), ("LoRA", "PEFT", "sd1", "")),
    Case("PEFT's DoRA within unet.", lambda: dotted(SD_ATTENTION, (*PEFT, ".lora_magnitude_vector.default.weight"), "unet.base_model.model.", 768), ("DoRA", "PEFT", "sd1", "")),
    Case("ComfyUI", lambda: dotted(original(ATTENTION), KOHYA, "diffusion_model."), ("LoRA", "ComfyUI", "sdxl", "ComfyUI"), {"workflow": "{}"}),
    Case("LoRA Atelier", lambda: kohya("sd1"), ("LoRA", "kohya", "sd1", "LoRA Atelier 0.1.0"), {"modelspec.implementation_version": "LoRA Atelier 0.1.0", "ss_network_module": "networks.lora"}),
)  # fmt: skip


def stems(*ends: str, stem: str = "lora_unet_mid_block_attentions_0_proj_in") -> Shapes:
    return dict.fromkeys((f"{stem}{end}" for end in ends), (16, 16))


OURS = "Choose a LoRA for SD 1.x, SD 2.x, SDXL."
NOT_USED = "which cannot be used here. Use a LoRA, LoCon or DoRA."
CHOOSE = "not a LoRA. Choose a LoRA file."
REFUSED = (
    Refused("LoHa", lambda: kohya("sd1", (".hada_w1_a", ".hada_w1_b", ".hada_w2_a", ".hada_w2_b", ".alpha")), "LoHa", f"is a LoHa (products of two LoRAs), {NOT_USED}"),
    Refused("LoKr", lambda: stems(".lokr_w1", ".lokr_w2_a", ".lokr_w2_b", ".alpha"), "LoKr", f"is a LoKr (Kronecker products), {NOT_USED}"),
    Refused("LoKr of PEFT", lambda: stems(".lokr_w1", stem="base_model.model.mid_block.attentions.0.proj_in"), "LoKr", "is a LoKr"),
    Refused("OFT of kohya", lambda: stems(".oft_blocks", ".alpha"), "OFT", "is an OFT (rotations)"),
    Refused("Diag-OFT", lambda: stems(".oft_diag"), "OFT", "is an OFT"),
    Refused("OFT of OneTrainer", lambda: stems(".oft_R.weight"), "OFT", "is an OFT"),
    Refused("GLoRA", lambda: stems(".a1.weight", ".a2.weight", ".b1.weight", ".b2.weight"), "GLoRA", "is a GLoRA"),
    Refused("IA3", lambda: stems(".weight", ".on_input"), "IA3", "is an IA3 (factors, no matrices)"),
    Refused("VeRA", lambda: stems(".vera_lambda_b", ".vera_lambda_d", stem="base_model.model.x"), "VeRA", "is a VeRA"),
    Refused("AdaLoRA", lambda: stems(".lora_A", ".lora_B", ".lora_E", stem="base_model.model.x"), "AdaLoRA", "is an AdaLoRA"),
    Refused("full differences", lambda: stems(".diff", ".diff_b"), "full differences", "holds full differences (whole weights instead of low-rank ones), which"),
    Refused("norms beside LoRA", lambda: stems(*KOHYA) | stems(".w_norm", ".b_norm", stem="lora_unet_mid_block_norm"), "LoRA", "also holds changes of norm layers besides its LoRA layers (lora_unet_mid_block_norm.w_norm), which cannot be used here. Use a plain LoRA."),
    Refused("differences beside LoRA", lambda: stems(*KOHYA, ".diff_b"), "LoRA", "also holds whole differences of weights besides"),
    Refused("biases beside LoRA", lambda: dotted(ATTENTION, (*PEFT, ".lora_B.bias")), "LoRA", "also holds biases besides its LoRA layers"),
    Refused("something else beside LoRA", lambda: stems(*KOHYA) | {"x": (1,)}, "LoRA", "also holds something else besides its LoRA layers (x)"),
    Refused("Flux of kohya", lambda: stems(*KOHYA, stem="lora_unet_double_blocks_0_img_attn_qkv"), "LoRA", f"is a LoRA for Flux, which is not supported. {OURS}"),
    Refused("Flux of diffusers", lambda: stems(*PEFT, stem="transformer.single_transformer_blocks.3.attn.to_k"), "LoRA", "is a LoRA for Flux"),
    Refused("Flux of ai-toolkit", lambda: stems(*PEFT, stem="diffusion_model.double_blocks.0.img_attn.qkv"), "LoRA", "is a LoRA for Flux"),
    Refused("Flux of OneTrainer", lambda: stems(*KOHYA, stem="lora_transformer_single_transformer_blocks_0_attn_to_k"), "LoRA", "is a LoRA for Flux"),
    Refused("SD 3 of kohya", lambda: stems(*KOHYA, stem="lora_unet_joint_blocks_0_x_block_attn_qkv"), "LoRA", "is a LoRA for SD 3"),
    Refused("SD 3 of diffusers", lambda: stems(*PEFT, stem="transformer.transformer_blocks.0.attn.add_k_proj"), "LoRA", "is a LoRA for SD 3"),
    Refused("Qwen-Image", lambda: stems(*PEFT, stem="transformer.transformer_blocks.0.img_mlp.net.0.proj"), "LoRA", "is a LoRA for Qwen-Image"),
    Refused("Wan", lambda: stems(*PEFT, stem="diffusion_model.blocks.0.self_attn.q"), "LoRA", "is a LoRA for Wan"),
    Refused("Wan of musubi", lambda: stems(*KOHYA, stem="lora_unet_blocks_0_cross_attn_k"), "LoRA", "is a LoRA for Wan"),
    Refused("HunyuanVideo", lambda: stems(*PEFT, stem="transformer.double_blocks.0.img_attn_qkv"), "LoRA", "is a LoRA for HunyuanVideo"),
    Refused("Z-Image", lambda: stems(*PEFT, stem="diffusion_model.layers.0.attention.to_q"), "LoRA", "is a LoRA for Lumina or Z-Image"),
    Refused("LTX", lambda: stems(*PEFT, stem="diffusion_model.transformer_blocks.0.attn1.to_q"), "LoRA", "is a LoRA for PixArt, Sana or LTX-Video"),
    Refused("Stable Cascade", lambda: stems(*KOHYA, stem="lora_prior_unet_down_blocks_0_attn"), "LoRA", "is a LoRA for Stable Cascade"),
    Refused("AnimateDiff", lambda: stems("_lora.down.weight", "_lora.up.weight", stem="down_blocks.0.motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.0.processor.to_q"), "LoRA", f"is a motion LoRA for AnimateDiff, which moves pictures. {OURS}"),
    Refused("a language model's", lambda: stems(*PEFT, stem="base_model.model.model.decoder.q_proj"), "LoRA", "is a LoRA for a model that is not known; it holds base_model.model.model.decoder.q_proj.lora_A.weight."),
    Refused("textual inversion, SDXL", lambda: {"clip_l": (4, 768), "clip_g": (4, 1280)}, "", f"is a textual-inversion embedding, {CHOOSE}"),
    Refused("textual inversion, safetensors", lambda: {"emb_params": (4, 768)}, "", "is a textual-inversion embedding"),
    Refused("textual inversion, .pt", lambda: {"string_to_param.*": (4, 768)}, "", "is a textual-inversion embedding"),
    Refused("hypernetwork", lambda: {"768.0.linear.0.weight": (768, 768)}, "", f"is a hypernetwork, {CHOOSE}"),
    Refused("ControlNet", lambda: keys("control_model.time_embed.0.weight"), "", f"is a ControlNet, {CHOOSE}"),
    Refused("Control-LoRA", lambda: keys("lora_controlnet", "input_blocks.0.0.weight", "input_blocks.1.0.in_layers.2.down"), "", "is a Control-LoRA (a ControlNet in small)"),
    Refused("IP adapter with LoRA", lambda: keys("image_proj.proj.weight", "ip_adapter.0.to_q_lora.down.weight"), "", "is an IP adapter"),
    Refused("VAE", lambda: {k.removeprefix("first_stage_model."): v for k, v in true("sd1").items() if k.startswith("first_stage_model.")}, "", f"is a VAE, {CHOOSE}"),
    Refused("checkpoint", lambda: true("sdxl"), "", f"is a whole checkpoint (SDXL), {CHOOSE}"),
    Refused("Flux checkpoint", lambda: keys("double_blocks.0.img_attn.qkv.weight"), "", f"is a Flux model, {CHOOSE}"),
    Refused("CLIP", lambda: keys("text_model.encoder.layers.0.self_attn.q_proj.weight"), "", "is a text encoder"),
    Refused("UNet", lambda: keys("down_blocks.0.resnets.0.conv1.weight", "conv_in.weight"), "", "is a UNet"),
    Refused("nothing", dict, "", f"is empty, {CHOOSE}"),
    Refused("something unknown", lambda: keys("a", "b"), "", f"is a file of 2 tensors of a kind that is not known, e.g. a, {CHOOSE}"),
)  # fmt: skip


def kind_of(shapes: Shapes, metadata: dict[str, str] | None = None) -> LoraKind:
    return lora_kinds.identify_header(single_files.header(shapes, metadata=metadata), "x.safetensors")


@pytest.mark.parametrize("case", USED, ids=lambda case: case.name)
def test_every_trainers_lora_is_known_by_its_header(case: Case) -> None:
    kind = kind_of(case.make(), case.metadata)
    method, naming, family, software = case.expected
    assert (kind.method, kind.naming, kind.family.id if kind.family else "", kind.software) == (
        method,
        naming,
        family,
        software,
    )
    assert kind.usable and kind.sentence.startswith("x.safetensors is a") and kind.sentence.endswith(".")
    assert method in kind.sentence and (not software or software in kind.sentence)
    assert not re.search(r"\b(None|sd1|sd2|sdxl)\b", kind.sentence)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_what_cannot_be_used_is_named_in_one_sentence(case: Refused) -> None:
    kind = kind_of(case.make())
    assert kind.sentence.startswith(f"x.safetensors {case.said}")
    assert (kind.usable, kind.method) == (False, case.method)
    assert kind.sentence.endswith(".") and len(kind.sentence) < 250


def test_the_table_is_large() -> None:
    assert len(USED) >= 25 and len(REFUSED) >= 25


def test_the_two_kinds_of_dora_are_told_apart() -> None:
    found = {case.name: kind_of(case.make()).magnitudes for case in USED if "DoRA" in case.expected[0]}
    assert {name for name, value in found.items() if value == "inputs"} == {"DoRA, inputs (OneTrainer)"}
    assert "" not in found.values() and len(found) == 6


def test_the_sentence_of_a_lora_says_all() -> None:
    kind = kind_of(kohya("sdxl"), KOHYA_SAYS)
    assert kind.sentence == "x.safetensors is a LoRA for SDXL in kohya's names, made with kohya sd-scripts."


@pytest.mark.parametrize("metadata", [{"software": '{"name": 3}'}, {"software": "[[["}, {"software": "\x1b[2Jx" * 90}])
def test_odd_software_is_no_obstacle(metadata: dict[str, str]) -> None:
    software = kind_of(kohya("sd1"), metadata).software
    assert len(software) <= 120 and "\x1b" not in software


def save(path: Path, shapes: Shapes) -> Path:
    save_file({k: torch.zeros(v) for k, v in shapes.items()}, path)
    return path


def test_a_lora_for_another_family_or_without_dora_is_refused_before_training(tmp_path: Path) -> None:
    plain = save(tmp_path / "x.safetensors", dotted(SD_ATTENTION, PEFT, width=768))
    assert lora_kinds.require_lora(plain, FAMILIES["sd1"], dora=True).usable
    sentence = (
        r"x\.safetensors was made for SD 1\.x, and the base model is SDXL\. Choose a LoRA made for SDXL, or the base"
    )
    with pytest.raises(ModelError, match=sentence):
        lora_kinds.require_lora(plain, FAMILIES["sdxl"])
    dora = save(tmp_path / "d.safetensors", dotted(SD_ATTENTION, (*PEFT, ".lora_magnitude_vector")))
    with pytest.raises(ModelError, match=r"d\.safetensors was trained with DoRA, which is off\. Switch DoRA on"):
        lora_kinds.require_lora(dora, FAMILIES["sdxl"], dora=False)
    inputs = save(tmp_path / "i.safetensors", stems(*KOHYA) | stems(".dora_scale") | {"lora_unet_mid_block_attentions_0_proj_in.dora_scale": (1, 16)})  # fmt: skip
    with pytest.raises(ModelError, match=r"i\.safetensors is a DoRA with a magnitude for each input, as OneTrainer"):
        lora_kinds.require_lora(inputs, dora=True)
    with pytest.raises(
        ModelError, match=r"b\.safetensors is a textual-inversion embedding, not a LoRA\. Choose a LoRA"
    ):
        lora_kinds.require_lora(save(tmp_path / "b.safetensors", {"emb_params": (4, 768)}))
