"""A zoo of header variants with the key lists of real architectures at true size: each is told from its header alone."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import safetensors.torch
import torch

from tests import single_files
from trainer.errors import ModelError
from trainer.families.headers import Identity, identify, identify_header, require_base

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Shapes = dict[str, tuple[int, ...]]
UNET = "model.diffusion_model."


def true(family: str) -> Shapes:
    """A published checkpoint's names and shapes."""
    return {k: tuple(v.shape) for k, v in single_files.true_size(family).items()}


def without(shapes: Shapes, *prefixes: str) -> Shapes:
    return {k: v for k, v in shapes.items() if not k.startswith(prefixes)}


def channels(shapes: Shapes, count: int) -> Shapes:
    return shapes | {UNET + "input_blocks.0.0.weight": (320, count, 3, 3)}


def with_ema(shapes: Shapes) -> Shapes:
    return shapes | {
        "model_ema." + k.removeprefix("model.").replace(".", ""): v for k, v in shapes.items() if k.startswith(UNET)
    }


def part(family: str, prefix: str, new: str = "") -> Shapes:
    return {new + k.removeprefix(prefix): v for k, v in true(family).items() if k.startswith(prefix)}


def diffusers_part(family: str, name: str) -> Shapes:
    return next(
        {k: tuple(v.shape) for k, v in m.state_dict().items()}
        for p, _, m in single_files.parts_on_meta(family)
        if p == name
    )


def refiner() -> Shapes:
    """The refiner: 384 channels, OpenCLIP-G as its only encoder."""
    shapes = without(true("sdxl"), "conditioner.embedders.0.")
    return {k.replace("embedders.1.", "embedders.0."): v for k, v in shapes.items()} | {
        UNET + "input_blocks.0.0.weight": (384, 4, 3, 3)
    }


def distilled(family: str) -> Shapes:
    """As SSD-1B and BK-SDM: whole blocks are left out."""
    cut = UNET + ("middle_block.1." if family == "sdxl" else "input_blocks.11.")
    return without(true(family), cut)


def lora(ends: tuple[str, ...], stem: str = "lora_unet_down_blocks_0_attentions_0_proj_in") -> Shapes:
    return {f"{stem}{end}": (4, 320) for end in ends}


def keys(*names: str, shape: tuple[int, ...] = (16, 16)) -> Shapes:
    return dict.fromkeys(names, shape)


@dataclass(frozen=True)
class Case:
    """A header and what must be told of it. expected: fields of the identity."""

    name: str
    make: Callable[[], Shapes]
    expected: dict[str, Any]
    said: str = ""
    dtype: str = "F16"
    metadata: dict[str, str] = field(default_factory=dict)
    file: str = "model.safetensors"


def base(family: str, **more: Any) -> dict[str, Any]:
    return {
        "kind": "base",
        "family": family,
        "has_vae": True,
        "has_text_encoders": True,
        "has_ema": False,
        "zero_snr": False,
    } | more


