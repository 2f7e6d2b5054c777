"""The cache: what was encoded once is not encoded again, and nothing stale is ever taken."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import safetensors.torch
import torch
from PIL import Image, ImageOps

from trainer import cache as caches
from trainer import dataset, families
from trainer.batches import Entry, entries_of
from trainer.cache import Cache, DiskStore
from trainer.errors import RunError
from trainer.pixels import Fit
from trainer.settings import TrainingSettings

CPU = torch.device("cpu")
TEXTS = ["", "a hat", "a round thing"]


class Bench:
    """A tiny model and pictures; counts what is encoded and how often a part is loaded."""

    def __init__(self, base: Path, data: Path, cache_folder: Path) -> None:
        self.base, self.data, self.cache_folder = base, data, cache_folder
        self.progress: list[tuple[int, int]] = []

    def settings(self, **changes: Any) -> TrainingSettings:
        fixed = {"data": self.data, "resolution": 64, "bucket_step": 16, "bucket_min": 32}
        return TrainingSettings(**fixed | {"cache_folder": self.cache_folder} | changes)

    def entries(self, **changes: Any) -> list[Entry]:
        return entries_of(dataset.scan(self.data), self.settings(**changes))

    def cache(
        self, dtype: torch.dtype = torch.float32, vae_dtype: torch.dtype = torch.float32, **changes: Any
    ) -> Cache:
        """A new one, as a new run makes it; its backbone is counted."""
        backbone = families.load(self.base)
        self.pictures, self.texts, self.loads = 0, 0, 0
        encode_pictures, encode_captions = backbone.encode_pictures, backbone.encode_captions

        def counted_pictures(signal: torch.Tensor) -> torch.Tensor:
            self.pictures += len(signal)
            return encode_pictures(signal)

        def counted_captions(texts: list[str], **options: Any) -> Any:
            self.texts += len(texts)
            assert len(texts) <= 8, "so many at once need memory"
            return encode_captions(texts, **options)

        backbone.encode_pictures = counted_pictures  # type: ignore[method-assign]
        backbone.encode_captions = counted_captions  # type: ignore[method-assign]
        self.backbone = backbone
        self.vae_dtype = vae_dtype
        return Cache(backbone, self.settings(**changes), (vae_dtype, dtype))

    def load(self) -> None:
        self.loads += 1
        self.backbone.load_vae(CPU, self.vae_dtype)
        self.backbone.load_text_encoders(torch.float32, CPU)

    def filled(self, **changes: Any) -> tuple[int, list[str]]:
        """How many pictures a new run with these settings encodes, and its sentences about unreadable ones."""
        cache, self.progress = self.cache(**changes), []
        problems = cache.fill_pictures(self.entries(**changes), self.load, self.note)
        return self.pictures, problems

    def filled_texts(self, texts: list[str] = TEXTS, **changes: Any) -> int:
        """How many texts a new run with these settings encodes."""
        cache, self.progress = self.cache(**changes), []
        cache.fill_captions(texts, self.load, self.note)
        return self.texts

    def note(self, done: int, total: int) -> None:
        self.progress.append((done, total))


@pytest.fixture
def bench(tiny_models: dict[str, Path], pictures: Path, tmp_path: Path) -> Bench:
    base = Path(shutil.copytree(tiny_models["sd1"], tmp_path / "model"))
    return Bench(base, pictures, tmp_path / "cache")


# Pictures


def test_a_second_run_encodes_no_picture_and_does_not_even_load_the_autoencoder(bench: Bench) -> None:
    assert bench.filled() == (6, [])
    assert bench.progress == [(n, 6) for n in range(1, 7)]
    assert bench.filled() == (0, [])
    assert bench.loads == 0
    assert bench.progress == [(n, 6) for n in range(1, 7)]


def test_what_comes_back_is_what_the_autoencoder_gives(bench: Bench) -> None:
    """Independent: Pillow, x / 127.5 - 1, the posterior's mean times its scale. These pictures keep their size."""
    cache = bench.cache(bucket_step=32, resolution=80)
    entries = [e for e in bench.entries(bucket_step=32, resolution=80) if e.fit.size == e.fit.resized == (64, 96)]
    assert len(entries) == 2
    cache.fill_pictures(entries, bench.load, bench.note)
    vae = bench.backbone.load_vae(CPU)
    for entry in entries:
        pixels = numpy.asarray(Image.open(entry.picture.path)).astype(numpy.float32) / 127.5 - 1
        with torch.no_grad():
            mean = vae.encode(torch.from_numpy(pixels).permute(2, 0, 1)[None]).latent_dist.mode()[0]
        latents = cache.latents(entry, False)
        assert latents.shape == (4, 12, 8)
        torch.testing.assert_close(latents, mean * 0.18215, rtol=0, atol=1e-6)


