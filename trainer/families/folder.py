"""A base model as a diffusers folder: its configurations, weights and tokenizers, part by part."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import safetensors
from transformers import CLIPTokenizer

from trainer.errors import ModelError
from trainer.families.weight_files import choose
from trainer.lora_file import read_header

if TYPE_CHECKING:
    from pathlib import Path

    import torch


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

    def read(self, kind: type[Any], part: str, dtype: torch.dtype, device: torch.device) -> Any:
        """A part with its weights.

        Raises:
            ModelError: the weights cannot be read, or some are missing.
        """
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
            raise ModelError(
                f"{part} of the base model {self._base} lacks {len(missing)} of its weights, e.g. {missing[0]}. "
                "Copy the model again, whole."
            )
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

    def _folder(self, part: str) -> Path:
        return self._base if self._is_vae else self._base / part

    def _unreadable(self, part: str, error: Exception) -> ModelError:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        return ModelError(f"{part} of the base model {self._base} cannot be read ({reason}). Copy the model again.")
