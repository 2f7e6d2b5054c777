"""`lora-atelier export`: what it writes, prints and refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from safetensors.torch import load_file

from app.cli import main
from tests.app.run_folders import make_run
from trainer import lora_file

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.run_folder import RunFolder


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LORA_ATELIER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


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
    assert capsys.readouterr().out == f"Step 20 is in {out} (0.0 MB, fp16; read back and compared).\n"
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
    told = json.loads(capsys.readouterr().out)
    assert told == {"path": str(out), "step": 10, "size_bytes": out.stat().st_size, "largest_difference": 0.0}
    header = lora_file.read_header(out)
    assert set(header.dtypes.values()) == {"F32"} and header.metadata["modelspec.tags"] == "a, b"
    assert (tmp_path / "new" / "x.preview.png").read_bytes() == picture.read_bytes()


def test_a_folder_gets_a_file_named_after_the_lora(run: RunFolder, tmp_path: Path) -> None:
    assert export(run.path, "--out", tmp_path / "models", "--name", "a: b") == 0
    assert [p.name for p in (tmp_path / "models").iterdir()] == ["a_b.safetensors"]


def test_the_precision_is_the_runs_unless_given(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs", export_precision="bf16")
    assert export(run.path, "--out", tmp_path / "a.safetensors") == 0
    assert set(lora_file.read_header(tmp_path / "a.safetensors").dtypes.values()) == {"BF16"}


@pytest.mark.parametrize("name", ["a.safetensors", "a.preview.png"])
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
        (["{r}", "--picture", "{t}/none.png"], "The LoRA file is written, but not its picture"),
    ],
)
def test_a_mistake_is_one_sentence(
    words: list[str], sentence: str, run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = make_run(tmp_path / "runs", "empty", steps=())
    filled = [
        w.replace("{r}", str(run.path)).replace("{t}", str(tmp_path)).replace("{e}", str(empty.path)) for w in words
    ]
    assert export(*filled) == 1
    err = capsys.readouterr().err
    assert err.startswith("Error: ") and err.count("\n") == 1 and sentence in err


def test_the_command_is_found_by_help_without_torch() -> None:
    code = "import sys; from app import cli\ntry: cli.main(['export', '--help'])\nexcept SystemExit: pass\nassert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "--precision" in done.stdout and "RUN_FOLDER" in done.stdout
