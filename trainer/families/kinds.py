"""Key names by which files that are no base model are told: LoRA formats, later architectures, add-ons. Imports no torch."""

from __future__ import annotations

import re
from typing import Literal

OtherKind = Literal["embedding", "controlnet", "other"]

# The format's name, and what one of its tensors is called.
LORA_FORMATS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (title, re.compile(pattern))
    for title, pattern in (
        ("LoHa", r"\.hada_w[12]_[ab]$"),
        ("LoKr", r"\.lokr_w[12](_[ab])?$"),
        ("OFT", r"\.oft_(blocks|diag)$|\.oft_r\b|\.boft_|\.oft_R\."),
        ("GLoRA", r"^lora_.*\.[ab][12]\.weight$"),
        ("IA3", r"^lora_.*\.on_input$|\.ia3_l(\.|$)"),
        ("VeRA", r"\bvera_lambda_[bd]\b"),
        ("AdaLoRA", r"\.lora_E(\.|$)"),
        ("LoRA", r"\.lora_(down|up)\.weight$|[._]lora_[AB]\.|\.lora\.(down|up)\.weight$|_lora\.(down|up)\.weight$|lora_linear_layer|\.lora_[AB]$"),
    )
)  # fmt: skip

# What the layers of LoRAs for other architectures are called, most specific first.
LORA_FAMILIES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (title, re.compile(pattern))
    for title, pattern in (
        ("AnimateDiff", r"motion_modules[._]"),
        ("Stable Cascade", r"^lora_prior_(unet|te)_"),
        ("Chroma", r"distilled_guidance_layer"),
        ("HunyuanVideo", r"individual_token_refiner|(double|single)_blocks\.\d+\.(img|txt)_attn_(qkv|proj)"),
        ("HiDream", r"double_stream_blocks[._]"),
        ("Qwen-Image", r"transformer_blocks[._]\d+[._](img|txt)_(mod|mlp)[._]"),
        ("AuraFlow", r"joint_transformer_blocks[._]"),
        ("Flux", r"(^|[._])(double|single)_blocks[._]\d|single_transformer_blocks[._]\d"),
        ("SD 3", r"joint_blocks[._]|transformer_blocks[._]\d+[._]attn[._]add_[kqv]_proj|^lora_te3_"),
        ("Wan", r"(^|[._])blocks[._]\d+[._](self_attn|cross_attn|ffn)[._]|^transformer\.blocks\.\d+\.attn[12]\."),
        ("Lumina or Z-Image", r"(^|[._])layers[._]\d+[._](attention[._]|feed_forward[._]w[123]|adaLN_modulation)"),
        ("PixArt, Sana or LTX-Video", r"adaln_single|^(base_model\.model\.)?(transformer|diffusion_model)\.transformer_blocks\.|^lora_transformer_"),
    )
)  # fmt: skip

_ROOT = r"^(model\.diffusion_model\.|transformer\.|net\.)?"
# Later or other architectures, most specific first.
OTHER_ARCHITECTURES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (title, re.compile(pattern))
    for title, pattern in (
        ("Flux 2", _ROOT + r"(double_stream_modulation_img|single_stream_modulation)\."),
        ("Chroma", _ROOT + r"distilled_guidance_layer\."),
        ("HunyuanVideo", _ROOT + r"txt_in\.individual_token_refiner\."),
        ("Flux", _ROOT + r"(double_blocks\.0\.img_attn|single_transformer_blocks\.0\.)"),
        ("SD 3", _ROOT + r"joint_blocks\.0\."),
        ("HiDream", _ROOT + r"double_stream_blocks\.0\.block\."),
        ("Qwen-Image", _ROOT + r"(txt_norm\.weight|txt_in\.text_norm\.weight)$"),
        ("SD 3", _ROOT + r"transformer_blocks\.0\.(attn\.add_k_proj|norm1_context)\."),
        ("Z-Image", _ROOT + r"layers\.0\.adaLN_modulation\.0\.weight$"),
        ("Lumina", _ROOT + r"cap_embedder\."),
        ("PixArt", _ROOT + r"(t_block\.1\.|adaln_single\.linear\.)"),
        ("AuraFlow", _ROOT + r"double_layers\.0\.attn\.w[12]q\."),
        ("Stable Cascade", _ROOT + r"(clip_txt_mapper\.|clip_txt_pooled_mapper\.|down_blocks\.\d+\.\d+\.(kv_mapper|channelwise)\.)"),
        ("Wan", _ROOT + r"head\.modulation$"),
        ("Sana", _ROOT + r"blocks\.0\.cross_attn\.q_linear\."),
        ("LTX-Video", _ROOT + r"patchify_proj\."),
        ("Cosmos", r"^net\.x_embedder\.proj\."),
        ("HunyuanDiT", _ROOT + r"blocks\.0\.default_modulation\."),
        ("Kandinsky", r"^(down_blocks\.0\.attentions\.0\.add_k_proj|add_embedding\.image_norm)\."),
        ("Kolors", r"^(model\.diffusion_model\.)?encoder_hid_proj\."),
    )
)  # fmt: skip

# Add-ons and the like: kind, "it is ...", and what one of its tensors is called.
_THINGS: tuple[tuple[OtherKind, str, str], ...] = (
    ("controlnet", "a ControlNet", r"^(control_model\.|controlnet_cond_embedding\.|input_hint_block\.|lllite_|controlnet_down_blocks\.)|^(down|middle|up)_.*\.lllite_"),
    ("controlnet", "a Control-LoRA (a ControlNet in small)", r"^lora_controlnet$"),
    ("controlnet", "a T2I adapter", r"^(adapter\.)?body\.0\.(resnets\.0\.)?(block1|block2|in_conv)\."),
    ("controlnet", "an IP adapter", r"^(ip_adapter|image_proj)\."),
    ("other", "an AnimateDiff motion module", r"motion_modules\."),
    ("embedding", "a textual-inversion embedding", r"^(string_to_param\.|emb_params$|clip_[lg]$)"),
    ("other", "a hypernetwork", r"^(320|640|768|1024|1280)\.[01]\.linear\."),
    ("other", "an upscaler (ESRGAN)", r"^(params_ema\.|params\.)?(model\.1\.sub\.0\.RDB1|body\.0\.rdb1|RRDB_trunk\.|layers\.0\.residual_group)"),
    ("other", "a picture encoder (CLIP vision)", r"^(vision_model\.|visual\.)"),
    ("other", "a safety checker", r"^concept_embeds$"),
)  # fmt: skip
OTHER_THINGS: tuple[tuple[OtherKind, str, re.Pattern[str]], ...] = tuple(
    (kind, title, re.compile(pattern)) for kind, title, pattern in _THINGS
)
