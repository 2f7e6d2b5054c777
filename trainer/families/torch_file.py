"""Header of a .ckpt / .pt file: names, shapes and places of its tensors. Nothing in it is ever run. Imports no torch.

torch.save writes a zip with a pickle (`data.pkl`) and one entry a storage; before 1.6 a row of pickles with the storages
behind them. A pickle is a program that can call anything, so it is not executed here: its instructions are walked through
and only data (strings, numbers, tables, tensors' descriptions) are kept. Whatever it would call is noted by name.
"""

from __future__ import annotations

import math
import pickletools
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

from trainer.errors import ModelError, os_message
from trainer.lora_file import DTYPE_BYTES, Header

if TYPE_CHECKING:
    from pathlib import Path

SUFFIXES = (".ckpt", ".pt", ".pth", ".bin")
MAX_PICKLE_BYTES = 64_000_000
_MAX_INSTRUCTIONS = 4_000_000
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {
    "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16", "DoubleStorage": "F64", "LongStorage": "I64", "IntStorage": "I32",
    "ShortStorage": "I16", "CharStorage": "I8", "ByteStorage": "U8", "BoolStorage": "BOOL", "UntypedStorage": "U8",
}  # fmt: skip
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


@dataclass(frozen=True)
class _Named:
    """Something of a Python module, by name only."""

    name: str


@dataclass(frozen=True)
class _Storage:
    dtype: str
    key: str
    count: int


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    start: int
    shape: tuple[int, ...]


@dataclass
class _Walk:
    """What walking through a pickle has found."""

    result: Any = None
    called: set[str] = field(default_factory=set)


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
            if file.read(4) == b"PK\x03\x04":
                walk, starts = _zip(file)
            else:
                file.seek(0)
                walk, starts = _legacy(file)
            size = file.seek(0, 2)
    except OSError as error:
        raise ModelError(os_message(f"{path} cannot be read", error)) from None
    except ModelError as error:
        raise ModelError(f"{path.name} {error}") from None
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        EOFError,
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        AttributeError,
        RecursionError,
        OverflowError,
        StopIteration,
        MemoryError,
    ):
        raise ModelError(
            f"{path.name} is no checkpoint of torch, or it is damaged or cut off. Copy it again."
        ) from None
    if bad := sorted(name for name in walk.called if not _is_harmless(name)):
        raise ModelError(
            f"{path.name} holds program code ({bad[0]}), which was not run. Do not trust this file; get the model as .safetensors."
        )
    return _header(path, walk.result, starts, size)


def _is_harmless(name: str) -> bool:
    return name in _HARMLESS_BUILTINS or (name.startswith(_HARMLESS) and not name.startswith(_HARMFUL))


def _header(path: Path, result: Any, starts: dict[str, int], size: int) -> Header:
    table = result.get("state_dict", result) if isinstance(result, dict) else {}
    tensors = {str(k): v for k, v in table.items() if isinstance(v, _Tensor)} if isinstance(table, dict) else {}
    if isinstance(result, dict) and not tensors:
        tensors = {
            f"{name}.{k}": v
            for name, inner in result.items() if isinstance(inner, dict)
            for k, v in inner.items() if isinstance(v, _Tensor)
        }  # fmt: skip
    spans = {}
    for name, tensor in tensors.items():
        width = DTYPE_BYTES[tensor.storage.dtype]
        start, count = starts.get(tensor.storage.key), math.prod(tensor.shape)
        if start is None or min(tensor.start, *tensor.shape, 0) < 0 or tensor.start + count > tensor.storage.count:
            raise ModelError(f"{path.name} is damaged: the place of {name} does not fit its shape.")
        spans[name] = (start + tensor.start * width, start + (tensor.start + count) * width)
        if spans[name][1] > size:
            raise ModelError(f"{path.name} is cut off: {name} is not whole. Copy it again.")
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    return Header({}, shapes, {name: tensor.storage.dtype for name, tensor in tensors.items()}, 0, spans)


def _zip(file: BinaryIO) -> tuple[_Walk, dict[str, int]]:
    """Of the zip: the walked pickle, and where each storage's bytes begin (torch stores them uncompressed)."""
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        pickles = [e for e in entries if e.filename.rsplit("/", 1)[-1] == "data.pkl"]
        if not pickles:
            raise ModelError("is a zip file, but no checkpoint of torch.")
        if pickles[0].file_size > MAX_PICKLE_BYTES:
            raise ModelError("has a table of contents that is too large to be true.")
        with archive.open(pickles[0]) as data:
            walk = _walk(data)
        folder = pickles[0].filename.removesuffix("data.pkl") + "data/"
        starts = {}
        for entry in entries:
            if entry.filename.startswith(folder) and entry.compress_type == zipfile.ZIP_STORED:
                file.seek(entry.header_offset + 26)
                name_length, extra_length = (
                    int.from_bytes(file.read(2), "little"),
                    int.from_bytes(file.read(2), "little"),
                )
                starts[entry.filename.removeprefix(folder)] = entry.header_offset + 30 + name_length + extra_length
    return walk, starts


def _legacy(file: BinaryIO) -> tuple[_Walk, dict[str, int]]:
    """Of the format before torch 1.6: magic, protocol, machine, data, names of storages; then each storage's count and bytes."""
    if _walk(file).result != _LEGACY_MAGIC:
        raise ModelError("is no checkpoint of torch.")
    _walk(file), _walk(file)
    walk = _Walk()
    storages: dict[str, _Storage] = {}
    _walk(file, walk, storages)
    starts = {}
    for key in _walk(file).result:
        count = int.from_bytes(file.read(8), "little")
        starts[key] = file.tell()
        file.seek(count * DTYPE_BYTES[storages[key].dtype], 1)
    return walk, starts


