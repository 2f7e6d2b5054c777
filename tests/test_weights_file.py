"""Model files that are written tensor by tensor: a disk that is full or returns other bytes, files that shrink."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from trainer import weights_file
from trainer.errors import ModelError, RunError
from trainer.tasks import quiet
from trainer.weights_file import Entry, Reader

if TYPE_CHECKING:
    from pathlib import Path

ENTRIES = [Entry("a", "F32", (2, 3)), Entry("b", "F16", (3,)), Entry("none", "F16", (0, 4))]


def data(entry: Entry) -> list[bytes]:
    return [bytes([ord(entry.name[0])]) * entry.size_bytes]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    weights_file.write(tmp_path / "x.safetensors", ENTRIES, {"a": "\u00e9"}, data, quiet)
    with Reader(tmp_path / "x.safetensors") as reader:
        assert reader.header.metadata == {"a": "\u00e9"}
        assert reader.header.shapes == {"a": (2, 3), "b": (3,), "none": (0, 4)}
        assert bytes(reader.tensor("a")) == b"a" * 24 == b"".join(bytes(part) for part in reader.chunks("a"))
        assert reader.tensor("b", 1) == b"bb" and reader.tensor("none") == b"" and list(reader.chunks("none")) == []


def test_a_full_disk_is_told_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 20

    monkeypatch.setattr("trainer.weights_file.shutil.disk_usage", lambda path: Usage)
    with pytest.raises(RunError, match=r"^x\.safetensors needs 0\.0 GB, and only 0\.0 GB are free on its disk"):
        weights_file.write(tmp_path / "new" / "x.safetensors", ENTRIES, {}, data, quiet)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_returns_other_bytes_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.weights_file.sha256", lambda *_: "0" * 64)
    with pytest.raises(RunError, match=r"^x\.safetensors did not come back as it was written"):
        weights_file.write(tmp_path / "x.safetensors", ENTRIES, {}, data, quiet)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RunError, match=r"^x\.safetensors could not be written"):
        weights_file.write(tmp_path / "file" / "x.safetensors", ENTRIES, {}, data, quiet)


def test_a_file_that_shrinks_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    weights_file.write(path, ENTRIES, {}, data, quiet)
    with Reader(path) as reader:
        with path.open("rb+") as raw:
            raw.truncate(path.stat().st_size - 4)
        assert bytes(reader.tensor("a")) == b"a" * 24
        with pytest.raises(ModelError, match=r"^x\.safetensors is cut off at b\. Copy it again\.$"):
            list(reader.chunks("b"))