def test_an_edited_picture_is_noticed(bench: Bench) -> None:
    bench.filled()
    Image.new("RGB", (64, 64), "red").save(bench.data / "0.png")
    assert bench.filled() == (1, [])


def test_a_picture_that_was_only_touched_or_renamed_is_not_encoded_again(bench: Bench) -> None:
    bench.filled()
    os.utime(bench.data / "0.png", ns=(1, 1))
    (bench.data / "1.png").rename(bench.data / "one.png")
    assert bench.filled() == (0, [])


@pytest.mark.parametrize(
    ("changes", "encoded"),
    [
        ({"resolution": 96, "bucket_step": 32}, 6),
        ({"buckets": False}, 4),  # the square ones stay as they are
        ({"flip": True}, 6),  # the mirror images
        ({"background": "black"}, 6),
        ({"rank": 4, "seed": 7, "clip_skip": 2, "batch_size": 2, "learning_rate": 1e-3}, 0),
    ],
    ids=str,
)
def test_settings_that_change_the_picture_and_only_those_encode_it_again(
    changes: dict[str, Any], encoded: int, bench: Bench
) -> None:
    bench.filled()
    assert bench.filled(**changes)[0] == encoded
    assert bench.filled(**changes)[0] == 0
    assert bench.filled()[0] == 0  # the old ones are still there


def test_another_crop_is_encoded_on_its_own(bench: Bench) -> None:
    cache, entry = bench.cache(), bench.entries()[1]  # 96 x 64
    crops = [replace(entry, fit=Fit((64, 64), (96, 64), (x, 0))) for x in (0, 32)]
    cache.fill_pictures(crops, bench.load, bench.note)
    assert bench.pictures == 2
    assert not torch.allclose(*(cache.latents(crop, False) for crop in crops), atol=1e-3)


def test_another_autoencoder_encodes_again_and_another_unet_does_not(bench: Bench) -> None:
    bench.filled()
    for part, encoded in (("unet", 0), ("text_encoder", 0), ("vae", 6)):
        path = next((bench.base / part).glob("*.safetensors"))
        tensors = safetensors.torch.load_file(path)
        name = next(iter(tensors))
        safetensors.torch.save_file(tensors | {name: tensors[name] + 0.1}, path, {"format": "pt"})
        assert bench.filled()[0] == encoded, part


def test_a_folder_inside_a_part_of_the_model_does_no_harm(bench: Bench) -> None:
    (bench.base / "vae" / ".cache").mkdir()
    assert bench.filled() == (6, [])


