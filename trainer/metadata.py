"""What a LoRA file says about itself: kohya's `ss_*` keys and ModelSpec's `modelspec.*`. Imports no torch.

All values are strings; booleans are `True` / `False`, absent is `None`, as kohya writes them and A1111, Forge, SD.Next and
Civitai read them. ModelSpec 1.0.1: https://github.com/Stability-AI/ModelSpec
"""

from __future__ import annotations

import datetime
import json
import math
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING

from trainer import __version__, buckets, cover, hub
from trainer.run_folder import safe_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from trainer.batches import Entry
    from trainer.families import Family
    from trainer.settings import TrainingSettings

_SS_OPTIMIZERS = {
    "adamw": "torch.optim.adamw.AdamW", "adamw8bit": "bitsandbytes.optim.adamw.AdamW8bit", "lion": "lion_pytorch.lion_pytorch.Lion",
    "lion8bit": "bitsandbytes.optim.lion.Lion8bit", "adafactor": "transformers.optimization.Adafactor", "prodigy": "prodigyopt.prodigy.Prodigy",
}  # fmt: skip
TAGS_BYTES = 1_000_000  # of ss_tag_frequency; ComfyUI does not look into a header of 8 MiB or more


@dataclass(frozen=True)
class Hashes:
    """Of a model that is one file: A1111's older short one, and sha256 of the whole file, 64 hex digits."""

    short: str
    sha256: str


@dataclass(frozen=True)
class Facts:
    """What is known of a run besides its settings.

    started: unix seconds. rank, alpha: of most adapters, as in the file; None takes the settings'.
    base_hashes, vae_hashes: of single files; None for folders. processes: that train together, each a batch.
    """

    family: Family
    v_prediction: bool
    precision: str
    entries: tuple[Entry, ...]
    regularization: tuple[Entry, ...]
    batches_per_epoch: int
    total_steps: int
    started: float
    validation: tuple[Entry, ...] = ()
    rank: int | None = None
    alpha: float | None = None
    base_hashes: Hashes | None = None
    vae_hashes: Hashes | None = None
    processes: int = 1


@dataclass(frozen=True)
class Words:
    """What a person says about a LoRA file; None leaves what the file says. tags: separated by commas.

    picture: becomes the small picture in the file.
    """

    title: str | None = None
    description: str | None = None
    tags: str | None = None
    picture: Path | None = None


def retold(metadata: Mapping[str, str], words: Words) -> dict[str, str]:
    """The metadata with other words; the hashes are those of the old file and must be made anew.

    Raises:
        DataError: the picture cannot be read.
    """
    changes: dict[str, str] = {}
    if words.title is not None and words.title.strip():
        changes |= {"modelspec.title": words.title.strip(), "ss_output_name": safe_name(words.title)}
    if words.description is not None:
        text = words.description.strip()
        changes |= {"modelspec.description": text, "ss_training_comment": text or "None"}
    if words.tags is not None:
        changes["modelspec.tags"] = ", ".join(tag.strip() for tag in words.tags.split(",") if tag.strip())
    if words.picture is not None:
        changes |= cover.entries(words.picture)
    told = dict(metadata) | {key: _plain(value) for key, value in changes.items()}
    return {key: value for key, value in told.items() if value}


def build(settings: TrainingSettings, facts: Facts, *, step: int, finished: float) -> dict[str, str]:
    """All metadata but the hashes, which need the tensors (see `trainer.export`)."""
    return _kohya(settings, facts, step, finished) | _model_spec(settings, facts, finished)


