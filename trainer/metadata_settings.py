"""A LoRA file's metadata back as settings, as far as they map; ours and kohya's. Imports no torch.

Files differ in what they say, so each value is taken only when it is there and can be used.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from trainer import hub, settings_file
from trainer.lora_file import table
from trainer.settings import DEMO, TrainingSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_SCHEDULES = {"cosine_with_restarts": "cosine_restarts"}
_LOSSES = {"l2": "mse", "huber": "huber"}


def settings_from_metadata(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Settings as plain TOML types, only those that the file says and that can be used; folders are never among them."""
    said = {key: value for key, value in metadata.items() if value not in ("", "None")}
    values: dict[str, Any] = {}
    for name, (key, convert) in _TABLE.items():
        if key in said and (value := _converted(convert, said[key])) is not None:
            values[name] = value
    if values.get("optimizer") and (found := re.search(r"weight_decay=([\d.eE+-]+)", said["ss_optimizer"])):
        values["weight_decay"] = _converted(float, found[1])
    if metadata.get("ss_min_snr_gamma") == "None":
        values["min_snr_gamma"] = 0.0  # off, where our default is on
    if "ss_text_encoder_lr" in said:
        values["train_text_encoder"] = True
    if said.get("ss_mixed_precision") in ("bf16", "fp16"):
        values["precision"] = said["ss_mixed_precision"]
    if (base := said.get("ss_sd_model_name", "")) == DEMO or hub.is_name(base):
        values["base"] = base
    values |= _network_arguments(said.get("ss_network_args", ""))
    return _usable(values)


def _network_arguments(text: str) -> dict[str, Any]:
    """What kohya's `network_args` say: convolutions and DoRA."""
    arguments = table(text)
    values: dict[str, Any] = {}
    if (rank := _converted(_integer, str(arguments.get("conv_dim", "")))) is not None:
        values["targets"] = [*TrainingSettings.model_fields["targets"].default, "convolutions"]
        values["conv_rank"] = rank
    if (alpha := _converted(float, str(arguments.get("conv_alpha", "")))) is not None:
        values["conv_alpha"] = alpha
    if str(arguments.get("dora_wd", "")) == "True":
        values["dora"] = True
    return values


def _usable(values: dict[str, Any]) -> dict[str, Any]:
    """The values without those that cannot be used here, e.g. of a rule between two settings."""
    values = {key: value for key, value in values.items() if value is not None}
    while mistakes := settings_file.check(values):
        wrong = {mistake.field for mistake in mistakes} & values.keys()
        if not wrong:  # a rule between a value of the file and a default of ours: the file's side cannot be told
            return {}
        values = {key: value for key, value in values.items() if key not in wrong}
    return values


def _converted(convert: Callable[[str], Any], text: str) -> Any:
    """The value, or None when the text is not what it should be."""
    try:
        return convert(text)
    except (ValueError, KeyError, OverflowError):
        return None


def _integer(text: str) -> int:
    return int(float(text))


def _flag(text: str) -> bool:
    return {"True": True, "False": False}[text]


def _unless(text: str) -> bool:
    return not _flag(text)


def _side(text: str) -> int:
    """`(512, 512)`, `512,512` or `512`: the square of the same area, in steps of 8."""
    sides = [int(n) for n in re.findall(r"\d+", text)] or [0]
    return round(math.sqrt(sides[0] * sides[-1]) / 8) * 8


def _optimizer(text: str) -> str:
    """`bitsandbytes.optim.adamw.AdamW8bit(weight_decay=0.01)` is adamw8bit."""
    name = text.split("(")[0].rpartition(".")[2].lower()
    if name not in settings_file.choices(TrainingSettings, "optimizer"):
        raise ValueError(name)
    return name


_TABLE: dict[str, tuple[str, Callable[[str], Any]]] = {
    "name": ("modelspec.title", str), "trigger": ("modelspec.trigger_phrase", str), "author": ("modelspec.author", str),
    "description": ("modelspec.description", str), "license": ("modelspec.license", str),
    "rank": ("ss_network_dim", _integer), "alpha": ("ss_network_alpha", float), "dropout": ("ss_network_dropout", float),
    "learning_rate": ("ss_unet_lr", float), "text_encoder_learning_rate": ("ss_text_encoder_lr", float),
    "schedule": ("ss_lr_scheduler", lambda text: _SCHEDULES.get(text, text)), "warmup_steps": ("ss_lr_warmup_steps", _integer),
    "optimizer": ("ss_optimizer", _optimizer), "gradient_clip": ("ss_max_grad_norm", float),
    "accumulation": ("ss_gradient_accumulation_steps", _integer), "gradient_checkpointing": ("ss_gradient_checkpointing", lambda text: "all" if _flag(text) else "off"),
    "batch_size": ("ss_batch_size_per_device", _integer), "steps": ("ss_max_train_steps", _integer), "seed": ("ss_seed", _integer),
    "quantization": ("ss_base_quantization", str), "clip_skip": ("ss_clip_skip", _integer), "max_tokens": ("ss_max_token_length", _integer),
    "resolution": ("ss_resolution", _side), "buckets": ("ss_enable_bucket", _flag), "upscale": ("ss_bucket_no_upscale", _unless),
    "bucket_min": ("ss_min_bucket_reso", _integer), "bucket_max": ("ss_max_bucket_reso", _integer), "flip": ("ss_flip_aug", _flag),
    "keep_tokens": ("ss_keep_tokens", _integer), "shuffle_tags": ("ss_shuffle_caption", _flag),
    "caption_dropout": ("ss_caption_dropout_rate", float), "tag_dropout": ("ss_caption_tag_dropout_rate", float),
    "noise_offset": ("ss_noise_offset", float), "multires_iterations": ("ss_multires_noise_iterations", _integer),
    "multires_discount": ("ss_multires_noise_discount", float), "input_perturbation": ("ss_ip_noise_gamma", float),
    "zero_terminal_snr": ("ss_zero_terminal_snr", _flag), "debiased": ("ss_debiased_estimation", _flag),
    "min_snr_gamma": ("ss_min_snr_gamma", float), "loss": ("ss_loss_type", lambda text: _LOSSES[text]), "huber_c": ("ss_huber_c", float), "prior_weight": ("ss_prior_loss_weight", float),
}  # fmt: skip
