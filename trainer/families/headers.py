"""What a model file is, told from its header alone: family, prediction, parts, or which other thing. Imports no torch."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import trainer.families.original as original
from trainer.errors import ModelError
from trainer.families.kinds import LORA_FORMATS, OTHER_ARCHITECTURES, OTHER_THINGS
from trainer.families.torch_file import is_torch_file, read_torch_header
from trainer.lora_file import Header, read_header, shown

if TYPE_CHECKING:
    from pathlib import Path

Kind = Literal[
    "base", "lora", "vae", "text encoder", "embedding", "controlnet", "unet", "inpainting", "editing", "refiner", "other", "unknown"
]  # fmt: skip

_EPSILON, _V = "epsilon", "v_prediction"
_PRECISIONS = {"F32": "fp32", "F16": "fp16", "BF16": "bf16", "F64": "fp64", "F8_E4M3": "fp8", "F8_E5M2": "fp8"}
_TITLES = {"sd1": "SD 1.x", "sd2": "SD 2.x", "sdxl": "SDXL"}
_DESCENDANTS = (
    ("pony", "Pony"),
    ("noob", "NoobAI"),
    ("illustrious|ilxl|wai.?(nsfw|illu)", "Illustrious"),
    ("animagine", "Animagine"),
)
_BLOCKS = {"sd1": 12, "sd2": 12, "sdxl": 9}  # input blocks of the UNet


@dataclass(frozen=True)
class Identity:
    """What a file is. kind "base" can be trained; for every other kind, sentence says what the file is and what to do.

    family: id in the family table, also of inpainting models and the like; empty if unknown. title: for people, e.g.
    "SDXL (Pony)". prediction: "epsilon", "v_prediction", or "" when the file does not tell (SD 2.x). dtype: of most of
    the weights, e.g. "fp16". sentence: a summary of a base model, or why the file cannot be trained.
    """

    kind: Kind
    family: str
    title: str
    prediction: str
    zero_snr: bool
    has_ema: bool
    has_vae: bool
    has_text_encoders: bool
    dtype: str
    size_bytes: int
    sentence: str


def read(path: Path) -> Header:
    """The header of a .safetensors, .ckpt or .pt file, told apart by content.

    Raises:
        ModelError: it is missing, damaged, in another format, or would run code.
    """
    return read_torch_header(path) if is_torch_file(path) else read_header(path)


def identify(path: Path) -> Identity:
    """What the file is; no weight is read.

    Raises:
        ModelError: it is missing, damaged, in another format, or would run code.
    """
    header = read(path)
    return identify_header(header, path.name, path.stat().st_size)


def identify_header(header: Header, name: str, size_bytes: int) -> Identity:
    """What a file of that name with that header is."""
    names = header.shapes.keys()
    kind, family, title, sentence = _kind(header, name)
    zero_snr = "ztsnr" in names
    identity = Identity(
        kind, family, title, _prediction(header, family), zero_snr,
        sum(n.startswith(original.EMA_PREFIX) for n in names) > 100, original.place("vae", names) is not None,
        bool(family) and all(original.place(part, names) for part in _text_parts(family)), _precision(header), size_bytes, sentence,
    )  # fmt: skip
    if kind != "base":
        return identity
    return Identity(**{**vars(identity), "sentence": _summary(identity)})


def _kind(header: Header, name: str) -> tuple[Kind, str, str, str]:
    """Kind, family, title, and the sentence for what cannot be trained."""
    names = header.shapes.keys()
    if not names:
        return "unknown", "", "Nothing", f"{name} holds no tensors. Copy or download it again."
    if original.UNET_PREFIX + "input_blocks.0.0.weight" in names and not any(
        n.startswith("control_model.") for n in names
    ):
        return _checkpoint(header, name)
    if found := next((title for title, pattern in LORA_FORMATS if any(pattern.search(n) for n in names)), ""):
        return "lora", "", found, (
            f"{name} is {_a(found)}, not a base model. Choose the model it was made for; to train a LoRA further use start_from."
        )  # fmt: skip
    if any(n.startswith("lora_") and n.endswith((".diff", ".diff_b", ".alpha")) for n in names):
        return "lora", "", "LoRA", f"{name} is a LoRA, not a base model. Choose the model it was made for."
    for title, pattern in OTHER_ARCHITECTURES:
        if any(pattern.search(n) for n in names):
            return "other", "", title, (
                f"{name} is {_a(title)} model, which is not supported yet; use one of {', '.join(_TITLES.values())}."
            )  # fmt: skip
    for kind, title, pattern in OTHER_THINGS:
        if any(pattern.search(n) for n in names):
            return kind, "", title, f"{name} is {title}, not a base model. Choose the checkpoint itself."
    return _part(header, name)


def _checkpoint(header: Header, name: str) -> tuple[Kind, str, str, str]:
    """Of a file with a UNet in the original layout."""
    shapes, unet = header.shapes, original.UNET_PREFIX
    family = _family(header)
    title = _titled(header, family, name)
    choose = "Choose the text-to-image model it was made from."
    channels = (shapes[unet + "input_blocks.0.0.weight"] + (0, 0))[1]
    if "conditioner.embedders.0.model.positional_embedding" in shapes:
        return (
            "refiner",
            family,
            "SDXL refiner",
            f"{name} is the SDXL refiner, which only finishes pictures of the base model. Choose the SDXL base model.",
        )
    if channels == 9:
        return "inpainting", family, f"{title} inpainting", f"{name} is an inpainting model ({title}). {choose}"
    if channels == 8:
        return (
            "editing",
            family,
            f"{title} editing",
            f"{name} is a picture-editing model of the instruct-pix2pix kind ({title}). {choose}",
        )
    if channels != 4:
        what = {5: "a depth-to-image model", 7: "an upscaler"}.get(channels, f"a model with {channels} input channels")
        return "other", family, what, f"{name} is {what} ({title}). {choose}"
    return _text_to_image(header, name, family, title)


def _text_to_image(header: Header, name: str, family: str, title: str) -> tuple[Kind, str, str, str]:
    """Of a file with a four-channel UNet: a base model, or one of the kinds that only look like it."""
    shapes, unet = header.shapes, original.UNET_PREFIX
    if unet + "label_emb.0.0.weight" in shapes and any(n.startswith("cond_stage_model.") for n in shapes):
        return (
            "other",
            "sd2",
            "SD 2.x unCLIP",
            f"{name} is an SD 2.x unCLIP model, which is told pictures rather than words. Choose the text-to-image model it was made from.",
        )
    if any(".time_stack." in n for n in shapes):
        return (
            "other",
            "",
            "Stable Video Diffusion",
            f"{name} is a video model (Stable Video Diffusion), which is not supported.",
        )
    if any(n.startswith(("edm_mean", "edm_vpred", "edm_")) for n in shapes):
        return (
            "other",
            family,
            f"{title} (EDM)",
            f"{name} is made with EDM noise (CosXL, Playground 2.5), which is not supported. Choose a usual {title} model.",
        )
    if any(
        re.search(r"\.(quant_state|absmax|quant_map|scale_weight|weight_scale)(\.|$)|\.scaled_fp8$|^scaled_fp8$", n)
        for n in shapes
    ):
        return (
            "other",
            family,
            f"{title}, quantized",
            f"{name} is a quantized {title} model, of which too little is left to train on. Choose the fp16 or bf16 file.",
        )
    blocks = {n[len(unet) :].split(".")[1] for n in shapes if n.startswith(unet + "input_blocks.")}
    if len(blocks) != _BLOCKS[family] or not any(n.startswith(unet + "middle_block.1.") for n in shapes):
        return (
            "other",
            family,
            f"{title}, distilled",
            f"{name} is {_a(title)} model with fewer layers than usual (distilled), which is not supported. Choose a usual {title} model.",
        )
    missing = [part for part in _text_parts(family) if original.place(part, shapes) is None]
    if missing:
        what = "text encoder" if len(_text_parts(family)) == 1 else "text encoders"
        return (
            "unet",
            family,
            f"{title} UNet",
            f"{name} holds the UNet of {_a(title)} model without its {what}. Choose the whole checkpoint.",
        )
    return "base", family, title, ""


def _part(header: Header, name: str) -> tuple[Kind, str, str, str]:
    """Of a file that is no checkpoint: a part of one, or something unknown."""
    names = header.shapes.keys()
    folder = "Choose the folder that holds all parts (unet, vae, text_encoder), or the model as one file."
    if original.place("vae", names) is not None:
        channels = latent_channels(header)
        title = "a VAE" if channels == 4 else f"a VAE with {channels} channels (of SD 3, Flux or another later model)"
        return (
            "vae",
            "",
            title,
            f"{name} is {title}, not a base model. Choose the model; the file can be given under VAE."
            if channels == 4
            else f"{name} is {title}. It fits none of the models that can be trained.",
        )
    if "input_blocks.0.0.weight" in names:
        return "unet", "", "UNet", f"{name} holds a UNet without the text encoders. Choose the whole checkpoint."
    if "down_blocks.0.resnets.0.conv1.weight" in names and "conv_in.weight" in names:
        return "unet", "", "UNet", f"{name} is the UNet of a diffusers folder. {folder}"
    if any(re.match(r"(text_model\.|transformer\.)?(embeddings\.token_embedding|token_embedding|text_model\.embeddings|encoder\.layers\.0\.self_attn|transformer\.resblocks|encoder\.block\.0\.layer\.0|model\.layers\.0\.self_attn)", n) for n in names):  # fmt: skip
        return "text encoder", "", "text encoder", f"{name} is a text encoder. {folder}"
    if len(names) <= 4 and all(len(s) in (1, 2) and s[-1] in (768, 1024, 1280, 2048) for s in header.shapes.values()):
        return (
            "embedding",
            "",
            "textual inversion",
            f"{name} is a textual-inversion embedding, not a base model. Choose a base model.",
        )
    first = next(iter(names))
    return "unknown", "", "Unknown", (
        f"{name} holds {len(names):,} tensor{'s' * (len(names) > 1)} of a kind that is not known, e.g. {shown(first)}. Use a model of {', '.join(_TITLES.values())}."
    )  # fmt: skip


def latent_channels(header: Header) -> int:
    """Channels of the latents of a file's autoencoder; 0 without one."""
    at = original.place("vae", header.shapes)
    shape = header.shapes.get(at.prefix + "decoder.conv_in.weight", ()) if at else ()
    return shape[1] if len(shape) == 4 else 0


