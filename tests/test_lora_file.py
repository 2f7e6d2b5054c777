"""lora_file.py: real files are read, and every damaged or foreign one is a sentence."""

from __future__ import annotations

import errno
import hashlib
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from trainer.errors import ModelError
from trainer.lora_description import describe
from trainer.lora_file import file_sha256, read_header

METADATA = {
    "ss_sd_model_name": "animé.safetensors", "ss_base_model_version": "sd_v1", "ss_network_dim": "4",
    "ss_network_alpha": "2.0", "ss_output_name": "zörblin", "ss_steps": "1600", "ss_unet_lr": "0.0003",
    "ss_noise_offset": "None", "ss_seed": "42",
    "ss_tag_frequency": json.dumps({"3_zörblin": {"zörblin": 30, "fox": 12}, "1_b": {"snow": 20}}),
    "modelspec.title": "Zörblin the fox", "modelspec.architecture": "stable-diffusion-v1/lora",
    "modelspec.trigger_phrase": "zörblin", "modelspec.author": "Ünal", "modelspec.date": "2026-11-24T10:00:00",
    "sshs_model_hash": "feedbeef0123456789",
}  # fmt: skip


def tensors(**more: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """A LoRA by hand: two layers of the UNet at rank 4, one of the text encoder at rank 2."""
    rng, out = np.random.default_rng(0), {}
    for stem, rank in (("lora_unet_a_to_q", 4), ("lora_unet_b_to_q", 4), ("lora_te_layers_0", 2)):
        out[f"{stem}.lora_down.weight"] = rng.normal(size=(rank, 8)).astype(np.float16)
        out[f"{stem}.lora_up.weight"] = rng.normal(size=(6, rank)).astype(np.float16)
        out[f"{stem}.alpha"] = np.array(2.0, np.float32)
    return out | more


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    save_file(tensors(), tmp_path / "a.safetensors", METADATA)
    return tmp_path / "a.safetensors"


FLOATS = ["float16", "float32", "float64", "bool"]


def put(path: Path, header: object, data: bytes = b"", length: int | None = None) -> Path:
    """A file by hand; header: its bytes, or what its JSON says."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(raw) if length is None else length).to_bytes(8, "little") + raw + data)
    return path


def test_the_header_of_a_real_file_is_read(lora: Path) -> None:
    header = read_header(lora)
    assert header.metadata == METADATA
    assert header.shapes == {name: tensor.shape for name, tensor in tensors().items()}
    assert header.dtypes == {n: "F32" if n.endswith("alpha") else "F16" for n in tensors()}
    assert header.data_start == lora.stat().st_size - sum(t.nbytes for t in tensors().values())


@pytest.mark.parametrize("kind", [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)] + FLOATS)
def test_every_kind_of_number_is_measured_right(kind: str, tmp_path: Path) -> None:
    given = {"a": np.zeros((3, 5), kind), "b": np.zeros((), kind), "c": np.zeros((0, 4), kind)}
    save_file(given, tmp_path / "a.safetensors")
    assert read_header(tmp_path / "a.safetensors").shapes == {"a": (3, 5), "b": (), "c": (0, 4)}


def test_a_file_without_metadata_or_with_odd_metadata_is_read(tmp_path: Path) -> None:
    entry = {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}
    for metadata in (None, {}, {"a": "b"}):
        header = read_header(put(tmp_path / "a.safetensors", {"__metadata__": metadata, "x": entry}, b"1234"))
        assert header.metadata == (metadata or {}) and header.shapes == {"x": (2,)}
    assert read_header(put(tmp_path / "a.safetensors", {"__metadata__": {"a": "b"}})).shapes == {}


def test_a_file_cut_off_anywhere_is_told_in_a_sentence(lora: Path) -> None:
    raw = lora.read_bytes()
    start = read_header(lora).data_start
    for length in {*range(0, 20), *range(20, len(raw), 37), start - 1, start, start + 1, len(raw) - 1}:
        lora.write_bytes(raw[:length])
        sentence = r"is cut off: [\d,]+ bytes are missing\. Copy it again" if length >= start else r"or it is cut off\."
        with pytest.raises(ModelError, match=sentence):
            read_header(lora)
        with pytest.raises(ModelError, match="cut off"):
            describe(lora)


def test_a_file_that_is_missing_or_a_folder_or_unreadable_is_told_in_a_sentence(
    lora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError, match=r"There is no file .*gone\.safetensors"):
        read_header(tmp_path / "gone.safetensors")
    with pytest.raises(ModelError, match=r"is a folder; give a \.safetensors file"):
        read_header(tmp_path)
    with pytest.raises(ModelError, match="cannot be read: Not a directory"):
        read_header(lora / "below")

    def refuse(path: Path, *_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ModelError, match=r"a\.safetensors cannot be read: no permission"):
        read_header(lora)


F32 = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        (b"no json at all", "is not a .safetensors file: its header cannot be read"),
        (b"\xff\xfe\xfd\xfc", "is not a .safetensors file: its header cannot be read"),
        (b"[" * 100_000, "is not a .safetensors file: its header cannot be read"),
        (b'{"a": ' + b"9" * 5000 + b"}", "is not a .safetensors file: its header cannot be read"),
        (b"[]", "is not a .safetensors file: its header is no table"),
        (b"null", "is not a .safetensors file: its header is no table"),
        (b'{"a": {}, "a": {}}', "is not a .safetensors file: its header cannot be read"),
        ({"a": F32 | {"shape": [2, 3]}}, "is damaged: the size of a does not fit its shape"),
        ({"a": F32 | {"data_offsets": [16, 0]}}, "is damaged: the size of a does not fit its shape"),
        ({"a": F32 | {"data_offsets": [-16, 0]}}, "is damaged: the size of a does not fit its shape"),
        ({"a": F32 | {"shape": [-2, -2]}}, "is damaged: the size of a does not fit its shape"),
        ({"a": F32 | {"shape": [2**40, 2**40]}}, "is damaged: the size of a does not fit its shape"),
        ({"a": F32, "b": F32}, "is damaged: b overlaps another tensor, or leaves a gap"),
        ({"a": F32, "b": F32 | {"data_offsets": [8, 24]}}, "is damaged: b overlaps another tensor, or leaves a gap"),
        ({"a": F32, "b": F32 | {"data_offsets": [20, 36]}}, "is damaged: b overlaps another tensor, or leaves a gap"),
        ({"a": F32 | {"data_offsets": [48, 64]}}, "is damaged: a overlaps another tensor, or leaves a gap"),
        ({"a": F32, "b": F32 | {"data_offsets": [16, 32]}, "c": F32 | {"data_offsets": [32, 48]}}, None),
        ({"c": F32 | {"data_offsets": [32, 48]}, "b": F32 | {"data_offsets": [16, 32]}, "a": F32}, None),  # any order
        ({"b": F32 | {"data_offsets": [16, 32]}, "a": F32}, "is damaged: 16 bytes follow its last tensor"),
        ({"a": F32 | {"shape": [2**70, 0]}}, "is damaged: the size of a does not fit its shape"),
        ({"a": F32 | {"shape": [1] * 33}}, "is damaged: the size of a does not fit its shape"),
        ({"a": F32 | {"shape": [2**62] * 100_000}}, "is damaged: the size of a does not fit its shape"),
        ({"a": F32 | {"data_offsets": [2**64, 2**64 + 16]}}, "is damaged: the size of a does not fit its shape"),
        ({"a": F32 | {"shape": [True, 4]}}, "is damaged: its header has an entry that makes no sense"),
        (
            {"__metadata__": {"n": 1}, "a": F32},
            "is damaged: what it says under n is no text, so no program can load it",
        ),
        ({"__metadata__": {"ok": None}, "a": F32}, "is damaged: what it says under ok is no text"),
        ({"__metadata__": []}, "is damaged: what it says about itself is no table"),
        ({"__metadata__": "text"}, "is damaged: what it says about itself is no table"),
        (b'{"\\ud800": {}}', "is not a .safetensors file: its header cannot be read"),
        (b'{"__metadata__": {"a": "\\uDFFF"}}', "is not a .safetensors file: its header cannot be read"),
        ('{"a": {}}'.encode("utf-16"), "is not a .safetensors file: its header cannot be read"),
        ('{"é": {}}'.encode("latin-1"), "is not a .safetensors file: its header cannot be read"),
        (b'{"a": ' + b'{"a": ' * 50_000 + b"}" * 50_001, "is not a .safetensors file: its header cannot be read"),
        (
            {"a\x1b[2J" + "b" * 500: {}},
            "is damaged: its header has an entry that makes no sense \\(a\N{REPLACEMENT CHARACTER}\\[2Jb{100,120}…\\)",
        ),
        ({"a": {}}, "is damaged: its header has an entry that makes no sense"),
        ({"a": []}, "is damaged: its header has an entry that makes no sense"),
        ({"a": None}, "is damaged: its header has an entry that makes no sense"),
        ({"a": F32 | {"dtype": "F7"}}, "holds numbers of a kind that is not known (F7, in a)"),
        ({"a": F32 | {"dtype": []}}, "is damaged: its header has an entry that makes no sense"),
        ({"a": F32 | {"shape": 4}}, "is damaged: its header has an entry that makes no sense"),
        ({"a": F32 | {"shape": ["x"]}}, "is damaged: its header has an entry that makes no sense"),
        ({"a": F32 | {"shape": "22"}}, "is damaged: its header has an entry that makes no sense"),
        ({"a": F32 | {"shape": [2.5, 2]}}, "is damaged: its header has an entry that makes no sense"),
        ({"a": F32 | {"shape": [float("inf"), 2]}}, "is not a .safetensors file: its header cannot be read"),
        ({"a": F32 | {"data_offsets": [0]}}, "is damaged: its header has an entry that makes no sense"),
        ({"a": F32 | {"data_offsets": ["0", "16"]}}, "is damaged: its header has an entry that makes no sense"),
        ({"a": F32 | {"data_offsets": [0.0, 16.0]}}, "is damaged: its header has an entry that makes no sense"),
    ],
    ids=lambda v: str(v)[:40],
)
def test_a_header_that_lies_is_told_in_a_sentence(header: object, sentence: str | None, tmp_path: Path) -> None:
    path = put(tmp_path / "a.safetensors", header, bytes(48))
    if sentence is None:
        assert set(read_header(path).shapes) == set(header)  # type: ignore[call-overload]
        return
    with pytest.raises(ModelError, match=f"^a.safetensors {sentence.replace('(F7, in a)', '.F7, in a')}") as raised:
        read_header(path)
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize("length", [2**64 - 1, 2**63, 9_000_000_000, 100_000_001, 100_000_000, 60, 0])
def test_a_header_length_that_lies_is_told_in_a_sentence(length: int, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is not a \.safetensors file"):
        read_header(put(tmp_path / "a.safetensors", {}, bytes(20), length))


def test_any_damage_to_a_file_gives_a_header_or_a_sentence(lora: Path) -> None:
    raw, rng, refused = lora.read_bytes(), random.Random(1), 0
    for _ in range(400):
        damaged = bytearray(raw)
        for _ in range(rng.randint(1, 8)):
            damaged[rng.randrange(min(len(raw), 1500))] = rng.choice(b'"{}[]:,0917-e \x00\xff')
        lora.write_bytes(damaged)
        for read in (read_header, describe):
            try:
                read(lora)
            except ModelError:
                refused += 1
    assert refused > 200


def test_the_hashes_are_those_of_the_file_and_of_its_data_section(lora: Path) -> None:
    raw, start = lora.read_bytes(), read_header(lora).data_start
    assert start == 8 + int.from_bytes(raw[:8], "little")
    assert file_sha256(lora) == hashlib.sha256(raw).hexdigest()
    assert file_sha256(lora, start) == hashlib.sha256(raw[start:]).hexdigest()


def test_the_hash_of_a_file_larger_than_one_read_is_right(tmp_path: Path) -> None:
    raw = random.Random(1).randbytes(2_500_000)
    (tmp_path / "a").write_bytes(raw)
    assert file_sha256(tmp_path / "a", 7) == hashlib.sha256(raw[7:]).hexdigest()


def test_a_lora_is_described_for_people(lora: Path) -> None:
    raw, start = lora.read_bytes(), read_header(lora).data_start
    told = describe(lora)
    assert told.title == "Zörblin the fox"
    rows = {heading: dict(pairs) for heading, pairs in told.rows.items()}
    assert rows == {
        "File": {
            "what it is": "LoRA", "layer names": "kohya's", "made with": "not said", "size": "0.0 MB", "precision": "F16, F32", "layers": "1 in the text encoder, 2 in the UNet", "rank": "2, 4",
            "alpha": "2.0",
        },
        "About": {
            "made for": "SD 1.x", "base model": "animé.safetensors (sd_v1)", "architecture": "stable-diffusion-v1/lora",
            "trigger words": "zörblin", "most frequent tags": "zörblin (30), snow (20), fox (12)", "author": "Ünal",
            "date": "2026-11-24T10:00:00",
        },
        "Training": {"steps": "1600", "unet lr": "0.0003", "seed": "42"},
        "Hashes": {
            "AutoV2 (whole file)": hashlib.sha256(raw).hexdigest()[:10],
            "AutoV3 (tensors)": hashlib.sha256(raw[start:]).hexdigest()[:12],
            "said in the file": "feedbeef0123",
        },
    }  # fmt: skip


def test_a_lora_that_says_nothing_about_itself_is_described_too(tmp_path: Path) -> None:
    layers = {f"{p}_x.lora_down.weight": np.zeros((8, 2), np.float32) for p in ("lora_te1", "lora_te2", "lycoris")}
    odd = {"lora_te1_x.dora_scale": np.zeros(3, np.float32), "lora_te1_y.lora_down.weight": np.zeros((), np.float32)}
    save_file(layers | odd, tmp_path / "plain.safetensors")
    told = describe(tmp_path / "plain.safetensors")
    rows = {heading: dict(pairs) for heading, pairs in told.rows.items()}
    assert told.title == "plain" and rows["Training"] == {}
    assert rows["File"]["what it is"] == "DoRA" and rows["File"]["alpha"] == "none in it, taken as the rank"
    assert rows["File"]["rank"] == "8"
    assert rows["File"]["layers"] == "1 in text encoder 1, 1 in text encoder 2, 1 in other parts"
    assert set(rows["About"].values()) == {"not said"}


@pytest.mark.parametrize(
    "frequency",
    ["no json", "[]", "[" * 100_000, '{"a": 3}', '{"a": {"x": "many", "fox": 2, "y": null}}', '{"a": [1]}', "{}"],
    ids=lambda v: v[:12],
)
def test_odd_tag_counts_do_not_break_the_description(frequency: str, tmp_path: Path) -> None:
    save_file(tensors(), tmp_path / "a.safetensors", {"ss_tag_frequency": frequency})
    told = dict(describe(tmp_path / "a.safetensors").rows["About"])
    assert told["most frequent tags"] == ("fox (2)" if "fox" in frequency else "not said")


def test_a_file_of_another_kind_is_said_to_be_one(tmp_path: Path) -> None:
    save_file({"model.diffusion_model.x": np.zeros(2, np.float32)}, tmp_path / "base.safetensors")
    told = describe(tmp_path / "base.safetensors")
    sentence = "base.safetensors is a file of 1 tensor of a kind that is not known, e.g. model.diffusion_model.x, not a LoRA. Choose a LoRA file."
    assert told.problem == sentence and dict(told.rows["File"])["note"] == sentence
    assert dict(told.rows["File"])["what it is"] == "no LoRA"
    assert describe(put(tmp_path / "empty.safetensors", {})).problem == (
        "empty.safetensors is empty, not a LoRA. Choose a LoRA file."
    )
