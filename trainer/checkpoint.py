"""Saves and restores everything that a run needs to go on exactly: adapters, optimizer, scaler, step. No pickle.

    checkpoints/000200/lora.safetensors    the adapters as a LoRA file in fp32, usable anywhere
    checkpoints/000200/state.safetensors   the optimizer's tensors
    checkpoints/000200/state.json          the rest; written last

Noise, timesteps, captions and order are drawn from the step's own seed, so no random state is kept.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import safetensors
import safetensors.torch
import torch

from trainer import export
from trainer.errors import DivergedError, RunError, os_message
from trainer.run_folder import write_folder_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.adapter import Adapter
    from trainer.run_folder import RunFolder

_TENSOR = "$tensor"


@dataclass(frozen=True)
class Trained:
    """The parts of a run that change while it trains."""

    adapter: Adapter
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler


@dataclass(frozen=True)
class Snapshot:
    """What `Trained` holds at a moment, for another one that takes its place."""

    weights: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    scaler: dict[str, Any]

    @staticmethod
    def of(trained: Trained) -> Snapshot:
        """Of the moment; the optimizer's tensors are not copied, so it must not go on."""
        return Snapshot(trained.adapter.tensors(), trained.optimizer.state_dict(), trained.scaler.state_dict())

    def put_back(self, trained: Trained) -> None:
        """Brings adapters, optimizer and scaler to that moment, bit for bit."""
        trained.adapter.load(self.weights)
        trained.optimizer.load_state_dict(self.optimizer)
        trained.scaler.load_state_dict(self.scaler)


def save(folder: RunFolder, step: int, trained: Trained, metadata: dict[str, str], keep: int) -> Path:
    """Writes the checkpoint of `step` and then removes all but the last `keep` (0 keeps all). On a CPU nothing is copied.

    metadata: of the LoRA file; the hashes of its tensors are added.

    Raises:
        DivergedError: a weight is not finite; nothing is written.
        RunError: the folder cannot be written, e.g. because the disk is full; older checkpoints are intact.
    """
    if not trained.adapter.all_finite():
        raise DivergedError(
            f"The weights are no longer finite numbers at step {step}, so they are not saved. Resume from the last checkpoint "
            "with a lower learning rate, or with precision bf16 or fp32."
        )
    tensors: dict[str, torch.Tensor] = {}
    state = {
        "step": step,
        "optimizer": _packed(trained.optimizer.state_dict(), "optimizer", tensors),
        "scaler": _packed(trained.scaler.state_dict(), "scaler", tensors),
    }

    def write(path: Path) -> None:
        export.save_hashed(path / "lora.safetensors", trained.adapter.tensors(copied=False), metadata)
        export.save(path / "state.safetensors", tensors)
        (path / "state.json").write_text(json.dumps(state), encoding="utf-8")

    path = folder.checkpoint(step)
    try:
        write_folder_atomically(path, write)
    except OSError as error:
        raise RunError(os_message(f"The checkpoint of step {step} could not be saved", error)) from error
    for old in folder.checkpoints()[: -keep or None] if keep else []:
        shutil.rmtree(folder.checkpoint(old))
    return path


def restore(folder: RunFolder, trained: Trained, step: int) -> None:
    """Brings the adapters, the optimizer and the scaler back to that checkpoint, bit for bit.

    Raises:
        RunError: the checkpoint is damaged.
    """
    path = folder.checkpoint(step)
    try:
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        tensors = safetensors.torch.load_file(path / "state.safetensors")
        weights = safetensors.torch.load_file(path / "lora.safetensors")
        optimizer, scaler = (_unpacked(state[name], tensors) for name in ("optimizer", "scaler"))
        Snapshot(weights, optimizer, scaler).put_back(trained)
    except (OSError, ValueError, KeyError, safetensors.SafetensorError) as error:
        raise RunError(
            f"The checkpoint {path} is damaged ({error}). Remove that folder to resume from the one before."
        ) from error


def lora_file(folder: RunFolder, step: int) -> Path:
    """The LoRA file of a checkpoint."""
    return folder.checkpoint(step) / "lora.safetensors"


def _packed(value: Any, name: str, tensors: dict[str, torch.Tensor]) -> Any:
    """The value as JSON; its tensors go into `tensors`. Keys that are numbers are kept as pairs."""
    if isinstance(value, torch.Tensor):
        tensors[name] = value.detach().cpu().contiguous()
        return {_TENSOR: name}
    if isinstance(value, dict):
        return {"$items": [[k, _packed(v, f"{name}.{k}", tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        items = [_packed(v, f"{name}.{i}", tensors) for i, v in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"an optimizer's state holds a {type(value).__name__}, which cannot be saved")


def _unpacked(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpacked(v, tensors) for v in value]
    if not isinstance(value, dict):
        return value
    if _TENSOR in value:
        return tensors[value[_TENSOR]]
    if "$tuple" in value:
        return tuple(_unpacked(v, tensors) for v in value["$tuple"])
    return {k: _unpacked(v, tensors) for k, v in value["$items"]}
