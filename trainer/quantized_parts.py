"""Parts of a base model with quantised linear layers: made weight by weight from the file, and kept on disk for the next run.

A part is written into a .safetensors file of the cache as it is made, and then mapped into memory from there, so that making
it needs the memory of one weight, and the system can take its pages back when memory runs short. Where nothing can be kept,
it is made in memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import safetensors
import torch

from trainer import quantized
from trainer.errors import ConfigError, ModelError
from trainer.number_formats import FLOATS, INTEGERS
from trainer.run_folder import write_atomically
from trainer.tasks import Tell, quiet
from trainer.user_folders import user_cache_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from trainer.quantized import Kind
    from trainer.settings import TrainingSettings

    Tensors = Iterator[tuple[str, torch.Tensor]]
    Numbers = dict[str, tuple[tuple[int, ...], torch.dtype]]

TITLE = "Quantising the base model"
KEPT_BYTES = 12_000_000_000  # of all parts together; those that were not used for longest go first
_SPARE_BYTES = 1_000_000_000  # that must stay free on the disk
_FORMAT = 1  # of what is kept: another number makes all of it anew
_ABANDONED_S = 86_400  # after which half a file can only be that of a process that was killed
_NAMES = {dtype: name for name, dtype in (FLOATS | INTEGERS).items()}


@dataclass(frozen=True)
class Quantization:
    """How a part is quantised. folder: where it is kept, None keeps nothing; tell: hears how far it is."""

    kind: Kind
    folder: Path | None = None
    tell: Tell = quiet


def wanted(settings: TrainingSettings, device: torch.device, tell: Tell = quiet) -> Quantization | None:
    """How the settings want the frozen weights quantised on that device; None where they do not.

    Raises:
        ConfigError: that is not possible there.
    """
    if settings.quantization == "none":
        return None
    if reason := quantized.unavailable(device):
        raise ConfigError("quantization", reason)
    folder = (settings.cache_folder or user_cache_folder()) / "quantized" if settings.cache == "disk" else None
    return Quantization(settings.quantization, folder, tell)


def filled(
    model: Any, tensors: Callable[[], Tensors], identity: str, dtype: torch.dtype, device: torch.device, how: Quantization
) -> Any:  # fmt: skip
    """The model, given on the meta device, with its numbers: linear layers quantised, the rest in `dtype`.

    tensors: reads the weights by their names in the model; each may be a view that the next one overwrites. identity: tells
    them from those of other models, for the cache. With what is kept from an earlier run they are not read at all.

    Raises:
        ModelError: a weight is not finite.
        Cancelled: by `how.tell`, whatever it raises; nothing half-made is left.
    """
    layers = set(quantized.replace_linears(model, how.kind, dtype))
    numbers: Numbers = {
        name: (tuple(value.shape), value.dtype if name.rpartition(".")[0] in layers and not name.endswith(".bias") else dtype)
        for name, value in model.state_dict().items()
    }  # fmt: skip

    def made() -> Tensors:
        return _made(tensors(), layers, dtype, device, how, len(numbers))

    weights = _through_disk(made, numbers, _key(identity, how.kind, dtype), how.folder) if how.folder else None
    if weights is None:
        weights = {name: torch.empty_like(value, memory_format=torch.contiguous_format).copy_(value) for name, value in made()}  # fmt: skip
    model.load_state_dict(weights, assign=True)
    return model.to(device)


def _made(
    tensors: Tensors, layers: set[str], dtype: torch.dtype, device: torch.device, how: Quantization, total: int
) -> Tensors:
    """The numbers of the part by their names in the quantised model, on the CPU."""
    step, told = max(1, total // 100), -1  # a hundred times is often enough
    for count, (name, weight) in enumerate(tensors):
        if count // step != told:
            told = count // step
            how.tell(TITLE, count, total)
        path, _, kind = name.rpartition(".")
        if path not in layers or kind != "weight":
            yield name, weight.to(dtype)
            continue
        try:
            numbers = quantized.quantize(weight.to(device), how.kind)
        except ValueError:
            raise ModelError(
                f"The base model cannot be quantised: {name} holds numbers that are not finite. Copy or download the model again."
            ) from None
        for key, value in numbers.items():
            yield f"{path}.{key}", value.cpu()
    how.tell(TITLE, total, total)


def _key(identity: str, kind: Kind, dtype: torch.dtype) -> str:
    words = [identity, kind, dtype, quantized.BLOCK, quantized.SCALES_BLOCK, _FORMAT]
    return hashlib.blake2b("|".join(map(str, words)).encode(), digest_size=20).hexdigest()


def _through_disk(
    made: Callable[[], Tensors], wanted: Numbers, key: str, folder: Path
) -> dict[str, torch.Tensor] | None:
    """The numbers from the file of that key, which is made where it is missing or damaged; None where there is no room."""
    path = folder / f"{key}.safetensors"
    if (weights := _mapped(path, wanted)) is not None:
        with contextlib.suppress(OSError):
            os.utime(path)  # used last now
        return weights
    try:
        folder.mkdir(parents=True, exist_ok=True)
        size = sum(math.prod(shape) * dtype.itemsize for shape, dtype in wanted.values())
        _make_room(folder, KEPT_BYTES - size)
        if shutil.disk_usage(folder).free < size + _SPARE_BYTES:
            return None
        write_atomically(path, lambda partial: _write(partial, made(), wanted))
    except OSError:  # a full or read-only disk is no reason not to train
        return None
    return _mapped(path, wanted)


def _mapped(path: Path, wanted: Numbers) -> dict[str, torch.Tensor] | None:
    """The tensors of a kept file, mapped into memory; None when it is missing, damaged or not what is wanted."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no mapping
    except (OSError, safetensors.SafetensorError):
        return None
    found = {name: (tuple(weight.shape), weight.dtype) for name, weight in weights.items()}
    return weights if found == wanted else None


def _write(path: Path, tensors: Tensors, wanted: Numbers) -> None:
    """A .safetensors file, each tensor written to its place as it comes."""
    places: dict[str, int] = {}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in sorted(
        wanted, key=lambda name: -wanted[name][1].itemsize
    ):  # so that each lies at a multiple of its size
        shape, dtype = wanted[name]
        places[name], start = end, end
        end += math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": _NAMES[dtype], "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % 64)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, tensor in tensors:
            assert (tuple(tensor.shape), tensor.dtype) == wanted[name], name
            file.seek(8 + len(text) + places.pop(name))
            file.write(memoryview(tensor.contiguous().view(-1).view(torch.uint8).numpy()))  # type: ignore[arg-type]
    assert not places, f"never made: {sorted(places)[:3]}"


def _make_room(folder: Path, bytes_left: int) -> None:
    """Removes what was not used for longest until the rest takes no more than that, and what killed processes left."""
    for partial in folder.glob(".*.part"):
        if time.time() - partial.stat().st_mtime > _ABANDONED_S:
            partial.unlink(missing_ok=True)
    ages = sorted(((p.stat().st_mtime, p.stat().st_size, p) for p in folder.glob("*.safetensors")), reverse=True)
    for _, size, path in ages:
        bytes_left -= size
        if bytes_left < 0:
            with contextlib.suppress(OSError):  # on Windows it stays while another run has it open
                path.unlink()