def _family(header: Header) -> str:
    """By structure rather than by width: label embedding, two encoders, and whether projections are matrices."""
    shapes, unet = header.shapes, original.UNET_PREFIX
    if any(n.startswith("conditioner.embedders.") for n in shapes):
        return "sdxl"
    if any(n.startswith("cond_stage_model.model.") for n in shapes):
        return "sd2"
    if unet + "label_emb.0.0.weight" in shapes and not any(n.startswith("cond_stage_model.") for n in shapes):
        return "sdxl"
    projection = shapes.get(unet + "input_blocks.1.1.proj_in.weight", (0, 0, 0, 0))
    return "sd2" if len(projection) == 2 else "sd1"


def _text_parts(family: str) -> tuple[str, ...]:
    return ("text_encoder", "text_encoder_2") if family == "sdxl" else ("text_encoder",)


def _prediction(header: Header, family: str) -> str:
    """From marker keys, as NoobAI and others set them, then from ModelSpec; an SD 2.x file without either does not tell."""
    said = header.metadata.get("modelspec.prediction_type", "").lower()
    architecture = header.metadata.get("modelspec.architecture", "").lower()
    if "v_pred" in header.shapes or said in ("v", "v_prediction", "vpred") or "768-v" in architecture:
        return _V
    if said in ("epsilon", "eps") or "v2-512" in architecture or family in ("sd1", "sdxl"):
        return _EPSILON
    return ""