MARKS = {"v_pred": (0,), "ztsnr": (0,)}
ZOO = (
    Case("SD 1.5", lambda: true("sd1"), base("sd1", prediction="epsilon", dtype="fp16", title="SD 1.x"), "SD 1.x, epsilon, fp16, 2.1 GB"),
    Case("SD 1.5, fp32", lambda: true("sd1"), base("sd1", dtype="fp32"), "4.3 GB", dtype="F32"),
    Case("SD 1.5, bf16", lambda: true("sd1"), base("sd1", dtype="bf16"), dtype="BF16"),
    Case("SD 1.5 with EMA", lambda: with_ema(true("sd1")), base("sd1", has_ema=True), "with EMA weights, which are left aside"),
    Case("SD 1.5 without VAE", lambda: without(true("sd1"), "first_stage_model."), base("sd1", has_vae=False), "without VAE"),
    Case("SD 1.5, old encoder names", lambda: {k.replace("transformer.text_model.", "transformer."): v for k, v in true("sd1").items()}, base("sd1")),
    Case("SD 1.5, v-prediction by metadata", lambda: true("sd1"), base("sd1", prediction="v_prediction"), "v-prediction", metadata={"modelspec.prediction_type": "v"}),
    Case("SD 1.5 with what training leaves", lambda: true("sd1") | keys("betas", "alphas_cumprod", "model_ema.decay", shape=(1000,)), base("sd1")),
    Case("SD 2.1 base", lambda: true("sd2"), base("sd2", prediction="", title="SD 2.x"), "SD 2.x, fp16"),
    Case("SD 2.1 768-v by ModelSpec", lambda: true("sd2"), base("sd2", prediction="v_prediction"), metadata={"modelspec.architecture": "stable-diffusion-v2-768-v"}),
    Case("SD 2.1 base by ModelSpec", lambda: true("sd2"), base("sd2", prediction="epsilon"), metadata={"modelspec.architecture": "stable-diffusion-v2-512"}),
    Case("SD 2.1 768-v by marker", lambda: true("sd2") | MARKS, base("sd2", prediction="v_prediction", zero_snr=True)),
    Case("SDXL", lambda: true("sdxl"), base("sdxl", prediction="epsilon", title="SDXL"), "SDXL, epsilon, fp16, 6.9 GB"),
    Case("SDXL without VAE", lambda: without(true("sdxl"), "first_stage_model."), base("sdxl", has_vae=False), "without VAE"),
    Case("SDXL, v-prediction", lambda: true("sdxl") | {"v_pred": ()}, base("sdxl", prediction="v_prediction")),
    Case("NoobAI v-pred", lambda: true("sdxl") | MARKS, base("sdxl", prediction="v_prediction", zero_snr=True, title="SDXL (NoobAI)"), "SDXL (NoobAI), v-prediction with zero terminal SNR", file="noobaiXLNAIXL_vPred10.safetensors"),
    Case("Pony", lambda: true("sdxl"), base("sdxl", title="SDXL (Pony)"), file="ponyDiffusionV6XL.safetensors"),
    Case("Illustrious by title", lambda: true("sdxl"), base("sdxl", title="SDXL (Illustrious)"), metadata={"modelspec.title": "Illustrious-XL v2.0"}),
    Case("SDXL with fp8 weights", lambda: true("sdxl"), base("sdxl", dtype="fp8"), dtype="F8_E4M3"),
    Case("SDXL refiner", refiner, {"kind": "refiner"}, "is the SDXL refiner"),
    Case("SD 1.5 inpainting", lambda: channels(true("sd1"), 9), {"kind": "inpainting", "family": "sd1"}, "is an inpainting model (SD 1.x). Choose the text-to-image model"),
    Case("SD 2 inpainting", lambda: channels(true("sd2"), 9), {"kind": "inpainting", "family": "sd2"}, "inpainting"),
    Case("SDXL inpainting", lambda: channels(true("sdxl"), 9), {"kind": "inpainting", "family": "sdxl"}, "inpainting"),
    Case("instruct-pix2pix", lambda: channels(true("sd1"), 8), {"kind": "editing"}, "picture-editing model of the instruct-pix2pix kind"),
    Case("SDXL instruct-pix2pix", lambda: channels(true("sdxl"), 8), {"kind": "editing"}, "picture-editing"),
    Case("SD 2 depth", lambda: channels(true("sd2"), 5), {"kind": "other"}, "a depth-to-image model"),
    Case("upscaler", lambda: channels(true("sd2"), 7), {"kind": "other"}, "an upscaler"),
    Case("SD 2.1 unCLIP", lambda: true("sd2") | {UNET + "label_emb.0.0.weight": (1280, 2048)}, {"kind": "other"}, "unCLIP"),
    Case("CosXL", lambda: true("sdxl") | {"edm_vpred.sigma_max": ()}, {"kind": "other"}, "EDM noise"),
    Case("Stable Video Diffusion", lambda: true("sd2") | {UNET + "input_blocks.1.1.time_stack.0.norm1.weight": (320,)}, {"kind": "other"}, "video model"),
    Case("SSD-1B", lambda: distilled("sdxl"), {"kind": "other"}, "fewer layers than usual (distilled)"),
    Case("BK-SDM", lambda: distilled("sd1"), {"kind": "other"}, "fewer layers than usual (distilled)"),
    Case("NF4", lambda: true("sdxl") | {UNET + "input_blocks.4.1.proj_in.weight.absmax": (640,)}, {"kind": "other"}, "is a quantized SDXL model"),
    Case("UNet without encoders", lambda: part("sdxl", UNET, UNET), {"kind": "unet", "family": "sdxl"}, "without its text encoders"),
    Case("bare UNet", lambda: part("sd1", UNET), {"kind": "unet"}, "without the text encoders"),
    Case("UNet of a diffusers folder", lambda: diffusers_part("sdxl", "unet"), {"kind": "unet"}, "UNet of a diffusers folder"),
    Case("VAE", lambda: part("sd1", "first_stage_model."), {"kind": "vae", "has_vae": True}, "is a VAE, not a base model. Choose the model; the file can be given under VAE"),
    Case("VAE of a diffusers folder", lambda: diffusers_part("sdxl", "vae"), {"kind": "vae"}, "is a VAE"),
    Case("VAE of Flux", lambda: part("sd1", "first_stage_model.") | {"decoder.conv_in.weight": (512, 16, 3, 3)}, {"kind": "vae"}, "a VAE with 16 channels"),
    Case("CLIP-L", lambda: part("sd1", "cond_stage_model.transformer."), {"kind": "text encoder"}, "is a text encoder"),
    Case("OpenCLIP", lambda: part("sd2", "cond_stage_model.model."), {"kind": "text encoder"}, "is a text encoder"),
    Case("T5", lambda: keys("encoder.block.0.layer.0.SelfAttention.q.weight", "shared.weight"), {"kind": "text encoder"}, "is a text encoder"),
    Case("LoRA of kohya", lambda: lora((".lora_down.weight", ".lora_up.weight", ".alpha")), {"kind": "lora", "title": "LoRA"}, "is a LoRA, not a base model"),
    Case("LoRA of diffusers", lambda: lora((".lora_A.weight", ".lora_B.weight"), "unet.down_blocks.0.attentions.0.proj_in"), {"kind": "lora"}, "is a LoRA"),
    Case("LoRA of PEFT", lambda: lora((".lora_A.weight",), "base_model.model.down_blocks.0.proj_in"), {"kind": "lora"}, "is a LoRA"),
    Case("LoRA, old diffusers", lambda: lora((".to_q_lora.down.weight",), "unet.down_blocks.0.attentions.0.processor"), {"kind": "lora"}, "is a LoRA"),
    Case("LoHa", lambda: lora((".hada_w1_a", ".hada_w1_b", ".hada_w2_a", ".alpha")), {"kind": "lora", "title": "LoHa"}, "is a LoHa"),
    Case("LoKr", lambda: lora((".lokr_w1", ".lokr_w2_a", ".alpha")), {"kind": "lora", "title": "LoKr"}, "is a LoKr"),
    Case("OFT", lambda: lora((".oft_blocks", ".alpha")), {"kind": "lora", "title": "OFT"}, "is an OFT"),
    Case("full difference", lambda: lora((".diff", ".diff_b")), {"kind": "lora"}, "is a LoRA"),
    Case("embedding of SDXL", lambda: {"clip_l": (4, 768), "clip_g": (4, 1280)}, {"kind": "embedding"}, "textual-inversion embedding"),
    Case("embedding of A1111", lambda: {"string_to_param.*": (2, 768)}, {"kind": "embedding"}, "textual-inversion"),
    Case("embedding of SD 1", lambda: {"<zorblin>": (1, 768)}, {"kind": "embedding"}, "textual-inversion"),
    Case("ControlNet", lambda: keys("control_model.time_embed.0.weight", "control_model.input_blocks.0.0.weight"), {"kind": "controlnet"}, "is a ControlNet"),
    Case("ControlNet with its model", lambda: true("sd1") | keys("control_model.time_embed.0.weight"), {"kind": "controlnet"}, "is a ControlNet"),
    Case("ControlNet of diffusers", lambda: keys("controlnet_cond_embedding.conv_in.weight", "conv_in.weight"), {"kind": "controlnet"}, "is a ControlNet"),
    Case("ControlNet-LLLite", lambda: keys("lllite_unet_input_blocks_4_1.down.0.weight"), {"kind": "controlnet"}, "is a ControlNet"),
    Case("IP adapter", lambda: keys("image_proj.proj.weight", "ip_adapter.1.to_k_ip.weight"), {"kind": "controlnet"}, "is an IP adapter"),
    Case("AnimateDiff", lambda: keys("down_blocks.0.motion_modules.0.temporal_transformer.norm.weight"), {"kind": "other"}, "motion module"),
    Case("ESRGAN", lambda: keys("model.0.weight", "model.1.sub.0.RDB1.conv1.0.weight"), {"kind": "other"}, "an upscaler (ESRGAN)"),
    Case("Flux", lambda: keys("double_blocks.0.img_attn.qkv.weight", "img_in.weight"), {"kind": "other", "title": "Flux"}, "is a Flux model, which is not supported yet; use one of SD 1.x, SD 2.x, SDXL"),
    Case("Flux checkpoint", lambda: keys(UNET + "double_blocks.0.img_attn.qkv.weight") | part("sd1", "first_stage_model.", "vae."), {"kind": "other", "title": "Flux"}),
    Case("Flux of diffusers", lambda: keys("transformer_blocks.0.attn.add_k_proj.weight", "single_transformer_blocks.0.attn.to_k.weight"), {"title": "Flux"}),
    Case("Flux 2", lambda: keys("double_blocks.0.img_attn.qkv.weight", "single_stream_modulation.lin.weight"), {"title": "Flux 2"}),
    Case("Chroma", lambda: keys("double_blocks.0.img_attn.qkv.weight", "distilled_guidance_layer.in_proj.bias"), {"title": "Chroma"}),
    Case("SD 3.5", lambda: keys(UNET + "joint_blocks.0.context_block.adaLN_modulation.1.bias"), {"kind": "other", "title": "SD 3"}, "is an SD 3 model, which is not supported yet"),
    Case("SD 3 of diffusers", lambda: keys("transformer_blocks.0.attn.add_k_proj.weight"), {"title": "SD 3"}),
    Case("Stable Cascade", lambda: keys("clip_txt_mapper.weight", "down_blocks.0.0.channelwise.0.weight"), {"title": "Stable Cascade"}),
    Case("PixArt", lambda: keys("adaln_single.linear.weight", "transformer_blocks.0.attn1.to_q.weight"), {"title": "PixArt"}),
    Case("Wan", lambda: keys("head.modulation", "blocks.0.self_attn.q.weight"), {"title": "Wan"}),
    Case("Qwen-Image", lambda: keys("txt_norm.weight", "transformer_blocks.0.attn.add_k_proj.weight"), {"title": "Qwen-Image"}),
    Case("nothing", dict, {"kind": "unknown"}, "holds no tensors"),
    Case("something unknown", lambda: keys("layer.weight", "layer.bias"), {"kind": "unknown"}, "holds 2 tensors of a kind that is not known, e.g. layer.weight"),
)  # fmt: skip


