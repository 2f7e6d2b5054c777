"""Run folders as a worker leaves them, with tiny checkpoints and previews, made without torch."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.numpy import save_file

from trainer import run_folder, settings_file

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from trainer.run_folder import RunFolder

METADATA = {
    "modelspec.title": "zorblin", "ss_output_name": "zorblin", "modelspec.tags": "green, one eye", "modelspec.trigger_phrase": "zorblin",
    "ss_sd_model_name": "demo", "ss_base_model_version": "sd_v1", "ss_steps": "20", "ss_network_dim": "8", "ss_network_alpha": "4.0",
}  # fmt: skip
COLOURS = ("red", "green", "blue", "orange", "purple")


def make_lora(path: Path, **metadata: str) -> Path:
    """A file with one LoRA layer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {
        "lora_unet_a.lora_down.weight": numpy.full((2, 4), 0.5, numpy.float32), "lora_unet_a.lora_up.weight": numpy.full((4, 2), 0.25, numpy.float32),
        "lora_unet_a.alpha": numpy.array(2.0, numpy.float32),
    }  # fmt: skip
    save_file(tensors, path, METADATA | metadata)
    return path


def make_run(
    runs: Path,
    name: str = "zorblin",
    *,
    steps: Iterable[int] = (10, 20),
    ending: str = "finished",
    samples: Iterable[int] = (0, 10, 20),
    **changes: Any,
) -> RunFolder:
    """A run of 20 steps. ending: the last event's type, or "" for none."""
    (runs.parent / "pictures").mkdir(parents=True, exist_ok=True)
    values = {
        "base": "demo", "data": str(runs.parent / "pictures"), "runs_folder": str(runs), "name": name, "trigger": "zorblin", "steps": 20, "rank": 8,
        "description": "A creature.", "resolution": 128, "previews": [{"prompt": "zorblin, meadow"}, {"prompt": "a red cat"}],
    }  # fmt: skip
    folder = run_folder.create(settings_file.from_dict(values | changes))
    started = {
        "total_steps": 20,
        "pictures": 4,
        "steps_per_epoch": 2,
        "trainable_parameters": 9,
        "device": "cpu",
        "precision": "fp32",
    }
    lines: list[dict[str, Any]] = [
        {"type": "hello", "protocol": 1, "version": "test", "run": str(folder.path)},
        {"type": "started", "step": 0} | started,
    ]
    for step in range(21):
        if step:
            lines.append(
                {
                    "type": "step_done",
                    "step": step,
                    "loss": 1 / step,
                    "learning_rates": {"unet": 1e-4},
                    "seconds": 0.1,
                    "memory_gb": 0.5,
                }
            )
        if step in samples:
            lines += [_drawn(folder, step, prompt) for prompt in range(2)]
        if step in steps:
            lines.append({"type": "validated", "step": step, "loss": 0.2 - step / 1000})
            make_lora(folder.checkpoint(step) / "lora.safetensors")
            (folder.checkpoint(step) / "state.json").write_text("{}")
    if ending:
        rest = {
            "finished": {"step": 20, "completed": True},
            "failed": {"message": "It broke.", "field": "", "unforeseen": False},
        }
        lines.append({"type": ending} | rest[ending])
    folder.events_path.write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    return folder


def _drawn(folder: RunFolder, step: int, prompt: int) -> dict[str, Any]:
    path = folder.sample(step, prompt, 42)
    path.parent.mkdir(exist_ok=True)
    told = PngInfo()
    told.add_text("parameters", f"prompt {prompt}, step {step}")
    Image.new("RGB", (48, 32), COLOURS[(step // 10 + prompt) % len(COLOURS)]).save(path, pnginfo=told)
    return {"type": "preview_drawn", "step": step, "prompt": prompt, "seed": 42, "path": folder.relative(path)}
