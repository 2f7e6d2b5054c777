"""Encoded pictures and captions, kept on disk and keyed by content, so that encoders run once and leave memory.

A picture's key: its bytes, scaling, crops, mirror, background, mask, the autoencoder and its number format. A caption's: its
text, prompt length, clip skip, the text encoders and their number format. An edited picture has other bytes, so it is noticed.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Protocol

import numpy
import safetensors.torch
import torch

from trainer import pixels
from trainer.content_hashes import ContentHashes
from trainer.errors import DataError, RunError, os_message
from trainer.families.backbone import Backbone, Conditioning
from trainer.ranks import ALONE, Ranks
from trainer.run_folder import write_atomically
from trainer.user_folders import user_cache_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from trainer.batches import Entry
    from trainer.settings import TrainingSettings

_TEXTS_AT_ONCE = 8


class Store(Protocol):
    """Keeps small dicts of tensors by key."""

    def has(self, key: str) -> bool:
        """Whether `get` will give something."""

    def get(self, key: str) -> dict[str, torch.Tensor] | None:
        """What was put under the key, or None."""

    def put(self, key: str, tensors: dict[str, torch.Tensor]) -> None:
        """Keeps the tensors."""


class MemoryStore:
    """Gone when the process ends."""

    def __init__(self) -> None:
        self._kept: dict[str, dict[str, torch.Tensor]] = {}

    def has(self, key: str) -> bool:
        """Whether something was put under the key."""
        return key in self._kept

    def get(self, key: str) -> dict[str, torch.Tensor] | None:
        """What was put under the key, or None."""
        return self._kept.get(key)

    def put(self, key: str, tensors: dict[str, torch.Tensor]) -> None:
        """Keeps the tensors."""
        self._kept[key] = tensors


class DiskStore:
    """One .safetensors file a key, in 256 folders; a file that cannot be read counts as absent."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def has(self, key: str) -> bool:
        """Whether there is a file under the key that is as long as its header says; only the header is read."""
        try:
            with self._path(key).open("rb") as file:
                size = int.from_bytes(file.read(8), "little")
                end = os.fstat(file.fileno()).st_size - 8 - size
                entries = json.loads(file.read(size)) if end > 0 else {}
                ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
                return bool(ends) and max(ends) == end
        except (OSError, ValueError, TypeError, LookupError, AttributeError):
            return False

    def get(self, key: str) -> dict[str, torch.Tensor] | None:
        """What was put under the key, or None."""
        try:
            return safetensors.torch.load(self._path(key).read_bytes())
        except (OSError, safetensors.SafetensorError):
            return None

    def put(self, key: str, tensors: dict[str, torch.Tensor]) -> None:
        """Keeps the tensors.

        Raises:
            RunError: the cache folder cannot be written.
        """
        raw = safetensors.torch.save(tensors)
        try:
            write_atomically(self._path(key), lambda p: p.write_bytes(raw))
        except OSError as error:
            raise RunError(os_message(f"The cache folder {self._folder} cannot be written", error)) from None

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.safetensors"