_MARK = object()


def _walk(file: Any, walk: _Walk | None = None, storages: dict[str, _Storage] | None = None) -> _Walk:
    """Walks through one pickle with a stack of data, as a reader of bytecode, not as an interpreter."""
    walk = walk or _Walk()
    stack: list[Any] = []
    memo: dict[Any, Any] = {}
    for n, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if n > _MAX_INSTRUCTIONS:
            raise ModelError("has a table of contents that is too long to be true.")
        name = opcode.name
        if name == "STOP":
            walk.result = stack[-1]
            break
        if name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if name == "MEMOIZE" else argument] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name in ("BINPERSID", "PERSID"):
            found = _storage(stack.pop() if name == "BINPERSID" else argument)
            if storages is not None and isinstance(found, _Storage):
                storages[found.key] = found
            stack.append(found)
        elif not _build(name, stack) and not _call(name, argument, stack, walk):
            _push(name, argument, stack)
    return walk


def _push(name: str, argument: Any, stack: list[Any]) -> None:
    """Instructions that put a constant on the stack or take one away."""
    empty = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
    if name == "MARK":
        stack.append(_MARK)
    elif name in empty:
        stack.append(empty[name])
    elif name in ("EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "EMPTY_SET"):
        stack.append({"EMPTY_DICT": {}, "EMPTY_LIST": [], "EMPTY_TUPLE": (), "EMPTY_SET": []}[name])
    elif name == "POP":
        stack.pop()
    elif name == "POP_MARK":
        _to_mark(stack)
    elif name == "DUP":
        stack.append(stack[-1])
    elif argument is not None and name not in ("PROTO", "FRAME"):
        stack.append(argument)


def _build(name: str, stack: list[Any]) -> bool:
    """Instructions that fill tables, lists and tuples; False for others."""
    if name in ("TUPLE1", "TUPLE2", "TUPLE3"):
        count = int(name[-1])
        stack[-count:] = [tuple(stack[-count:])]
    elif name == "TUPLE":
        stack.append(tuple(_to_mark(stack)))
    elif name in ("LIST", "FROZENSET"):
        stack.append(_to_mark(stack))
    elif name == "DICT":
        items = _to_mark(stack)
        stack.append({})
        _fill(stack[-1], items)
    elif name in ("SETITEM", "SETITEMS"):
        items = [stack.pop(-2), stack.pop()] if name == "SETITEM" else _to_mark(stack)
        _fill(stack[-1], items)
    elif name in ("APPEND", "APPENDS", "ADDITEMS"):
        added = [stack.pop()] if name == "APPEND" else _to_mark(stack)
        if isinstance(stack[-1], list):
            stack[-1].extend(added)
    else:
        return False
    return True


def _call(name: str, argument: Any, stack: list[Any], walk: _Walk) -> bool:
    """Instructions that name or would call something: tensors and tables are understood, the rest stays a name."""
    if name in ("GLOBAL", "STACK_GLOBAL", "INST"):
        if name == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            text = f"{module}.{attribute}"
        else:
            text = str(argument).replace(" ", ".", 1)
        if name == "INST":
            _to_mark(stack)
        walk.called.add(text)
        stack.append(_Named(text))
    elif name in ("REDUCE", "NEWOBJ"):
        arguments, called = stack.pop(), stack.pop()
        stack.append(_made(called, arguments))
    elif name == "NEWOBJ_EX":
        del stack[-3:]
        stack.append(None)
    elif name == "OBJ":
        _to_mark(stack)
        stack.append(None)
    elif name == "BUILD":
        stack.pop()
    elif name in ("EXT1", "EXT2", "EXT4"):
        walk.called.add(f"extension {argument}")
        stack.append(None)
    else:
        return False
    return True


def _made(called: Any, arguments: Any) -> Any:
    """What a call would give: a tensor's description, an empty table, or nothing."""
    name = called.name if isinstance(called, _Named) else ""
    if name == "collections.OrderedDict":
        return {}
    if name.startswith("torch._utils._rebuild_parameter"):
        return arguments[0]
    if name == "torch._utils._rebuild_tensor_v2" or name == "torch._utils._rebuild_tensor":
        storage, start, shape, stride = arguments[:4]
        if not isinstance(storage, _Storage) or any(type(n) is not int for n in (start, *shape, *stride)):
            return None
        expected, step = [], 1
        for length in reversed(shape):
            expected.append(step)
            step *= length
        usual = list(reversed(expected))
        if any(length > 1 and a != b for length, a, b in zip(shape, stride, usual, strict=True)):
            return None  # a transposed view: nobody shares such a checkpoint; its weight counts as missing
        return _Tensor(storage, start, tuple(shape))
    return None


def _storage(identity: Any) -> Any:
    """A storage from its persistent id ("storage", type, key, device, count, ...)."""
    if (
        not isinstance(identity, tuple)
        or len(identity) < 5
        or identity[0] != "storage"
        or not isinstance(identity[1], _Named)
    ):
        return None
    dtype = _DTYPES.get(identity[1].name.rsplit(".", 1)[-1])
    return None if dtype is None or type(identity[4]) is not int else _Storage(dtype, str(identity[2]), identity[4])


def _fill(table: Any, items: list[Any]) -> None:
    if isinstance(table, dict):
        table.update({k: v for k, v in zip(items[::2], items[1::2], strict=True) if isinstance(k, str | int)})


def _to_mark(stack: list[Any]) -> list[Any]:
    """What lies above the last mark, which is taken away too."""
    position = next(i for i in range(len(stack) - 1, -1, -1) if stack[i] is _MARK)
    taken = stack[position + 1 :]
    del stack[position:]
    return taken