def _kohya(s: TrainingSettings, f: Facts, step: int, finished: float) -> dict[str, str]:
    epoch = step * s.accumulation / f.batches_per_epoch
    args = {}
    if "convolutions" in s.targets:
        rank, alpha = s.conv_rank or s.rank, s.conv_alpha or s.alpha
        args = {"conv_dim": str(rank), "conv_alpha": str(_alpha(s, rank, alpha))}
    if s.dora:
        args["dora_wd"] = "True"
    seen = [e.picture for e in f.entries for _ in range(e.picture.repeats)]
    values: dict[str, object] = {
        "session_id": random.Random(f"{f.started}/{s.seed}").randint(0, 2**32),
        "training_started_at": f.started, "training_finished_at": finished, "output_name": safe_name(s.title),
        "steps": step, "epoch": round(epoch), "max_train_steps": f.total_steps,
        "num_epochs": max(1, round(f.total_steps * s.accumulation / f.batches_per_epoch)), "num_batches_per_epoch": f.batches_per_epoch,
        "seed": s.seed, "training_comment": s.description or None, "sd_model_name": base_name(s),
        "base_model_version": f.family.kohya_version_v if f.v_prediction else f.family.kohya_version,
        "v2": f.family.is_v2, "clip_skip": s.clip_skip if s.clip_skip > 1 else None, "max_token_length": s.max_tokens if s.max_tokens > 75 else None,
        "network_module": "networks.lora", "network_dim": f.rank or s.rank, "network_alpha": f.alpha or _alpha(s, s.rank, s.alpha), "network_dropout": s.dropout or None,
        "network_args": args, "learning_rate": s.learning_rate, "unet_lr": s.learning_rate,
        "text_encoder_lr": s.text_encoder_learning_rate if s.train_text_encoder else None, "lr_scheduler": _SCHEDULES.get(s.schedule, s.schedule),
        "lr_warmup_steps": s.warmup_steps, "optimizer": f"{_SS_OPTIMIZERS[s.optimizer]}(weight_decay={s.weight_decay})",
        "max_grad_norm": s.gradient_clip, "gradient_accumulation_steps": s.accumulation, "gradient_checkpointing": s.gradient_checkpointing != "off",
        "mixed_precision": "no" if f.precision == "fp32" else f.precision, "full_fp16": False, "lowram": False,
        "noise_offset": s.noise_offset or None, "multires_noise_iterations": s.multires_iterations or None,
        "multires_noise_discount": s.multires_discount, "ip_noise_gamma": s.input_perturbation or None, "zero_terminal_snr": s.zero_terminal_snr,
        "min_snr_gamma": s.min_snr_gamma or None, "debiased_estimation": s.debiased, "loss_type": "l2" if s.loss == "mse" else "huber",
        "huber_c": s.huber_c if s.loss == "huber" else None, "prior_loss_weight": s.prior_weight,
        "num_train_images": len(seen), "num_reg_images": sum(e.picture.repeats for e in f.regularization), "num_validation_images": len(f.validation),
        "batch_size_per_device": s.batch_size, "total_batch_size": s.batch_size * f.processes, "resolution": f"({s.resolution}, {s.resolution})",
        "enable_bucket": s.buckets, "bucket_no_upscale": not s.upscale, "min_bucket_reso": s.bucket_min, "max_bucket_reso": s.bucket_max,
        "bucket_info": _bucket_info(f), "dataset_dirs": _folders(s.data, f.entries),
        "reg_dataset_dirs": _folders(s.regularization, f.regularization) if s.regularization else {},
        "tag_frequency": _tag_frequency(s, f), "keep_tokens": s.keep_tokens, "shuffle_caption": s.shuffle_tags,
        "caption_dropout_rate": s.caption_dropout, "caption_dropout_every_n_epochs": 0, "caption_tag_dropout_rate": s.tag_dropout,
        "color_aug": False, "flip_aug": s.flip, "random_crop": False, "cache_latents": True,
    }  # fmt: skip
    if s.quantization != "none":
        values["base_quantization"] = s.quantization  # kohya has no such key; it quantises nothing
    if f.base_hashes:
        values |= {"sd_model_hash": f.base_hashes.short, "new_sd_model_hash": f.base_hashes.sha256}
    if s.vae:
        values["vae_name"] = PureWindowsPath(s.vae).name
    if f.vae_hashes:
        values |= {"vae_hash": f.vae_hashes.short, "new_vae_hash": f.vae_hashes.sha256}
    return {f"ss_{key}": _plain(value) for key, value in values.items()}