class Cache:
    """Latents and caption encodings of a run."""

    def __init__(
        self, backbone: Backbone, settings: TrainingSettings, dtypes: tuple[torch.dtype, torch.dtype], ranks: Ranks = ALONE
    ) -> None:  # fmt: skip
        """dtypes: those in which pictures and captions are encoded.

        ranks: the processes that fill it together; each fills a share on disk, or everything in its own memory.
        """
        self._backbone, self._settings, (self._picture_dtype, self._text_dtype) = backbone, settings, dtypes
        self._ranks = ranks if settings.cache == "disk" else ALONE
        folder = settings.cache_folder or user_cache_folder()
        self._store: Store = DiskStore(folder) if settings.cache == "disk" else MemoryStore()
        self._hashes = ContentHashes(folder / "content_hashes.json" if settings.cache == "disk" else None)
        self._vae = backbone.fingerprint(["vae"])
        self._text = backbone.fingerprint(
            [p for part in backbone.family.text_parts for p in (part, part.replace("text_encoder", "tokenizer"))]
        )

    def fill_pictures(
        self, entries: Iterable[Entry], load_vae: Callable[[], object], progress: Callable[[int, int], None]
    ) -> list[str]:
        """Encodes what is not cached yet; returns a sentence for each picture that cannot be read.

        `load_vae` is called only when there is something to encode.
        """
        views = [(e, mirrored) for e in entries for mirrored in ((False, True) if e.flip else (False,))]
        unreadable: dict[Path, str] = {}
        for done, (entry, mirrored) in enumerate(views):
            if entry.picture.path not in unreadable:
                try:
                    key = self._picture_key(entry, mirrored)
                    if self._ranks.owns(key) and not self._store.has(key):
                        load_vae()
                        self._store.put(key, self._encoded(entry, mirrored))
                except (DataError, OSError) as error:
                    reason = str(error) if isinstance(error, DataError) else os_message(entry.picture.path.name, error)
                    unreadable[entry.picture.path] = f"{entry.picture.path.name} is left out: {reason}"
            progress(done + 1, len(views))
        if self._ranks.writes:
            self._hashes.save()
        return self._ranks.gather(list(unreadable.values()))

    def is_readable(self, entry: Entry) -> bool:
        """Whether the picture could be encoded."""
        try:
            return self._store.has(self._picture_key(entry, False))
        except OSError:
            return False

    def latents(self, entry: Entry, mirrored: bool) -> torch.Tensor:
        """Scaled latents (C, h, w), fp32, of a picture that was filled in."""
        return self.picture(entry, mirrored)[0]

    def picture(self, entry: Entry, mirrored: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Scaled latents (C, h, w) and mask (1, h, w) in [0, 1], both fp32, of a picture that was filled in.

        The mask is None when there is none, or masked training is off.
        """
        found = self._store.get(self._picture_key(entry, mirrored))
        if found is None:
            raise RunError(
                f"The cached picture of {entry.picture.path.name} is gone. Start the run again; it will be encoded anew."
            )
        return found["latents"], found.get("mask")

    def fill_captions(
        self, texts: Iterable[str], load_encoders: Callable[[], object], progress: Callable[[int, int], None]
    ) -> None:
        """Encodes the texts that are not cached yet; `load_encoders` is called only when there are any."""
        wanted = list(dict.fromkeys(texts))
        missing = [t for t in wanted if self._ranks.owns(key := self._text_key(t)) and not self._store.has(key)]
        for start in range(0, len(missing), _TEXTS_AT_ONCE):
            load_encoders()
            some = missing[start : start + _TEXTS_AT_ONCE]
            with torch.no_grad():
                told = self._backbone.encode_captions(
                    some, clip_skip=self._settings.clip_skip, max_tokens=self._settings.max_tokens,
                    weights=self._settings.prompt_weights,
                )  # fmt: skip
            for i, text in enumerate(some):
                tensors = {"states": told.states[i : i + 1].cpu().contiguous().clone()}
                if told.pooled is not None:
                    tensors["pooled"] = told.pooled[i : i + 1].cpu().contiguous().clone()
                self._store.put(self._text_key(text), tensors)
            progress(len(wanted) - len(missing) + start + len(some), len(wanted))
        self._ranks.gather([])

    def conditioning(self, text: str) -> Conditioning:
        """What the UNet is told for a text that was filled in, batch size 1."""
        found = self._store.get(self._text_key(text))
        if found is None:
            raise RunError(f'The cached caption "{text[:60]}" is gone. Start the run again; it will be encoded anew.')
        return Conditioning(found["states"], found.get("pooled"))

    def _encoded(self, entry: Entry, mirrored: bool) -> dict[str, torch.Tensor]:
        picture = pixels.open_rgb(entry.picture.path, self._settings.background)
        fitted = pixels.fitted(picture, entry.fit, mirrored=mirrored)
        signal = torch.from_numpy(numpy.array(fitted)).permute(2, 0, 1)[None].float() / 127.5 - 1
        vae = self._backbone.vae
        assert vae is not None
        with torch.no_grad():
            latents = self._backbone.encode_pictures(signal.to(vae.device))[0].float().cpu().contiguous()
        if not latents.isfinite().all():
            raise DataError(f"{entry.picture.path.name} gives numbers that are not finite in the autoencoder.")
        out = {"latents": latents}
        if self._settings.masked_loss:
            mask = pixels.mask(entry.picture.path, entry.picture.mask, alpha=self._settings.alpha_mask)
            if mask is not None:
                shown = numpy.array(pixels.fitted(mask, entry.fit, mirrored=mirrored), dtype=numpy.float32) / 255
                height, width = latents.shape[1:]
                out["mask"] = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(shown)[None], (height, width))
        return out

    def _picture_key(self, entry: Entry, mirrored: bool) -> str:
        content = self._hashes.of(entry.picture.path)
        fit = entry.fit
        edited: list[object] = [] if fit.box is None else [fit.box]
        if self._picture_dtype is not torch.float32:
            edited.append(self._picture_dtype)
        if self._settings.masked_loss:
            mask = entry.picture.mask
            edited += ["mask", self._settings.alpha_mask, "" if mask is None else self._hashes.of(mask)]
        return _hash(
            "picture", content, fit.size, fit.resized, fit.corner, mirrored, self._settings.background, self._vae, *edited
        )  # fmt: skip

    def _text_key(self, text: str) -> str:
        s = self._settings
        weighted = ["weights"] if s.prompt_weights else []
        return _hash("text", text, s.max_tokens, s.clip_skip, self._text_dtype, self._text, *weighted)


def _hash(*parts: object) -> str:
    return hashlib.blake2b("|".join(map(str, parts)).encode(), digest_size=20).hexdigest()
