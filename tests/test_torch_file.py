"""Headers of .ckpt and .pt files: what torch.save writes, in both formats, is understood; nothing in a file is ever run."""

from __future__ import annotations

import collections
import contextlib
import os
import pickle
import sys
import time
import types
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainer.errors import ModelError
from trainer.families.headers import identify, read
from trainer.families.torch_file import is_torch_file, read_torch_header

WEIGHTS: dict[str, torch.Tensor] = {
    "a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.float16), "c": torch.ones(2, 2, dtype=torch.bfloat16),
    "d": torch.tensor(7), "e": torch.zeros(0), "f": torch.tensor([True, False]),
}  # fmt: skip


class Bomb:
    """Its pickle calls os.system."""

    def __reduce__(self) -> Any:
        return os.system, (f"{sys.executable} -c \"open('ran','w')\"",)


def bytes_at(path: Path, name: str) -> bytes:
    start, stop = read_torch_header(path).spans[name]
    return path.read_bytes()[start:stop]


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("wrapped", [True, False])
def test_names_shapes_dtypes_and_places_are_found(zipped: bool, wrapped: bool, tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    view = WEIGHTS | {"view": torch.arange(10.0)[4:8]}
    content: Any = (
        {"epoch": 5, "global_step": 1, "state_dict": view, "callbacks": {"x": [1, (2, 3)], "y": {1, 2}}}
        if wrapped
        else view
    )
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert is_torch_file(path)
    header = read(path)
    assert header.shapes == {k: tuple(v.shape) for k, v in view.items()}
    assert header.dtypes == {
        "a.weight": "F32",
        "b": "F16",
        "c": "BF16",
        "d": "I64",
        "e": "F32",
        "f": "BOOL",
        "view": "F32",
    }
    for name, tensor in view.items():
        expected = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
        assert bytes_at(path, name) == expected, name


def test_ordered_tables_parameters_and_shared_weights_are_read(tmp_path: Path) -> None:
    shared = torch.arange(4.0)
    table = collections.OrderedDict(x=torch.nn.Parameter(torch.ones(2)), y=shared, z=shared)
    torch.save(table, tmp_path / "m.pt")
    header = read_torch_header(tmp_path / "m.pt")
    assert header.shapes == {"x": (2,), "y": (4,), "z": (4,)}
    assert header.spans["y"] == header.spans["z"]


def test_what_lightning_leaves_in_a_checkpoint_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Published SD 1.4 checkpoints name ModelCheckpoint; torch's own safe loading refuses them."""
    module = types.ModuleType("pytorch_lightning.callbacks.model_checkpoint")
    kind = type("ModelCheckpoint", (), {"__module__": module.__name__})
    module.ModelCheckpoint = kind  # type: ignore[attr-defined]
    for name in ("pytorch_lightning", "pytorch_lightning.callbacks", module.__name__):
        monkeypatch.setitem(sys.modules, name, module)
    torch.save({"state_dict": WEIGHTS, "callbacks": {kind: {"best": 1}}}, tmp_path / "m.ckpt")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "m.ckpt", weights_only=True)
    assert read_torch_header(tmp_path / "m.ckpt").shapes.keys() == WEIGHTS.keys()


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_named_and_never_run(zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": WEIGHTS, "x": Bomb()}, "bomb.ckpt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        ModelError, match=r"bomb\.ckpt holds program code \((posix|nt)\.system\), which was not run\. Do not trust"
    ):
        read(Path("bomb.ckpt"))
    assert not Path("ran").exists()
    torch.load("bomb.ckpt", weights_only=False)  # to see that it would have run
    assert Path("ran").exists()


@pytest.mark.parametrize("protocol", range(2, 6))
def test_a_bare_pickle_with_code_is_never_run(protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bomb.pt").write_bytes(pickle.dumps([Bomb()], protocol))
    with pytest.raises(ModelError, match=r"bomb\.pt .*(no checkpoint of torch|program code)"):
        read(Path("bomb.pt"))
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    "name",
    [
        "builtins.eval",
        "builtins.getattr",
        "torch.hub.load",
        "subprocess.Popen",
        "numpy.load",
        "runpy._run_code",
        "torch.jit.load",
    ],
)
def test_everything_that_could_do_something_is_refused_by_name(name: str, tmp_path: Path) -> None:
    module, _, attribute = name.rpartition(".")
    text = b"\x80\x02c" + module.encode() + b"\n" + attribute.encode() + b"\n(X\x01\x00\x00\x00xtR."
    with zipfile.ZipFile(tmp_path / "m.pt", "w") as archive:
        archive.writestr("archive/data.pkl", text)
    with pytest.raises(ModelError, match=f"holds program code \\({name}\\)"):
        read(tmp_path / "m.pt")


