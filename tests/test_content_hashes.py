"""content_hashes.py: files are read once, and a base model's hashes are there when the run needs them."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from trainer import content_hashes, lora_file, settings_file
from trainer.content_hashes import ContentHashes, ModelHashes
from trainer.errors import ModelError
from trainer.metadata import Hashes

if TYPE_CHECKING:
    from trainer.settings import TrainingSettings


def settings(tmp_path: Path, **changes: object) -> TrainingSettings:
    """With a base file of 2 MB."""
    base = tmp_path / "base.safetensors"
    if not base.exists():
        base.write_bytes(b"base" * (1 << 19))
    given = {"base": str(base), "data": str(tmp_path), "trigger": "x", "cache_folder": str(tmp_path / "cache")}
    return settings_file.from_dict(given | changes)


def hashes_of(path: Path) -> Hashes:
    raw = path.read_bytes()
    return Hashes(hashlib.sha256(raw[0x100000 : 0x100000 + 0x10000]).hexdigest()[:8], hashlib.sha256(raw).hexdigest())


@pytest.mark.parametrize("text", ["{", "[]", "[1]", "3", '"x"'])
def test_a_damaged_list_of_hashes_only_means_that_files_are_read_again(text: str, tmp_path: Path) -> None:
    (tmp_path / "hashes.json").write_text(text, encoding="utf-8")
    (tmp_path / "a").write_bytes(b"a")
    assert len(ContentHashes(tmp_path / "hashes.json").of(tmp_path / "a")) == 32


def test_an_unchanged_file_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"a")
    first = ContentHashes(tmp_path / "hashes.json")
    digest = first.of(tmp_path / "a")
    first.save()
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("it was read"))
    assert ContentHashes(tmp_path / "hashes.json").of(tmp_path / "a") == digest


def test_the_hashes_of_base_and_vae_files_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vae = tmp_path / "vae.safetensors"
    vae.write_bytes(b"vae")
    given = settings(tmp_path, vae=str(vae))
    told: list[str] = []
    assert ModelHashes(given).result(told.append) == (hashes_of(tmp_path / "base.safetensors"), hashes_of(vae))
    monkeypatch.setattr(lora_file, "file_sha256", lambda *_: pytest.fail("it was read again"))
    assert ModelHashes(given).result(told.append) == (hashes_of(tmp_path / "base.safetensors"), hashes_of(vae))


def test_folders_and_no_vae_have_none(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    assert ModelHashes(settings(tmp_path, base=str(tmp_path / "model"))).result(pytest.fail) == (None, None)


def test_who_has_to_wait_for_a_hash_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told, may_go_on = [], threading.Event()

    def slow(path: Path) -> str:
        assert may_go_on.wait(30)
        return "0" * 64

    def tell(words: str) -> None:
        told.append(words)
        may_go_on.set()

    monkeypatch.setattr(content_hashes.lora_file, "file_sha256", slow)
    base, _ = ModelHashes(settings(tmp_path, cache="memory")).result(tell)
    assert base is not None and base.sha256 == "0" * 64
    assert told == ["Computing the hash of the base model"]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = settings(tmp_path)

    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(content_hashes.lora_file, "file_sha256", refuse)
    with pytest.raises(ModelError, match=r"base\.safetensors cannot be read: .*ermission"):
        ModelHashes(given).result(lambda _: None)
