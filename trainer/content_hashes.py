"""Hashes of files, remembered from run to run, and those of a base model, computed while the run starts. Imports no torch."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from typing import TYPE_CHECKING

from trainer import lora_file, preflight
from trainer.errors import ModelError, os_message
from trainer.metadata import Hashes
from trainer.run_folder import write_atomically
from trainer.user_folders import user_cache_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trainer.settings import TrainingSettings


class ContentHashes:
    """Hashes of files, remembered by path, size and time of change, so that an unchanged file is not read again."""

    def __init__(self, path: Path | None, digest: Callable[[Path], str] | None = None) -> None:
        """path: where they are remembered; None forgets. digest: of a file, blake2b unless given."""
        self._path, self._changed, self._digest = path, False, digest or _blake2b
        self._known: dict[str, list[object]] = {}
        if path is not None and path.is_file():
            with contextlib.suppress(OSError, ValueError, TypeError):  # a damaged list only means reading files again
                self._known = dict(json.loads(path.read_text(encoding="utf-8")))

    def of(self, path: Path) -> str:
        """The digest of the file's bytes."""
        stat = path.stat()
        known = self._known.get(str(path))
        if known and known[:2] == [stat.st_size, stat.st_mtime_ns]:
            return str(known[2])
        digest = self._digest(path)
        self._known[str(path)] = [stat.st_size, stat.st_mtime_ns, digest]
        self._changed = True
        return digest

    def save(self) -> None:
        """Writes what is new."""
        if self._path is not None and self._changed:
            text = json.dumps(self._known)
            write_atomically(self._path, lambda p: p.write_text(text, encoding="utf-8"))
            self._changed = False


class ModelHashes:
    """Hashes of base model and VAE where they are single files: seconds for 7 GB, so a thread computes them beside the start."""

    def __init__(self, settings: TrainingSettings) -> None:
        """Begins."""
        remembered = (settings.cache_folder or user_cache_folder()) / "model_hashes.json"
        self._known = ContentHashes(remembered if settings.cache == "disk" else None, lora_file.file_sha256)
        self._paths = [preflight.base_path(settings.base), settings.vae]
        self._found: list[Hashes | None] = []
        self._error: ModelError | None = None
        self._thread = threading.Thread(target=self._compute, daemon=True, name="hashes of the base model")
        self._thread.start()

    def result(self, tell: Callable[[str], None]) -> tuple[Hashes | None, Hashes | None]:
        """Of the base model and of the VAE, None for folders. tell: told in a few words when it has to be waited for.

        Raises:
            ModelError: a file cannot be read.
        """
        self._thread.join(0.01)
        if self._thread.is_alive():
            tell("Computing the hash of the base model")
            self._thread.join()
        if self._error is not None:
            raise self._error
        base, vae = self._found
        return base, vae

    def _compute(self) -> None:
        for path in self._paths:
            if path is None or not path.is_file():
                self._found.append(None)
                continue
            try:
                self._found.append(Hashes(lora_file.short_hash(path), self._known.of(path)))
            except OSError as error:
                self._error = ModelError(os_message(f"{path} cannot be read", error))
                return
        with contextlib.suppress(OSError):  # they are only computed again
            self._known.save()


def _blake2b(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
