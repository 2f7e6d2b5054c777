"""A base checkpoint as one file, opened for tools that change or compare its weights one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from trainer.errors import ModelError
from trainer.families import FAMILIES, headers
from trainer.families.checkpoint_layers import CheckpointLayers
from trainer.number_formats import FLOATS
from trainer.weights_file import Reader

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from trainer.families import Family
    from trainer.families.original import Origin

_USABLE = ("base", "inpainting", "editing", "unet")  # kinds whose layers are those of a usual model


class BaseFile:
    """A checkpoint of the original layout; a context manager.

    Attributes:
        identity: what the file is. family: its family. layers: where its layers lie. reader: of its tensors.
    """

    def __init__(self, path: Path) -> None:
        """Opens the file; no weight is read.

        Raises:
            ModelError: it is missing, damaged, or no checkpoint in one file; the sentence names what it is.
        """
        if path.is_dir():
            raise ModelError(
                f"{path} is a folder; this works on a model that is one file (.safetensors, .ckpt). Choose the file of that model."
            )
        if not path.exists():
            raise ModelError(f"There is no file {path}.")
        self.path, self.identity = path, headers.identify(path)
        if self.identity.kind not in _USABLE or not self.identity.family:
            raise ModelError(self.identity.sentence)
        self.family: Family = FAMILIES[self.identity.family]
        self.reader = Reader(path)
        self.layers = CheckpointLayers(self.reader.header.shapes, self.identity.family)

    def __enter__(self) -> BaseFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.reader.__exit__(kind, error, at)

    def weight(self, name: str, third: int | None = None) -> torch.Tensor:
        """A tensor of the file as it is stored, or that third of its rows.

        Raises:
            ModelError: it cannot be read, or is not made of finite floating-point numbers.
        """
        dtype, shape = FLOATS.get(self.reader.header.dtypes[name]), self.reader.header.shapes[name]
        if dtype is None:
            raise ModelError(
                f"{name} in {self.path.name} holds {self.reader.header.dtypes[name]} numbers, of which a LoRA can neither be added nor taken. Choose the fp16, bf16 or fp32 file."
            )
        if third is not None:
            shape = (shape[0] // 3, *shape[1:])
        out = torch.frombuffer(self.reader.tensor(name, third), dtype=dtype).reshape(shape)
        if not out.float().isfinite().all():
            raise ModelError(f"{self.path.name} is damaged: {name} holds numbers that are not finite.")
        return out

    def of(self, origin: Origin) -> torch.Tensor:
        """The weight of a module, stored.

        Raises:
            ModelError: as `weight`.
        """
        return self.weight(origin.name, origin.third)
