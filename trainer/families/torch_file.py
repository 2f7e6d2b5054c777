"""Header of a .ckpt / .pt file: names, shapes and places of its tensors. Nothing in it is ever run. Imports no torch.

torch.save writes a zip with a pickle (`data.pkl`) and one entry a storage; before 1.6 a row of pickles with the storages
behind them. A pickle is a program that can call anything, so it is not executed here: its instructions are walked through
and only data (strings, numbers, tables, tensors' descriptions) are kept. Whatever it would call is noted by name.
"""

from __future__ import annotations

import math
import zipfile
from typing import TYPE_CHECKING, Any, BinaryIO

from trainer.errors import ModelError, os_message
from trainer.families.pickle_walk import DAMAGE, Tensor, Walk, walk_through
from trainer.lora_file import DTYPE_BYTES, Header, shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SUFFIXES = (".ckpt", ".pt", ".pth", ".bin")
MAX_PICKLE_BYTES = 64_000_000
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
# What trainers leave in checkpoints besides tensors; all else that a file would call is refused by name.
_HARMLESS = ("torch.", "collections.", "numpy.", "pytorch_lightning.", "lightning.", "lightning_fabric.", "omegaconf.", "argparse.Namespace", "_codecs.encode", "pathlib.")  # fmt: skip
_HARMLESS_BUILTINS = {f"{m}.{n}" for m in ("builtins", "__builtin__") for n in ("set", "dict", "list", "int", "float", "str", "bool", "slice", "tuple", "bytearray", "complex", "range", "object", "frozenset")}  # fmt: skip
_HARMFUL = (
    "torch.hub",
    "torch.package",
    "torch.load",
    "torch.jit",
    "numpy.load",
    "numpy.f2py",
    "numpy.testing",
    "numpy.distutils",
)


def is_torch_file(path: Path) -> bool:
    """Whether the file begins as torch.save writes, whatever it is called."""
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError:
        return False
    # A .safetensors file begins with the length of its header, whose upper four bytes are always zero, and a brace.
    if path.suffix.lower() in SUFFIXES and start[8:] != b"{":
        return True
    return start[:4] == b"PK\x03\x04" or (start[:1] == b"\x80" and start[4:8] != b"\0\0\0\0")


def read_torch_header(path: Path) -> Header:
    """Names, shapes and places of a .ckpt / .pt file's tensors; of several tables the `state_dict` is taken.

    Raises:
        ModelError: the file is cut off, in another format, or would run code.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            walk, starts = _zip(file, size) if file.read(4) == b"PK\x03\x04" else _legacy(file, size)
    except OSError as error:
        raise ModelError(os_message(f"{path} cannot be read", error)) from None
    except ModelError as error:
        raise ModelError(f"{path.name} {error}") from None
    except (zipfile.BadZipFile, RuntimeError, *DAMAGE):  # RuntimeError: an encrypted zip
        raise ModelError(
            f"{path.name} is no checkpoint of torch, or it is damaged or cut off. Copy it again."
        ) from None
    if bad := sorted(name for name in walk.called if not _is_harmless(name)):
        raise ModelError(
            f"{path.name} holds program code ({shown(bad[0])}), which was not run. Do not trust this file; get the model as .safetensors."
        )
    return _header(path, walk.result, starts, size)


def _is_harmless(name: str) -> bool:
    return name in _HARMLESS_BUILTINS or (name.startswith(_HARMLESS) and not name.startswith(_HARMFUL))


def _header(path: Path, result: Any, starts: dict[str, int], size: int) -> Header:
    table = result.get("state_dict", result) if isinstance(result, dict) else {}
    tensors = {_text(k): v for k, v in table.items() if isinstance(v, Tensor)} if isinstance(table, dict) else {}
    if isinstance(result, dict) and not tensors:
        tensors = dict(_deeper(result))
    spans = {}
    for name, tensor in tensors.items():
        width = DTYPE_BYTES[tensor.storage.dtype]
        start, count = starts.get(tensor.storage.key), math.prod(tensor.shape)
        if start is None or min(tensor.start, *tensor.shape, 0) < 0 or tensor.start + count > tensor.storage.count:
            raise ModelError(f"{path.name} is damaged: the place of {shown(name)} does not fit its shape.")
        spans[name] = (start + tensor.start * width, start + (tensor.start + count) * width)
        if spans[name][1] > size:
            raise ModelError(f"{path.name} is cut off: {shown(name)} is not whole. Copy it again.")
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    return Header({}, shapes, {name: tensor.storage.dtype for name, tensor in tensors.items()}, 0, spans)


def _deeper(result: dict[Any, Any]) -> Iterator[tuple[str, Tensor]]:
    """Tensors in tables within the table, and in lists of such tables, as embeddings and hypernetworks have them."""
    for name, inner in result.items():
        tables = {f".{i}": table for i, table in enumerate(inner)} if isinstance(inner, list | tuple) else {"": inner}
        for middle, table in tables.items():
            if isinstance(table, dict):
                yield from ((f"{_text(name)}{middle}.{_text(k)}", v) for k, v in table.items() if isinstance(v, Tensor))


def _text(key: Any) -> str:
    """A key as text that can be shown; pickles may hold halves of surrogate pairs."""
    return str(key).encode("utf-8", "replace").decode()


def _zip(file: BinaryIO, size: int) -> tuple[Walk, dict[str, int]]:
    """Of the zip: the walked pickle, and where each storage's bytes begin (torch stores them uncompressed)."""
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        pickles = [e for e in entries if e.filename.rsplit("/", 1)[-1] == "data.pkl"]
        if not pickles:
            raise ModelError("is a zip file, but no checkpoint of torch.")
        if pickles[0].compress_type != zipfile.ZIP_STORED:  # a small file could become a very large one
            raise ModelError("was packed again after torch wrote it. Unpack it, or get the model as .safetensors.")
        if pickles[0].file_size > min(MAX_PICKLE_BYTES, size):
            raise ModelError("has a table of contents that is too large to be true.")
        with archive.open(pickles[0]) as data:
            walk = walk_through(data, pickles[0].file_size)
        folder = pickles[0].filename.removesuffix("data.pkl") + "data/"
        starts = {}
        for entry in entries:
            if entry.filename.startswith(folder) and entry.compress_type == zipfile.ZIP_STORED:
                file.seek(max(0, entry.header_offset) + 26)
                lengths = file.read(4)
                gap = int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
                starts[entry.filename.removeprefix(folder)] = max(0, entry.header_offset) + 30 + gap
    return walk, starts


def _legacy(file: BinaryIO, size: int) -> tuple[Walk, dict[str, int]]:
    """Of the format before torch 1.6: magic, protocol, machine, data, names of storages; then each storage's count and bytes."""
    file.seek(0)
    if walk_through(file, size).result != _LEGACY_MAGIC:
        raise ModelError("is no checkpoint of torch.")
    walk_through(file, size), walk_through(file, size)
    walk = walk_through(file, size)
    starts: dict[str, int] = {}
    at = None
    for key in walk_through(file, size).result:
        at = file.tell() if at is None else at
        if at > size - 8:
            raise ModelError("is cut off. Copy it again.")
        file.seek(at)
        count = int.from_bytes(file.read(8), "little")
        starts[key] = at + 8
        at += 8 + count * DTYPE_BYTES[walk.storages[key].dtype]
    return walk, starts