def told(case: Case) -> Identity:
    header = single_files.header(case.make(), case.dtype, case.metadata)
    size = max([stop for _, stop in header.spans.values()], default=0)
    return identify_header(header, case.file, size)


@pytest.mark.parametrize("case", ZOO, ids=lambda case: case.name)
def test_what_a_file_is_stands_in_its_header(case: Case) -> None:
    identity = told(case)
    assert {name: getattr(identity, name) for name in case.expected} == case.expected
    assert case.said in identity.sentence
    assert identity.kind == "base" or (
        identity.sentence.startswith(case.file) and identity.sentence.endswith((".", "SDXL."))
    )
    assert not re.search(r"\b(None|sd1|sd2|sdxl|v_prediction)\b", identity.sentence)


def test_the_zoo_is_large_and_has_every_kind() -> None:
    assert len(ZOO) >= 60
    kinds = {case.expected.get("kind") for case in ZOO} - {None}
    assert kinds == set(Identity.__dataclass_fields__ and {"base", "lora", "vae", "text encoder", "embedding", "controlnet", "unet", "inpainting", "editing", "refiner", "other", "unknown"})  # fmt: skip


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_header_is_told_in_milliseconds(family: str) -> None:
    """Generous here, as other work may run beside the tests; tests/benchmarks/single_file.py measures."""
    header = single_files.header(true(family))
    begin = time.perf_counter()
    identify_header(header, "m.safetensors", 1)
    assert time.perf_counter() - begin < 0.5


def test_a_file_is_told_from_disk(tmp_path: Path) -> None:
    path = tmp_path / "style.safetensors"
    safetensors.torch.save_file({"lora_te_a.lora_up.weight": torch.zeros(2, 1)}, path)
    assert (identify(path).kind, identify(path).size_bytes) == ("lora", path.stat().st_size)
    with pytest.raises(ModelError, match=r"style\.safetensors is a LoRA"):
        require_base(path)
