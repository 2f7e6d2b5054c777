"""Reads and writes model files tensor by tensor, so that memory never holds a whole model. Imports no torch.

Written are .safetensors (https://github.com/huggingface/safetensors#format), read also .ckpt / .pt. Tensors are raw bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy

from trainer.errors import ModelError, RunError, os_message
from trainer.families.headers import read
from trainer.lora_file import DTYPE_BYTES
from trainer.run_folder import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from trainer.tasks import Tell

_CHUNK_BYTES = 1 << 22
_HASHES = {"modelspec.hash_sha256": "0x", "sshs_model_hash": ""}  # of the data section, and how they begin
_NO_DIGEST = "0" * 64  # stands in the header until the data is written; as long as what replaces it
# Numbers whose exponent has all bits set are NaN or infinite (IEEE 754); bf16 has fp32's exponent.
_EXPONENTS = {
    "F64": ("<u8", 0x7FF0 << 48),
    "F32": ("<u4", 0x7F80 << 16),
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
}

Buffer = bytes | bytearray | memoryview


class Reader:
    """A model file, open for reading one tensor after the other; a context manager.

    Attributes:
        path, header: of the file.
    """

    def __init__(self, path: Path) -> None:
        """Opens the file.

        Raises:
            ModelError: it cannot be read, is damaged, or would run code.
        """
        self.path, self.header = path, read(path)
        try:
            self._file = path.open("rb", buffering=0)
        except OSError as error:
            raise ModelError(os_message(f"{path} cannot be read", error)) from None

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def tensor(self, name: str, third: int | None = None) -> bytearray:
        """The bytes of a tensor, or of that third (0, 1, 2) of its rows.

        Raises:
            ModelError: the file cannot be read.
        """
        start, stop = self.header.spans[name]
        if third is not None:
            start, stop = start + third * ((stop - start) // 3), start + (third + 1) * ((stop - start) // 3)
        out = bytearray(stop - start)
        self._fill(memoryview(out), start, name)
        return out

    def chunks(self, name: str) -> Iterator[Buffer]:
        """The bytes of a tensor, a few MB at a time; each is good until the next is asked for.

        Raises:
            ModelError: the file cannot be read.
        """
        start, stop = self.header.spans[name]
        buffer = memoryview(bytearray(min(_CHUNK_BYTES, stop - start)))
        while start < stop:
            part = buffer[: stop - start]
            self._fill(part, start, name)
            yield part
            start += len(part)

    def _fill(self, left: memoryview, start: int, name: str) -> None:
        try:
            self._file.seek(start)
            while len(left):
                count = self._file.readinto(left) or 0
                if count == 0:
                    raise ModelError(f"{self.path.name} is cut off at {name}. Copy it again.")
                left = left[count:]
        except OSError as error:
            raise ModelError(os_message(f"{self.path} cannot be read", error)) from None


@dataclass(frozen=True)
class Entry:
    """A tensor to be written. dtype: as the format names it, e.g. "F16"."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """How long its data is."""
        return math.prod(self.shape) * DTYPE_BYTES[self.dtype]


def write(
    path: Path,
    entries: Sequence[Entry],
    metadata: Mapping[str, str],
    data: Callable[[Entry], Iterable[Buffer]],
    tell: Tell,
) -> None:
    """Writes a .safetensors file and reads it back; nothing is left behind unless it is whole. `path` is replaced.

    data: gives the bytes of each entry when its turn comes. Hashes of the data that stand in the metadata are made anew.

    Raises:
        RunError: there is no room, the file cannot be written, or did not come back as it was written.
        Cancelled: by `tell`.
    """
    said = {key: value for key, value in metadata.items() if key != "sshs_legacy_hash"}  # depends on the header itself
    said |= {key: start + _NO_DIGEST for key, start in _HASHES.items() if key in said}
    header = _header(entries, said)
    total = sum(entry.size_bytes for entry in entries)

    def whole(partial: Path) -> None:
        digest = hashlib.sha256()
        with partial.open("wb") as file:
            file.write(header)
            for done, entry in enumerate(entries):
                tell("Writing the model", done, len(entries))
                start = file.tell()
                for part in data(entry):
                    digest.update(part)
                    file.write(part)
                assert file.tell() - start == entry.size_bytes, entry
            if any(key in said for key in _HASHES):
                told = {key: start + digest.hexdigest() for key, start in _HASHES.items() if key in said}
                file.seek(0)
                file.write(_header(entries, said | told))
        tell("Writing the model", len(entries), len(entries))
        if sha256(partial, tell, "Reading the model back", len(header)) != digest.hexdigest():
            raise RunError(f"{path.name} did not come back as it was written. Check the disk and try again.")

    try:
        _require_room(path, len(header) + total)
        write_atomically(path, whole)
    except OSError as error:
        raise RunError(os_message(f"{path.name} could not be written", error)) from None


def sha256(path: Path, tell: Tell, label: str, start: int = 0) -> str:
    """As `lora_file.file_sha256`, telling how many MB are read.

    Raises:
        OSError: the file cannot be read.
        Cancelled: by `tell`.
    """
    digest, total = hashlib.sha256(), (path.stat().st_size - start) // 1_000_000
    with path.open("rb") as file:
        file.seek(start)
        while chunk := file.read(_CHUNK_BYTES):
            tell(label, min(total, (file.tell() - start) // 1_000_000), total)
            digest.update(chunk)
    return digest.hexdigest()


def not_finite(path: Path) -> str:
    """The name of a tensor that holds a NaN or an infinity; empty when there is none.

    Raises:
        ModelError: the file cannot be read.
    """
    with Reader(path) as reader:
        for name, dtype in reader.header.dtypes.items():
            if dtype in _EXPONENTS:
                whole, bits = _EXPONENTS[dtype]
                if any(((numpy.frombuffer(part, whole) & bits) == bits).any() for part in reader.chunks(name)):
                    return name
    return ""


def _header(entries: Sequence[Entry], metadata: Mapping[str, str]) -> bytes:
    """Length and header, padded so that the data begins at a multiple of 8 bytes."""
    table: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for entry in entries:
        span = [end, end + entry.size_bytes]
        table[entry.name] = {"dtype": entry.dtype, "shape": list(entry.shape), "data_offsets": span}
        end = span[1]
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _require_room(path: Path, size_bytes: int) -> None:
    folder = next((p for p in path.absolute().parents if p.is_dir()), None)
    free = shutil.disk_usage(folder).free if folder else size_bytes
    if free < size_bytes:
        raise RunError(
            f"{path.name} needs {size_bytes / 1e9:.1f} GB, and only {free / 1e9:.1f} GB are free on its disk. Free some space, or choose another folder."
        )