def _model_spec(s: TrainingSettings, f: Facts, finished: float) -> dict[str, str]:
    date = datetime.datetime.fromtimestamp(finished, datetime.UTC).replace(microsecond=0, tzinfo=None)
    values = {
        "sai_model_spec": "1.0.1", "architecture": f.family.architecture_v if f.v_prediction else f.family.architecture,
        "implementation": f.family.implementation, "title": s.title, "resolution": f"{s.resolution}x{s.resolution}",
        "date": date.isoformat(), "author": s.author, "description": s.description, "license": s.license,
        "trigger_phrase": s.trigger, "tags": ", ".join(tag for tag, _ in _all_tags(f.entries).most_common(10)),
        "prediction_type": "v" if f.v_prediction else "epsilon",
        "timestep_range": f"{s.timestep_min},{s.timestep_max}" if (s.timestep_min, s.timestep_max) != (0, 1000) else "",
        "encoder_layer": str(s.clip_skip), "implementation_version": f"LoRA Atelier {__version__}",
    }  # fmt: skip
    return {f"modelspec.{key}": _plain(value) for key, value in values.items() if value}


def base_name(settings: TrainingSettings) -> str:
    """The base model's name on the hub, or its file's name without the folder, which would tell the world the disk's layout."""
    if hub.is_name(settings.base) and hub.folder_of(settings.base).is_dir():
        return settings.base
    return PureWindowsPath(settings.base).name  # knows both kinds of separators


def _alpha(s: TrainingSettings, rank: int, alpha: float) -> float:
    """As the file's tensors have it, into which rsLoRA's scale is folded."""
    return alpha * math.sqrt(rank) if s.rslora else alpha


_SCHEDULES = {"cosine_restarts": "cosine_with_restarts"}


def _bucket_info(f: Facts) -> dict[str, object]:
    fits = [e.fit for e in f.entries for _ in range(e.picture.repeats)]
    errors = [abs(e.fit.size[0] / e.fit.size[1] - e.picture.width_px / e.picture.height_px) for e in f.entries]
    sizes = {
        str(i): {"resolution": list(size), "count": count}
        for i, (size, count) in enumerate(buckets.counts(fits).items())
    }
    return {"buckets": sizes, "mean_img_ar_error": sum(errors) / max(1, len(errors))}


def _folders(folder: Path, entries: tuple[Entry, ...]) -> dict[str, dict[str, int]]:
    """Pictures by repeats under their folder's name, as kohya's `dataset_dirs`. folder: of pictures that do not say theirs."""
    counts = Counter((_folder_name(e, folder), e.picture.repeats) for e in entries)
    kinds = Counter(name for name, _ in counts)
    return {
        name if kinds[name] == 1 else f"{n}_{name}": {"n_repeats": n, "img_count": c}
        for (name, n), c in sorted(counts.items())
    }


def _folder_name(entry: Entry, folder: Path) -> str:
    """The name of the folder that was given and holds the picture; never its path, which is the user's own business."""
    relative = entry.picture.relative
    root = entry.picture.path.parents[relative.count("/")] if relative else folder
    return root.name if root.name and root != Path.home() else "data"


def _all_tags(entries: Iterable[Entry]) -> Counter[str]:
    tags: Counter[str] = Counter()
    for entry in entries:
        words = entry.texts[0].split(",") if entry.texts else []
        tags.update(t.strip() for t in words if t.strip())
    return tags


def _tag_frequency(s: TrainingSettings, f: Facts) -> dict[str, dict[str, int]]:
    by_folder: dict[str, list[Entry]] = {}
    for entry in f.entries:
        by_folder.setdefault(_folder_name(entry, s.data), []).append(entry)
    out: dict[str, dict[str, int]] = {}
    left = TAGS_BYTES
    for name, entries in by_folder.items():
        out[name] = {}
        for tag, count in _all_tags(entries).most_common(500):
            left -= len(json.dumps(tag)) + 10
            if left > 0:
                out[name][tag] = count
    return out


def _plain(value: object) -> str:
    """As kohya writes it: tables as JSON, all else as Python prints it.

    A1111 takes every value that begins with a brace for a table, so text never begins with one.
    """
    if isinstance(value, dict):
        return json.dumps(value)
    text = str(value)
    return f" {text}" if text.startswith("{") else text