def test_mirrored_latents_are_those_of_the_mirrored_picture(bench: Bench) -> None:
    cache = bench.cache(flip=True)
    entry = next(e for e in bench.entries(flip=True) if e.fit.size == e.fit.resized == (64, 64))
    cache.fill_pictures([entry], bench.load, bench.note)
    plain, mirrored = cache.latents(entry, False), cache.latents(entry, True)
    assert not torch.allclose(plain, mirrored, atol=1e-3)
    ImageOps.mirror(Image.open(entry.picture.path)).save(entry.picture.path)
    again = bench.cache()
    again.fill_pictures([entry], bench.load, bench.note)
    assert torch.equal(again.latents(entry, False), mirrored)


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_a_damaged_cache_file_counts_as_absent(damage: bytes | None, bench: Bench) -> None:
    bench.filled()
    bench.filled_texts()
    files = list(bench.cache_folder.rglob("*.safetensors"))
    assert len(files) == 6 + 3
    before = {path: path.read_bytes() for path in files}
    for path, raw in before.items():
        path.write_bytes(raw[:-5] if damage is None else damage)
    (bench.cache_folder / "content_hashes.json").write_text("{", encoding="utf-8")
    assert bench.filled() == (6, [])
    assert bench.filled_texts() == 3
    assert {path: path.read_bytes() for path in files} == before


@pytest.mark.parametrize("flip", [False, True])
def test_an_unreadable_picture_is_named_once_and_the_others_are_encoded(flip: bool, bench: Bench) -> None:
    entries = bench.entries(flip=flip)
    path = entries[2].picture.path
    path.write_bytes(path.read_bytes()[:200])
    entries[4].picture.path.unlink()
    cache = bench.cache(flip=flip)
    problems = cache.fill_pictures(entries, bench.load, bench.note)
    assert len(problems) == 2
    assert problems[0].startswith("2.png is left out: 2.png cannot be read as a picture")
    assert problems[1].startswith("4.png is left out: 4.png: No such file or directory")
    assert bench.pictures == 4 * (1 + flip)
    assert bench.progress[-1] == (6 * (1 + flip), 6 * (1 + flip))
    assert [cache.is_readable(e) for e in entries] == [True, True, False, True, False, True]


def test_latents_that_are_not_finite_are_not_kept(bench: Bench) -> None:
    cache, entries = bench.cache(), bench.entries()[:1]
    bench.backbone.encode_pictures = lambda signal: torch.full((1, 4, 8, 8), float("nan"))  # type: ignore[method-assign]
    problems = cache.fill_pictures(entries, bench.load, bench.note)
    assert problems == ["0.png is left out: 0.png gives numbers that are not finite in the autoencoder."]
    assert not cache.is_readable(entries[0])


# Captions


def test_a_second_run_encodes_no_caption_and_does_not_even_load_the_encoders(bench: Bench) -> None:
    texts = [*TEXTS, *(f"number {n}" for n in range(17)), *TEXTS]
    assert bench.filled_texts(texts) == 20  # each text once
    assert bench.progress == [(8, 20), (16, 20), (20, 20)]
    assert bench.filled_texts(texts) == 0
    assert bench.loads == 0
    assert bench.filled_texts([*texts, "a new one"]) == 1
    assert bench.progress == [(21, 21)]


@pytest.mark.parametrize("family", families.FAMILIES)
def test_what_comes_back_is_what_the_encoders_give(family: str, tiny_models: dict[str, Path], bench: Bench) -> None:
    bench.base = tiny_models[family]
    cache = bench.cache(clip_skip=2, max_tokens=150)
    cache.fill_captions(TEXTS, bench.load, bench.note)
    for text in TEXTS:
        with torch.no_grad():
            told = bench.backbone.encode_captions([text], clip_skip=2, max_tokens=150)
        kept = cache.conditioning(text)
        torch.testing.assert_close(kept.states, told.states, rtol=0, atol=1e-6)
        assert (kept.pooled is None) == (told.pooled is None)
        if kept.pooled is not None:
            torch.testing.assert_close(kept.pooled, told.pooled, rtol=0, atol=1e-6)
        assert not kept.states.requires_grad


