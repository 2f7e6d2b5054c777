"""A model without weights, and the tensors of a model file, read one after the other into one buffer; nothing is unpickled."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from accelerate import init_empty_weights
from transformers import PreTrainedModel

from trainer.errors import ModelError
from trainer.number_formats import FLOATS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from io import RawIOBase


@dataclass(frozen=True)
class Stored:
    """A tensor in a file. start: of its bytes; dtype: as headers name it. The file's name is for messages."""

    name: str
    file_name: str
    start: int
    shape: tuple[int, ...]
    dtype: str

    @property
    def torch_dtype(self) -> torch.dtype | None:
        """The format, or None when it is none that weights have."""
        return FLOATS.get(self.dtype)


def empty_model(kind: type[Any], config: dict[str, Any]) -> Any:
    """A diffusers or transformers model of that configuration, its weights on the meta device."""
    with init_empty_weights():
        return kind(kind.config_class(**config)) if issubclass(kind, PreTrainedModel) else kind.from_config(config)


def buffer_for(tensors: Iterable[Stored]) -> torch.Tensor:
    """A buffer that holds any one of them.

    One for all: a fresh one for each would leave holes of a third of the part in malloc's heap.
    """
    sizes = (math.prod(s.shape) * (s.torch_dtype or torch.float64).itemsize for s in tensors)
    return torch.empty(max(sizes, default=0), dtype=torch.uint8)


def read_tensor(file: RawIOBase, stored: Stored, buffer: torch.Tensor) -> torch.Tensor:
    """The tensor as stored; a view of the buffer, good until the next one is read into it.

    Raises:
        ModelError: the file ends before it.
        OSError: the file cannot be read.
    """
    dtype = stored.torch_dtype
    assert dtype is not None
    raw = buffer[: math.prod(stored.shape) * dtype.itemsize]
    file.seek(stored.start)
    left = memoryview(raw.numpy())  # type: ignore[arg-type]
    while len(left):
        count = file.readinto(left) or 0
        if count == 0:
            raise ModelError(f"{stored.file_name} is cut off at {stored.name}. Copy it again.")
        left = left[count:]
    return raw.view(dtype).reshape(stored.shape)
