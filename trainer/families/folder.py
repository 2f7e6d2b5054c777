"""A base model as a diffusers folder: its configurations, weights and tokenizers, part by part."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import safetensors
from transformers import CLIPTokenizer

from trainer import quantized_parts
from trainer.errors import ModelError
from trainer.families import headers
from trainer.families.tensor_file import Stored, buffer_for, empty_model, read_tensor
from trainer.families.weight_files import choose, is_index
from trainer.lora_file import read_header

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import torch

    from trainer.quantized_parts import Quantization


class FolderSource:
    """Reads parts of a model folder. vae_only: the folder is, or has in it, an autoencoder given on its own."""

    def __init__(self, base: Path, *, vae_only: bool = False) -> None:
        self._base = base
        self._is_vae = vae_only and (base / "config.json").is_file()

    def config(self, part: str) -> dict[str, Any]:
        """The configuration of a part, or of the scheduler."""
        name = "scheduler_config.json" if part == "scheduler" else "config.json"
        config: dict[str, Any] = json.loads((self._folder(part) / name).read_text(encoding="utf-8"))
        return config

    def read(
        self, kind: type[Any], part: str, dtype: torch.dtype, device: torch.device, quantization: Quantization | None = None
    ) -> Any:  # fmt: skip
        """A part with its weights.

        Raises:
            ModelError: the weights cannot be read, or some are missing.
        """
        if quantization is not None:
            return self._read_quantized(kind, part, dtype, device, quantization)
        folder = self._folder(part)
        options: dict[str, Any] = {"torch_dtype": dtype, "local_files_only": True}
        if weights := choose(p.name for p in folder.iterdir() if p.is_file()):
            options |= {"variant": weights.variant or None, "use_safetensors": weights.is_safe}
        try:
            model, found = kind.from_pretrained(folder, output_loading_info=True, **options)
        except (OSError, ValueError, RuntimeError, KeyError, safetensors.SafetensorError) as error:
            raise self._unreadable(part, error) from error
        # A weight that the file lacks would be left at random numbers, with no more than a line in the log.
        if missing := sorted(found["missing_keys"]):
            raise self._lacking(part, missing)
        return model.to(device)

    def tokenizer(self, part: str) -> CLIPTokenizer:
        """The tokenizer of a text encoder.

        Raises:
            ModelError: it cannot be read.
        """
        part = part.replace("text_encoder", "tokenizer")
        try:
            return CLIPTokenizer.from_pretrained(self._folder(part), local_files_only=True)
        except Exception as error:  # the tokenizers library raises bare Exceptions
            raise self._unreadable(part, error) from error

    def fingerprint(self, parts: list[str]) -> str:
        """Tells models apart without reading gigabytes: configurations whole; of weights the header and 16 samples of 64 KB."""
        digest = hashlib.blake2b(digest_size=16)
        for part in parts:
            for path in sorted(p for p in self._folder(part).iterdir() if p.is_file()):
                digest.update(f"{part}/{path.name}/{path.stat().st_size}".encode())
                if path.suffix == ".safetensors":
                    digest.update(repr(sorted(read_header(path).shapes.items())).encode())
                with path.open("rb") as file:
                    size = path.stat().st_size
                    for i in range(16 if size > 1 << 20 else 1):
                        file.seek(size * i // 16)
                        digest.update(file.read(1 << 16 if size > 1 << 20 else -1))
        return digest.hexdigest()

    def _read_quantized(
        self, kind: type[Any], part: str, dtype: torch.dtype, device: torch.device, quantization: Quantization
    ) -> Any:
        """As `read`, weight by weight, so that the part never is in memory as it was."""
        try:
            model = empty_model(kind, self.config(part))
            shapes = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
            places = self._places(part, shapes)
            identity = self.fingerprint([part])
        except (OSError, ValueError) as error:
            raise self._unreadable(part, error) from error
        return quantized_parts.filled(
            model, lambda: self._tensors(part, places), identity, dtype, device, quantization
        )  # fmt: skip

    def _places(self, part: str, shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[Path, Stored]]:
        """Where each weight of a part lies; all must be there."""
        folder = self._folder(part)
        weights = choose(p.name for p in folder.iterdir() if p.is_file())
        found: dict[str, tuple[Path, Stored]] = {}
        for path in (folder / name for name in (weights.files if weights else ()) if not is_index(name)):
            header = headers.read(path)
            for name, (start, _) in header.spans.items():
                found[name] = path, Stored(name, path.name, start, header.shapes[name], header.dtypes[name])
        # transformers 5 dropped a level from one kind of CLIP, so files have it and the model does not.
        both = {name: found.get(name) or found.get(f"text_model.{name}") for name in shapes}
        if missing := sorted(name for name, place in both.items() if place is None):
            raise self._lacking(part, missing)
        places = {name: place for name, place in both.items() if place is not None}
        for name, (path, stored) in places.items():
            if stored.shape != shapes[name] or stored.torch_dtype is None:
                reason = (
                    f"{name} in {path.name} is {stored.dtype} of shape {list(stored.shape)}, not {list(shapes[name])}"
                )
                raise self._unreadable(part, ValueError(reason))
        return places

    def _tensors(self, part: str, places: dict[str, tuple[Path, Stored]]) -> Iterator[tuple[str, torch.Tensor]]:
        """The weights file by file in their order there, each a view that is good until the next."""
        buffer = buffer_for(stored for _, stored in places.values())
        try:
            for path in dict.fromkeys(path for path, _ in places.values()):
                own = {name: stored for name, (of, stored) in places.items() if of == path}
                with path.open("rb", buffering=0) as file:
                    for name in sorted(own, key=lambda name: own[name].start):
                        yield name, read_tensor(file, own[name], buffer)
        except OSError as error:
            raise self._unreadable(part, error) from error

    def _lacking(self, part: str, missing: list[str]) -> ModelError:
        return ModelError(
            f"{part} of the base model {self._base} lacks {len(missing)} of its weights, e.g. {missing[0]}. "
            "Copy the model again, whole."
        )

    def _folder(self, part: str) -> Path:
        return self._base if self._is_vae else self._base / part

    def _unreadable(self, part: str, error: Exception) -> ModelError:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        return ModelError(f"{part} of the base model {self._base} cannot be read ({reason}). Copy the model again.")