@pytest.mark.parametrize(
    ("changes", "encoded"),
    [
        ({"clip_skip": 2}, 3),
        ({"max_tokens": 150}, 3),
        ({"dtype": torch.bfloat16}, 3),
        ({"resolution": 96, "flip": True}, 0),
    ],
    ids=str,
)
def test_settings_that_change_the_encoding_and_only_those_encode_it_again(
    changes: dict[str, Any], encoded: int, bench: Bench
) -> None:
    bench.filled_texts()
    assert bench.filled_texts(**changes) == encoded
    assert bench.filled_texts(**changes) == 0


def test_another_text_encoder_or_tokenizer_encodes_again(bench: Bench) -> None:
    bench.filled_texts()
    config = bench.base / "tokenizer" / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text(encoding="utf-8")) | {"note": 1}), encoding="utf-8")
    assert bench.filled_texts() == 3
    path = next((bench.base / "text_encoder").glob("*.safetensors"))
    tensors = {k: v * 1.5 for k, v in safetensors.torch.load_file(path).items()}
    safetensors.torch.save_file(tensors, path, {"format": "pt"})
    assert bench.filled_texts() == 3


# Without reading it


@pytest.mark.parametrize("kind", ["disk", "memory"])
def test_what_is_there_is_known_without_reading_it(kind: str, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, entries = bench.cache(cache=kind), bench.entries()
    cache.fill_pictures(entries, bench.load, bench.note)
    cache.fill_captions(TEXTS, bench.load, bench.note)

    def read(*_: object) -> None:
        raise AssertionError("nothing needs to be read to know that it is there")

    monkeypatch.setattr(type(cache._store), "get", read)
    monkeypatch.setattr(safetensors.torch, "load", read)
    cache.fill_pictures(entries, bench.load, bench.note)
    cache.fill_captions(TEXTS, bench.load, bench.note)
    assert all(cache.is_readable(entry) for entry in entries)
    assert (bench.pictures, bench.texts) == (6, 3)


def test_only_files_that_can_be_read_are_there(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    store.put("abcd", {"a": torch.zeros(3, 2), "b": torch.ones(1)})
    path = tmp_path / "ab" / "abcd.safetensors"
    raw = path.read_bytes()
    assert store.has("abcd") and not store.has("abce")
    damaged = [raw[:size] for size in range(len(raw))] + [
        raw + b"0",
        b"\xff" * 40,
        b"\x02" + bytes(7) + b"[]",
        b"\x02" + bytes(7) + b"{}",
    ]
    damaged += [raw.replace(b"data_offsets", b"data_offset_"), raw.replace(b"[", b'"', 1)]
    for some in damaged:
        path.write_bytes(some)
        assert not store.has("abcd"), some
    path.write_bytes(raw)
    assert store.has("abcd")


def test_latents_in_bf16_are_others_and_nearly_the_same(bench: Bench) -> None:
    exact, entries = bench.cache(), bench.entries()
    exact.fill_pictures(entries, bench.load, bench.note)
    for encoded in (6, 0):
        rounded = bench.cache(vae_dtype=torch.bfloat16)
        rounded.fill_pictures(entries, bench.load, bench.note)
        assert bench.pictures == encoded
    assert bench.filled() == (0, [])
    latents = [torch.cat([cache.latents(e, False).flatten() for e in entries]) for cache in (exact, rounded)]
    assert latents[0].dtype is latents[1].dtype is torch.float32
    error = (latents[1] - latents[0]).square().mean().sqrt() / latents[0].std()
    assert 1e-4 < error < 0.03


# Where it is kept


def test_a_memory_cache_leaves_no_file_and_ends_with_its_run(bench: Bench) -> None:
    cache, entries = bench.cache(cache="memory"), bench.entries()
    cache.fill_pictures(entries, bench.load, bench.note)
    cache.fill_captions(TEXTS, bench.load, bench.note)
    cache.fill_pictures(entries, bench.load, bench.note)
    assert (bench.pictures, bench.texts) == (6, 3)
    assert cache.latents(entries[0], False).shape == (4, 8, 8)
    assert cache.conditioning("a hat").states.shape == (1, 77, 32)
    assert not bench.cache_folder.exists()
    assert bench.filled(cache="memory") == (6, [])


def test_what_is_gone_is_said(bench: Bench) -> None:
    cache, entry = bench.cache(), bench.entries()[0]
    with pytest.raises(RunError, match=r"cached picture of 0\.png is gone\. Start the run again"):
        cache.latents(entry, False)
    with pytest.raises(RunError, match=r'cached caption "a hat" is gone\. Start the run again'):
        cache.conditioning("a hat")


def test_a_cache_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = DiskStore(tmp_path / "file")
    assert store.get("abcd") is None
    with pytest.raises(RunError, match=r"The cache folder .*file cannot be written"):
        store.put("abcd", {"a": torch.zeros(1)})


@pytest.mark.parametrize(
    ("platform", "variable", "expected"),
    [
        ("linux", "XDG_CACHE_HOME", "lora-atelier"),
        ("win32", "LOCALAPPDATA", "lora-atelier"),
        ("linux", "LORA_ATELIER_CACHE", "."),
    ],
)
def test_the_users_cache_folder_is_the_platforms(
    platform: str, variable: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LORA_ATELIER_CACHE")
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv(variable, str(tmp_path))
    assert caches.user_cache_folder() == tmp_path / expected


def test_masks_are_kept_beside_the_latents_at_their_size(bench: Bench) -> None:
    entry = next(e for e in bench.entries(flip=True) if e.fit.size == e.fit.resized == (64, 64))
    mask = Image.new("L", (64, 64), 0)
    mask.paste(255, (0, 0, 32, 64))  # the left half
    mask.save(entry.picture.path.with_name("mask.png"))
    entry = replace(entry, picture=replace(entry.picture, mask=entry.picture.path.with_name("mask.png")))
    cache = bench.cache(masked_loss=True)
    assert cache.fill_pictures([entry], bench.load, bench.note) == []
    latents, found = cache.picture(entry, False)
    assert found is not None and found.shape == (1, *latents.shape[1:])
    half = found.shape[2] // 2
    assert torch.equal(found[..., :half], torch.ones(1, found.shape[1], half)) and not found[..., half:].any()
    mirrored = cache.picture(entry, True)[1]
    assert mirrored is not None and torch.equal(mirrored, found.flip(2))
    plain = bench.cache()
    plain.fill_pictures([entry], bench.load, bench.note)
    assert plain.picture(entry, False)[1] is None and torch.equal(plain.latents(entry, False), latents)
    mask.paste(255, (0, 0, 64, 64))
    mask.save(entry.picture.path.with_name("mask.png"))
    again = bench.cache(masked_loss=True)
    again.fill_pictures([entry], bench.load, bench.note)
    whole = again.picture(entry, False)[1]
    assert whole is not None and bool((whole == 1).all())  # another mask is noticed


def test_weights_in_a_prompt_have_their_own_encodings(bench: Bench) -> None:
    told = {}
    for weights in (False, True):
        cache = bench.cache(prompt_weights=weights)
        cache.fill_captions(["a (hat:1.5)"], bench.load, bench.note)
        told[weights] = cache.conditioning("a (hat:1.5)").states
        assert bench.texts == 1
    assert not torch.equal(told[False], told[True])


def test_a_crop_is_noticed_and_encoded(bench: Bench) -> None:
    entry = bench.entries()[0]
    cache = bench.cache()
    cache.fill_pictures([entry], bench.load, bench.note)
    cropped = replace(entry, fit=replace(entry.fit, box=(4, 4, 40, 40)))
    cache.fill_pictures([cropped], bench.load, bench.note)
    assert bench.pictures == 2
    assert not torch.equal(cache.latents(cropped, False), cache.latents(entry, False))
