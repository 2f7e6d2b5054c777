"""A tiny WD tagger: a real ONNX file, written byte by byte, whose confidences are known numbers of a picture's mean colour."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

SIDE = 32
TAGS = (
    ("general", "9"), ("sensitive", "9"), ("blue_sky", "0"), ("green_grass", "0"), ("red_hair", "0"), ("always_there", "0"),
    (">_<", "0"), ("zorblin_(blob)", "4"), ("never_seen", "0"),
)  # fmt: skip
# A tag's confidence is the sigmoid of 8 (mean of its channel - 0.5), in BGR, or of its bias alone.
CHANNELS = {"blue_sky": 0, "green_grass": 1, "red_hair": 2}
BIASES = {"general": 2.0, "sensitive": 0.0, "always_there": 0.5, ">_<": 0.2, "zorblin_(blob)": 3.0, "never_seen": -6.0}


def make(folder: Path, *, batch: int = 0, tags: int = len(TAGS), channels_last: bool = True) -> Path:
    """Sees colours. batch: the only size that it takes, 0 for any; tags: so many its list names."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{i},{name},{category},{100 - i}" for i, (name, category) in enumerate(TAGS[:tags])]
    (folder / "selected_tags.csv").write_text("\n".join(["tag_id,name,category,count", *lines, ""]), encoding="utf-8")
    names = [name for name, _ in TAGS]
    weights = [[8 / 255 if CHANNELS.get(name) == channel else 0.0 for name in names] for channel in range(3)]
    biases = [BIASES.get(name, -4.0) for name in names]
    first = [batch or "N"]
    shape = [*first, SIDE, SIDE, 3] if channels_last else [*first, 3, SIDE, SIDE]
    axes = [1, 2] if channels_last else [2, 3]
    graph = b"".join((
        _bytes(1, _node("ReduceMean", ["picture"], "mean", axes)), _bytes(1, _node("MatMul", ["mean", "w"], "sum")),
        _bytes(1, _node("Add", ["sum", "b"], "logit")), _bytes(1, _node("Sigmoid", ["logit"], "tags")), _bytes(2, b"tagger"),
        _bytes(5, _tensor("w", [3, len(names)], [v for row in weights for v in row])), _bytes(5, _tensor("b", [len(names)], biases)),
        _bytes(11, _value("picture", shape)), _bytes(12, _value("tags", [*first, len(names)])),
    ))  # fmt: skip
    (folder / "model.onnx").write_bytes(_number(1, 8) + _bytes(8, _number(2, 13)) + _bytes(7, graph))
    return folder


def confidence(name: str, picture: Image.Image) -> float:
    """What the tagger must say of a picture of one colour."""
    logit = BIASES.get(name, -4.0)
    if name in CHANNELS:
        level = picture.convert("RGB").getpixel((0, 0))[2 - CHANNELS[name]]  # type: ignore[index]
        logit += 8 * level / 255
    return 1 / (1 + math.exp(-logit))


# ---- as much of a protocol buffer as an ONNX file needs


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _node(kind: str, inputs: list[str], output: str, axes: list[int] | None = None) -> bytes:
    out = b"".join(_bytes(1, name.encode()) for name in inputs) + _bytes(2, output.encode()) + _bytes(4, kind.encode())
    if axes is not None:
        out += _bytes(5, _bytes(1, b"axes") + b"".join(_number(8, axis) for axis in axes) + _number(20, 7))
        out += _bytes(5, _bytes(1, b"keepdims") + _number(3, 0) + _number(20, 2))
    return out


def _tensor(name: str, shape: list[int], values: list[float]) -> bytes:
    dimensions = b"".join(_number(1, side) for side in shape)
    return dimensions + _number(2, 1) + _bytes(8, name.encode()) + _bytes(9, struct.pack(f"<{len(values)}f", *values))


def _value(name: str, shape: list[Any]) -> bytes:
    sides = (_number(1, side) if isinstance(side, int) else _bytes(2, side.encode()) for side in shape)
    tensor = _number(1, 1) + _bytes(2, b"".join(_bytes(1, side) for side in sides))
    return _bytes(1, name.encode()) + _bytes(2, _bytes(1, tensor))