def _precision(header: Header) -> str:
    weight: Counter[str] = Counter()
    for name, shape in header.shapes.items():
        elements = 1
        for length in shape:
            elements *= length
        weight[header.dtypes[name]] += elements
    kinds = [k for k, _ in weight.most_common() if k in _PRECISIONS]
    return _PRECISIONS[kinds[0]] if kinds else ""


def _titled(header: Header, family: str, name: str) -> str:
    """The family, with the descendant that name or metadata hint at."""
    said = f"{name} {header.metadata.get('modelspec.title', '')}".lower()
    hint = next((title for pattern, title in _DESCENDANTS if family == "sdxl" and re.search(pattern, said)), "")
    return f"{_TITLES[family]} ({hint})" if hint else _TITLES[family]


def _summary(i: Identity) -> str:
    """e.g. "SDXL (NoobAI), v-prediction with zero terminal SNR, fp16, 6.9 GB, no VAE"."""
    told = {_V: "v-prediction", _EPSILON: "epsilon"}.get(i.prediction, "")
    facts = [i.title, told + (" with zero terminal SNR" if i.zero_snr else ""), i.dtype, f"{i.size_bytes / 1e9:.1f} GB"]
    facts += ["with EMA weights, which are left aside"] if i.has_ema else []
    facts += [] if i.has_vae else ["without VAE"]
    return ", ".join(fact for fact in facts if fact)


def _a(title: str) -> str:
    """With its article, as it is spoken: an SDXL, an OFT, a LoRA."""
    return f"an {title}" if title.startswith(("SD", "LTX", "OFT", "A", "E", "I", "O")) else f"a {title}"


def require_base(path: Path) -> Identity:
    """What a base model's file is.

    Raises:
        ModelError: it is something else; the sentence names it.
    """
    identity = identify(path)
    if identity.kind != "base":
        raise ModelError(identity.sentence)
    return identity
