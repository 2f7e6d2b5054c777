"""`lora-atelier export`: what it writes, prints and refuses."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest
from safetensors.torch import load_file

from app.cli import main
from tests.app.run_folders import make_run
from tests.conftest import draw_pictures
from trainer import lora_file, proof
from trainer.proof import Proof

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.run_folder import RunFolder


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LORA_ATELIER_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "stdin", io.StringIO())  # on which a program could cancel
    return tmp_path / "home"


@pytest.fixture(autouse=True)
def proved(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were to be proved; their one layer belongs to no model, so the proof itself is test_proof.py's."""
    out: list[Path] = []

    def prove(folder: RunFolder, step: int, path: Path, tell: object) -> Proof:
        assert path.is_file()
        out.append(path)
        return Proof(("A1111", "ComfyUI"), 0.0004, 1, effect=0.3)

    monkeypatch.setattr(proof, "prove_export", prove)
    return out


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return make_run(tmp_path / "runs")


def export(*words: object) -> int:
    return main(["export", *map(str, words)])


def test_the_last_checkpoint_goes_where_loras_are_kept(
    run: RunFolder, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(run.path) == 0
    out = home / "loras" / "zorblin.safetensors"
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"Step 20 is in {out} (0.0 MB, fp16; read back and compared)."
    assert second.startswith("Loads in A1111 and ComfyUI; largest difference from the trained model 0.0004")
    assert lora_file.read_header(out).metadata["modelspec.title"] == "zorblin"
    assert len(load_file(out)) == 3


def test_everything_can_be_said_and_a_program_reads_the_answer(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture, out = run.sample(10, 1, 42), tmp_path / "new" / "x.safetensors"
    words = (
        "--step",
        10,
        "--out",
        out,
        "--name",
        "My LoRA",
        "--description",
        "d",
        "--tags",
        "a,b",
        "--precision",
        "fp32",
        "--picture",
        picture,
        "--json",
    )
    assert export(run.path, *words) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    sentence, found = told.pop("sentence"), told.pop("proof")
    assert sentence.endswith(f"\n{found}") and found.startswith("Loads in A1111 and ComfyUI")
    assert told == {
        "type": "done", "path": str(out), "step": 10, "size_bytes": out.stat().st_size, "largest_difference": 0.0, "proved": True,
        "programs": ["A1111", "ComfyUI"], "bundle": None, "with_data": False, "previews": 0, "note": "",
    }  # fmt: skip
    header = lora_file.read_header(out)
    assert set(header.dtypes.values()) == {"F32"} and header.metadata["modelspec.tags"] == "a, b"
    assert (tmp_path / "new" / "x.preview.png").read_bytes() == picture.read_bytes()
    beside = json.loads((tmp_path / "new" / "x.json").read_text(encoding="utf-8"))
    assert (beside["activation text"], beside["sd version"], beside["description"], beside["preferred weight"]) == (
        "zorblin",
        "SD1",
        "d",
        1.0,
    )
    assert sorted(p.name for p in out.parent.iterdir()) == ["x.json", "x.preview.png", "x.safetensors"]


def test_a_folder_gets_a_file_named_after_the_lora(run: RunFolder, tmp_path: Path) -> None:
    assert export(run.path, "--out", tmp_path / "models", "--name", "a: b") == 0
    assert [p.name for p in (tmp_path / "models").iterdir()] == ["a_b.safetensors"]


def test_the_precision_is_the_runs_unless_given(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs", export_precision="bf16")
    assert export(run.path, "--out", tmp_path / "a.safetensors") == 0
    assert set(lora_file.read_header(tmp_path / "a.safetensors").dtypes.values()) == {"BF16"}


@pytest.mark.parametrize(
    ("words", "there"),
    [
        (["--picture", "{p}", "--no-sidecar"], {"a.safetensors", "a.preview.png"}),
        (["--sidecar"], {"a.safetensors", "a.json"}),
        ([], {"a.safetensors"}),
    ],
)
def test_what_lies_beside_is_as_was_asked(words: list[str], there: set[str], run: RunFolder, tmp_path: Path) -> None:
    filled = [w.replace("{p}", str(run.sample(20, 0, 42))) for w in words]
    assert export(run.path, "--out", tmp_path / "o" / "a.safetensors", *filled) == 0
    assert {p.name for p in (tmp_path / "o").iterdir()} == there


def test_the_picture_of_the_step_is_in_the_file(run: RunFolder, tmp_path: Path) -> None:
    assert export(run.path, "--out", tmp_path / "a.safetensors") == 0
    assert (
        lora_file.read_header(tmp_path / "a.safetensors")
        .metadata["modelspec.thumbnail"]
        .startswith("data:image/jpeg;base64,")
    )
    assert export(make_run(tmp_path / "runs", "none", samples=()).path, "--out", tmp_path / "b.safetensors") == 0
    assert "modelspec.thumbnail" not in lora_file.read_header(tmp_path / "b.safetensors").metadata


def test_without_a_proof_nothing_is_claimed(
    run: RunFolder, tmp_path: Path, proved: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(run.path, "--out", tmp_path / "a.safetensors", "--no-proof") == 0
    assert proved == [] and "Loads in" not in capsys.readouterr().out


# Bundles


def test_a_bundle_is_a_folder_where_loras_are_kept(
    run: RunFolder, home: Path, proved: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(run.path, "--name", "My one", "--bundle") == 0
    folder = home / "loras" / "My_one for Civitai"
    names = ["My_one.safetensors", "My_one_01.png", "My_one_02.png", "description.md", "settings.toml"]
    assert sorted(p.name for p in folder.iterdir()) == names
    said = capsys.readouterr().out
    assert said.startswith(f"Step 20 is ready for Civitai in {folder} (2 pictures).\nLoads in") and len(proved) == 1
    assert export(run.path, "--name", "My one", "--bundle") == 1
    assert "exists already" in capsys.readouterr().err
    (folder / "description.md").unlink()
    assert export(run.path, "--name", "My one", "--bundle", "--force") == 0
    assert sorted(p.name for p in folder.iterdir()) == names
    (folder / "mine.psd").write_bytes(b"precious")
    assert export(run.path, "--name", "My one", "--bundle", "--force") == 1
    assert (folder / "mine.psd").read_bytes() == b"precious"
    assert list(folder.parent.iterdir()) == [folder]


def test_a_bundle_can_be_one_zip_with_the_pictures_it_was_trained_on(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_pictures(tmp_path / "things")
    run.settings_path.write_text(
        run.settings_path.read_text().replace(str(tmp_path / "pictures"), str(tmp_path / "things"))
    )
    assert export(run.path, "--bundle", tmp_path / "b.zip", "--with-data", "--json") == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["path"], told["bundle"], told["with_data"]) == (str(tmp_path / "b.zip"), str(tmp_path / "b.zip"), True)
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        assert "zorblin.safetensors" in archive.namelist()
        with zipfile.ZipFile(io.BytesIO(archive.read("zorblin_data.zip"))) as inner:
            assert len([n for n in inner.namelist() if n.endswith(".png")]) == 6


def test_a_step_without_pictures_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "runs", samples=(10,))
    assert export(run.path, "--bundle", tmp_path / "b", "--json") == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (
        told["note"] == "The run drew no pictures at step 20; add some of your own on Civitai."
        and told["note"] in told["sentence"]
    )
    assert not list((tmp_path / "b").glob("*.png"))


@pytest.mark.parametrize("name", ["a.safetensors", "a.preview.png", "a.json"])
def test_nothing_is_replaced_without_force(
    name: str, run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(b"precious")
    words = (run.path, "--out", tmp_path / "a.safetensors", "--picture", run.sample(20, 0, 42))
    assert export(*words) == 1
    assert (
        capsys.readouterr().err
        == f"Error: {tmp_path / name} exists already. Choose another name, or add --force to replace it.\n"
    )
    assert (tmp_path / name).read_bytes() == b"precious"
    assert len(list(tmp_path.glob("a.*"))) == 1
    assert export(*words, "--force") == 0
    assert (tmp_path / name).read_bytes() != b"precious"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["{r}", "--step", "7"], "has no checkpoint of step 7; it has 10, 20."),
        (["{t}"], "is not a run folder: it has no run.toml."),
        (["{e}"], "has no checkpoint yet, so there is nothing to export."),
        (["{r}", "--out", "{r}/run.toml/x.safetensors"], "could not be written"),
        (["{r}", "--picture", "{t}/none.png"], "There is no picture {t}/none.png."),
        (["{r}", "--bundle", "{t}/b", "--format", "peft"], "leave --format peft out of a bundle"),
        (["{r}", "--with-data"], "--with-data belongs to --bundle"),
        (["{r}", "--bundle", "{r}"], "holds other files"),
        (["{r}", "--bundle", "{r}/run.toml/b"], "could not be written"),
        (["{r}", "--bundle", "{t}/b", "--with-data"], "holds no usable picture"),
    ],
)
def test_a_mistake_is_one_sentence(
    words: list[str], sentence: str, run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = make_run(tmp_path / "runs", "empty", steps=())
    places = {"{r}": run.path, "{t}": tmp_path, "{e}": empty.path}
    for sign, path in places.items():
        words, sentence = [w.replace(sign, str(path)) for w in words], sentence.replace(sign, str(path))
    before = sorted(tmp_path.rglob("*"))
    assert export(*words) == 1
    err = capsys.readouterr().err
    assert err.startswith("Error: ") and err.count("\n") == 1 and sentence in err
    assert [p for p in sorted(tmp_path.rglob("*")) if p not in before and not p.is_dir()] == []


def test_the_command_is_found_by_help_without_torch() -> None:
    code = "import sys; from app import cli\ntry: cli.main(['export', '--help'])\nexcept SystemExit: pass\nassert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "--precision" in done.stdout and "RUN_FOLDER" in done.stdout
