"""Walks through a pickle as a reader of bytecode: its data are kept, nothing in it is ever run. Imports no torch.

A pickle is a program that can call anything. Its instructions are gone through with a stack of plain data; what it would
call is noted by name, tensors' descriptions and empty tables are understood, all else becomes nothing. Strangers write these
files, so lengths that they give are never trusted: no read goes beyond the file, and no object is turned into text.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass, field
from typing import IO, Any, cast

from trainer.errors import ModelError

MAX_DIMENSIONS = 32
_MAX_INSTRUCTIONS = 4_000_000
_DTYPES = {
    "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16", "DoubleStorage": "F64", "LongStorage": "I64", "IntStorage": "I32",
    "ShortStorage": "I16", "CharStorage": "I8", "ByteStorage": "U8", "BoolStorage": "BOOL", "UntypedStorage": "U8",
}  # fmt: skip
# What a damaged pickle makes pickletools and the walk raise. DeprecationWarning: of escapes in names, where warnings are errors.
DAMAGE = (EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError, OverflowError, StopIteration, MemoryError, DeprecationWarning)  # fmt: skip


@dataclass(frozen=True)
class _Named:
    """Something of a Python module, by name only."""

    name: str


@dataclass(frozen=True)
class Storage:
    """Where tensors' numbers lie. key: its name in the file; count: of numbers."""

    dtype: str
    key: str
    count: int


@dataclass(frozen=True)
class Tensor:
    """A tensor's description. start: its first number in the storage."""

    storage: Storage
    start: int
    shape: tuple[int, ...]


@dataclass
class Walk:
    """What walking through a pickle has found. called: names of what it would call."""

    result: Any = None
    called: set[str] = field(default_factory=set)
    storages: dict[str, Storage] = field(default_factory=dict)


class _Bounded:
    """A file of which no more is read than is there: a length of 9 GB in a small file would ask for a buffer of 9 GB."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._size = file, size
        self.tell = file.tell

    def read(self, count: int) -> bytes:
        left = max(0, self._size - self.tell())
        if count > left:
            raise EOFError("the pickle is cut off")
        return self._file.read(count)

    def readline(self) -> bytes:
        return self._file.readline()


_MARK = object()


def walk_through(file: IO[bytes], size: int) -> Walk:
    """Walks through the pickle that begins where the file stands, and leaves it behind its end. size: of the file.

    Raises:
        ModelError: it is too long to be true.
        Exception: one of DAMAGE, when it is no pickle that torch would write.
    """
    walk = Walk()
    stack: list[Any] = []
    memo: dict[Any, Any] = {}
    for n, (opcode, argument, _) in enumerate(pickletools.genops(cast("IO[bytes]", _Bounded(file, size)))):
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
            if isinstance(found, Storage):
                walk.storages[found.key] = found
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


def _call(name: str, argument: Any, stack: list[Any], walk: Walk) -> bool:
    """Instructions that name or would call something: tensors and tables are understood, the rest stays a name."""
    if name in ("GLOBAL", "STACK_GLOBAL", "INST"):
        if name == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            if not isinstance(attribute, str) or not isinstance(module, str):
                raise ValueError("a name that is no text")  # of nested tuples, text could grow without end
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
        if not isinstance(storage, Storage) or not isinstance(shape, tuple) or not isinstance(stride, tuple):
            return None
        if len(shape) > MAX_DIMENSIONS or any(
            type(n) is not int or not 0 <= n < 1 << 63 for n in (start, *shape, *stride)
        ):
            return None
        expected, step = [], 1
        for length in reversed(shape):
            expected.append(step)
            step *= length
        usual = list(reversed(expected))
        if any(length > 1 and a != b for length, a, b in zip(shape, stride, usual, strict=True)):
            return None  # a transposed view: nobody shares such a checkpoint; its weight counts as missing
        return Tensor(storage, start, tuple(shape))
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
    dtype, key, count = _DTYPES.get(identity[1].name.rsplit(".", 1)[-1]), identity[2], identity[4]
    if dtype is None or not isinstance(key, str | int) or type(count) is not int:
        return None
    return Storage(dtype, str(key), count)


def _fill(table: Any, items: list[Any]) -> None:
    if isinstance(table, dict):
        table.update({k: v for k, v in zip(items[::2], items[1::2], strict=True) if isinstance(k, str | int)})


def _to_mark(stack: list[Any]) -> list[Any]:
    """What lies above the last mark, which is taken away too."""
    position = next(i for i in range(len(stack) - 1, -1, -1) if stack[i] is _MARK)
    taken = stack[position + 1 :]
    del stack[position:]
    return taken
