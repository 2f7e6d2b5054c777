"""Damaged, lying and invented files are refused in a sentence, quickly, and nothing large is asked for; more of it in tests/benchmarks/header_fuzz.py."""

from __future__ import annotations

import random
import time
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import header_cases
from trainer import lora_description
from trainer.errors import ModelError
from trainer.families import lora_keys
from trainer.lora_file import read_header

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES = 20_000_000

FAST = settings(max_examples=700, deadline=None, suppress_health_check=list(HealthCheck), database=None)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "x.safetensors"


@pytest.fixture(scope="module")
def real() -> list[bytes]:
    return header_cases.real_files()


@FAST
@given(seed=st.integers(0, 2**64))
def test_a_real_file_that_was_damaged(seed: int, place: Path, real: list[bytes]) -> None:
    rng = random.Random(seed)
    place.write_bytes(header_cases.damaged(rng, rng.choice(real)))
    header_cases.read_all(place)


@FAST
@given(seed=st.integers(0, 2**64))
def test_a_header_that_lies(seed: int, place: Path) -> None:
    place.write_bytes(header_cases.lying(random.Random(seed)))
    header_cases.read_all(place)


@FAST
@given(seed=st.integers(0, 2**64))
def test_a_pickle_that_nobody_wrote(seed: int, place: Path) -> None:
    place.write_bytes(header_cases.invented(random.Random(seed)))
    header_cases.read_all(place)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)


@FAST
@given(entries=st.dictionaries(st.sampled_from(header_cases.KEYS) | st.text(max_size=30), JSON, max_size=4) | JSON, data=st.binary(max_size=40))  # fmt: skip
def test_any_json_as_a_header(entries: object, data: bytes, place: Path) -> None:
    raw = header_cases.json.dumps(entries).encode()
    place.write_bytes(len(raw).to_bytes(8, "little") + raw + data)
    header_cases.read_all(place)


@FAST
@given(raw=st.binary(max_size=300), start=st.sampled_from([b"", b"PK\x03\x04", b"\x80\x02", b"\x10\0\0\0\0\0\0\0{"]))
def test_any_bytes(raw: bytes, start: bytes, place: Path) -> None:
    place.write_bytes(start + raw)
    header_cases.read_all(place)


@FAST
@given(key=st.text(max_size=60) | st.lists(st.sampled_from(["unet", "lora_A", "lora_down", "weight", "processor", "to_out", "_lora", "down_blocks", "0", "attentions", "lora_unet_", "base_model", "model", "alpha", "input_blocks", "x"])).map(".".join))  # fmt: skip
def test_any_key(key: str) -> None:
    found = lora_keys.split(key)
    if found is not None:
        assert key.startswith(found.module) and found.module
        lora_keys.place(found.module, 768)


@pytest.mark.parametrize(
    "key", ["lora_unet_" + "_" * 200_000, ".lora_A" * 50_000, "base_model.model." * 50_000, "a." * 100_000 + "alpha"]
)
def test_a_name_without_end_takes_no_time(key: str, place: Path) -> None:
    raw = header_cases.json.dumps({key: {"dtype": "F16", "shape": [1, 1], "data_offsets": [0, 2]}}).encode()
    place.write_bytes(len(raw).to_bytes(8, "little") + raw + bytes(2))
    begin = time.process_time()
    assert header_cases.read_all(place) == "read"
    assert time.process_time() - begin < 1


@pytest.mark.parametrize("length", [9_000_000_000, 2**62])
@pytest.mark.parametrize("opcode", [header_cases.pickle.BINBYTES8, header_cases.pickle.BINUNICODE8, header_cases.pickle.BYTEARRAY8])  # fmt: skip
def test_a_length_that_lies_asks_for_no_memory(opcode: bytes, length: int, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(b"\x80\x02" + opcode + length.to_bytes(8, "little") + b"abc.")
    tracemalloc.start()
    try:
        assert header_cases.read_all(path) == "refused"
        assert tracemalloc.get_traced_memory()[1] < MAX_BYTES
    finally:
        tracemalloc.stop()


def test_what_was_read_can_be_described_or_is_refused(place: Path, real: list[bytes]) -> None:
    """Two hundred files that are damaged in their metadata or names, but readable."""
    rng, told = random.Random(7), 0
    while told < 200:
        place.write_bytes(header_cases.lying(rng) if rng.random() < 0.5 else header_cases.damaged(rng, real[0]))
        try:
            read_header(place)
        except ModelError:
            continue
        description = lora_description.describe(place)
        told += 1
        for text in (
            description.title,
            *(f"{name}{value}" for rows in description.rows.values() for name, value in rows),
        ):
            text.encode()
            assert "\x1b" not in text and len(text) < 3000


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os = pytest.importorskip("os")
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes with names here")
    os.mkfifo(tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match=r"x\.safetensors is no file; give a \.safetensors file"):
        read_header(tmp_path / "x.safetensors")