def test_a_zip_of_something_else_and_an_empty_one_are_said(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.ckpt", "w") as archive:
        archive.writestr("photo.png", b"x")
    with pytest.raises(ModelError, match=r"m\.ckpt is a zip file, but no checkpoint of torch"):
        read(tmp_path / "m.ckpt")
    (tmp_path / "m.ckpt").write_bytes(b"PK\x03\x04" + b"\0" * 40)
    with pytest.raises(ModelError, match="no checkpoint of torch, or it is damaged or cut off"):
        read(tmp_path / "m.ckpt")


def test_a_transposed_weight_is_left_out_rather_than_misread(tmp_path: Path) -> None:
    torch.save({"t": torch.zeros(2, 3).T, "x": torch.zeros(2)}, tmp_path / "m.pt")
    assert read_torch_header(tmp_path / "m.pt").shapes == {"x": (2,)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, bytes]:
    folder = tmp_path_factory.mktemp("fuzz")
    for zipped in (True, False):
        torch.save({"state_dict": WEIGHTS}, folder / f"{zipped}.pt", _use_new_zipfile_serialization=zipped)
    return folder, (folder / "True.pt").read_bytes(), (folder / "False.pt").read_bytes()


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_anywhere_gives_a_sentence_or_true_places(data: st.DataObject, whole: tuple[Path, bytes, bytes]) -> None:
    folder, *files = whole
    raw = bytearray(data.draw(st.sampled_from(files)))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del raw[data.draw(st.integers(0, len(raw))) :]
    path = folder / "damaged.pt"
    path.write_bytes(raw)
    try:
        header = read(path)
    except ModelError as error:
        assert "damaged.pt" in str(error)
    else:
        assert all(0 <= start <= stop <= len(raw) for start, stop in header.spans.values())


def test_a_hypernetwork_and_its_lists_are_read_by_name(tmp_path: Path) -> None:
    layers = {"linear.0.weight": torch.zeros(4, 2)}
    torch.save({768: [layers, layers], "step": 3}, tmp_path / "h.pt")
    assert set(read_torch_header(tmp_path / "h.pt").shapes) == {"768.0.linear.0.weight", "768.1.linear.0.weight"}
    assert identify(tmp_path / "h.pt").title == "a hypernetwork"


def test_a_checkpoint_that_was_packed_again_is_not_unpacked(tmp_path: Path) -> None:
    """Sixty megabytes of instructions fit into sixty kilobytes of a compressed zip."""
    with zipfile.ZipFile(tmp_path / "m.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + b"N0" * 30_000_000 + b"N.")
    begin = time.thread_time()
    with pytest.raises(ModelError, match=r"m\.pt was packed again after torch wrote it\. Unpack it, or get the model"):
        read(tmp_path / "m.pt")
    assert time.thread_time() - begin < 0.5


@pytest.mark.parametrize("end", [pickle.STACK_GLOBAL, pickle.MEMOIZE + pickle.BINPERSID], ids=["name", "storage"])
def test_tuples_of_tuples_never_become_text(end: bytes, tmp_path: Path) -> None:
    """Two hundred instructions name a tuple whose text would have 2^200 characters."""
    body = pickle.EMPTY_TUPLE + (pickle.DUP + pickle.TUPLE2) * 200 + pickle.DUP + end + pickle.STOP
    with zipfile.ZipFile(tmp_path / "m.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + body)
    with contextlib.suppress(ModelError):
        assert read(tmp_path / "m.pt").shapes == {}


def test_an_encrypted_zip_is_told(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "m.pt")
    raw = bytearray((tmp_path / "m.pt").read_bytes())
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    raw[raw.index(b"PK\x03\x04") + 6] |= 1
    (tmp_path / "m.pt").write_bytes(raw)
    with pytest.raises(ModelError, match=r"m\.pt is no checkpoint of torch, or it is damaged"):
        read(tmp_path / "m.pt")


def test_a_storage_that_is_said_to_be_endless_is_told(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2), "b": torch.ones(3)}, tmp_path / "m.pt", _use_new_zipfile_serialization=False)
    raw = bytearray((tmp_path / "m.pt").read_bytes())
    for place in (raw.rindex(b"\2\0\0\0\0\0\0\0"), raw.rindex(b"\3\0\0\0\0\0\0\0")):
        raw[place : place + 8] = b"\xff" * 8
    (tmp_path / "m.pt").write_bytes(raw)
    with pytest.raises(ModelError, match=r"m\.pt is cut off\. Copy it again"):
        read(tmp_path / "m.pt")
