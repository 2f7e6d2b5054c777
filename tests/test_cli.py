"""The command line as a user types it: what goes right, and every mistake as one sentence with exit code 1."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from app import worker_process
from app.cli import main
from tests.runs import make_run
from tests.runs import train as train_here
from trainer import __version__, run_folder, rungs, settings_file

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs `lora-atelier ...` in a process of its own, in an empty folder; gives exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> tuple[int, str, str]:
        ended = subprocess.run(
            [sys.executable, "-m", "app", *map(str, words)],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        return ended.returncode, ended.stdout, ended.stderr

    return run


@pytest.fixture
def mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that must fail in this process; gives its one sentence and checks that nothing was left behind."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> str:
        before = sorted(tmp_path.rglob("*"))
        assert main([str(w) for w in words]) == 1
        out, err = capsys.readouterr()
        assert out == "" and err.startswith("Error: ") and err.count("\n") == 1 and "Traceback" not in err
        assert sorted(tmp_path.rglob("*")) == before
        return err.removeprefix("Error: ").strip()

    return run


SMALL = (
    "--resolution",
    64,
    "--bucket-step",
    32,
    "--bucket-min",
    32,
    "--steps",
    3,
    "--rank",
    2,
    "--precision",
    "fp32",
    "--device",
    "cpu",
)


def test_train_from_flags_prints_where_the_file_and_the_previews_are(
    cli: Cli, tiny_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    code, out, err = cli(
        "train",
        "--base",
        tiny_models["sd1"],
        "--data",
        pictures,
        "--trigger",
        "zz blob",
        "--preview",
        "zz blob",
        *SMALL,
    )
    assert code == 0, err
    assert "6 pictures, 3 steps" in out and "Step 3 of 3: loss " in out and "The run is complete." in out
    file = Path(next(line for line in out.splitlines() if line.startswith("LoRA file: ")).removeprefix("LoRA file: "))
    assert file.name == "zz_blob.safetensors" and load_file(file)
    samples = next(line for line in out.splitlines() if line.startswith("Previews: ")).removeprefix("Previews: ")
    assert samples.endswith("(all on one sheet: overview.png)")
    assert sorted(p.name for p in Path(samples.split(" (")[0]).iterdir()) == [
        "000000_p0_s42.png",
        "000003_p0_s42.png",
        "overview.png",
    ]
    assert "Traceback" not in out + err and "Failed to load" not in out + err

    code, out, _ = cli("inspect", file)
    assert code == 0
    for part in ("zz blob", "sd1 (sd_v1)", "rank                   2", "AutoV2", "stable-diffusion-v1/lora"):
        assert part in out


def test_a_run_repeats_from_its_run_toml_alone(
    cli: Cli, tiny_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    first = make_run(tiny_models["sd1"], pictures, tmp_path / "runs", export_precision="fp32")
    train_here(first)
    code, out, err = cli("train", first.settings_path)
    assert code == 0, err
    again = Path(next(line for line in out.splitlines() if line.startswith("LoRA file: ")).removeprefix("LoRA file: "))
    assert again.parent != first.export
    ours, theirs = load_file(first.export / "test.safetensors"), load_file(again)
    assert all((ours[k] == theirs[k]).all() for k in ours)


def test_ctrl_c_stops_and_keeps_and_the_folder_can_be_resumed(
    tiny_models: dict[str, Path], pictures: Path, tmp_path: Path, cli: Cli
) -> None:
    folder = make_run(tiny_models["sd1"], pictures, tmp_path, steps=100_000)
    with subprocess.Popen(
        [sys.executable, "-m", "app", "train", str(folder.path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        for line in process.stdout:
            if line.startswith("Step "):
                break
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "Stopping after this step" in err and "and kept." in out and "LoRA file: " in out
    assert len(folder.checkpoints()) == 1


def test_settings_of_a_run_folder_cannot_be_changed_by_flags(mistake: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert "is a run folder; it is resumed with its own settings" in mistake("train", tmp_path / "run", "--rank", 4)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--data", "{p}", "--rank", "0"], 'Rank is "0"; it must lie between 1 and 1024.'),
        (
            ["--data", "{p}", "--learning-rate", "abc"],
            'Learning rate is "abc"; it must be a number, such as 0.0001 or "1e-4".',
        ),
        (["--data", "nowhere"], "Pictures folder nowhere does not exist. Check the path."),
        (["--data", "{p}/0.png"], "Pictures: {p}/0.png is a file. Give the folder that holds the pictures."),
        (
            ["--more-data", "gone.png"],
            "Pictures: there is no folder or picture gone.png. Check the path, or take it out",
        ),
        (["--more-data", "empty, {p}/0.txt"], "Pictures: there is no usable picture"),
        (["--data", "{p}", "--left-out", "0.png,1.png,2.png,3.png,4.png, 5.png"], "All its pictures are left out;"),
        (["--preset", "character"], "Pictures: no folder was given. Choose the folder that holds the pictures."),
        (["--data", "empty"], "Pictures folder empty holds no usable picture"),
        (
            ["--data", "{p}", "--base", "nowhere"],
            'There is no base model "nowhere". Give a single file (.safetensors, .ckpt), a diffusers folder, or "demo".',
        ),
        (["--data", "{p}", "--base", "lora.safetensors"], "lora.safetensors is a LoRA, not a base model."),
        (["--data", "{p}", "--base", "{p}"], "is not a diffusers model folder"),
        (["--data", "{p}", "--base", "{m}", "--start-from", "nowhere.safetensors"], "There is no file"),
        (["--data", "{p}", "--base", "{m}", "--start-from", "{p}/0.txt"], "0.txt is not a .safetensors file"),
        (["--data", "{p}", "--base", "{m}", "--runs-folder", "{p}/0.txt"], "0.txt is a file; choose a folder."),
        (["typo.toml"], 'Unknown setting "lerning_rate" in typo.toml. Did you mean "learning_rate"?'),
        (["missing.toml"], "There is no run file missing.toml."),
        (["broken.toml"], "broken.toml is not a TOML file"),
        ([], "Nothing to train."),
    ],
)
def test_a_mistake_is_one_sentence(
    words: list[str],
    sentence: str,
    mistake: Callable[..., str],
    pictures: Path,
    tiny_models: dict[str, Path],
    tmp_path: Path,
) -> None:
    import torch

    (tmp_path / "empty").mkdir()
    save_file({"lora_unet_x.lora_down.weight": torch.zeros(2, 2)}, tmp_path / "lora.safetensors")
    (tmp_path / "typo.toml").write_text(f'data = "{pictures}"\nlerning_rate = 1e-4\n')
    (tmp_path / "broken.toml").write_text("rank = = 3")

    def fill(text: str) -> str:
        return text.replace("{p}", str(pictures)).replace("{m}", str(tiny_models["sd1"]))

    assert fill(sentence) in mistake("train", *map(fill, words))


def test_captions_that_are_all_empty_are_one_sentence(
    mistake: Callable[..., str], pictures: Path, tiny_models: dict[str, Path]
) -> None:
    for file in pictures.glob("*.txt"):
        file.write_text("")
    base = ("--base", tiny_models["sd1"])
    sentence = "has a caption, and there is no trigger word"
    assert f"No picture in {pictures} {sentence}" in mistake("train", "--data", pictures, *base)
    assert f"None of the 6 pictures {sentence}" in mistake("train", "--more-data", pictures, *base)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_a_base_folder_with_a_part_missing_is_one_sentence(
    part: str, mistake: Callable[..., str], pictures: Path, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    import shutil

    base = tmp_path / "base"
    shutil.copytree(tiny_models["sd1"], base)
    shutil.rmtree(base / part)
    assert (
        mistake("train", "--data", pictures, "--base", base)
        == f"The base model {base} has no {part} folder. Copy the model again, whole."
    )


def test_a_lora_of_the_wrong_family_is_one_sentence_and_leaves_no_run_folder(
    cli: Cli, tiny_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    first = make_run(tiny_models["sdxl"], pictures, tmp_path / "first", steps=1)
    train_here(first)
    code, out, err = cli(
        "train",
        "--base",
        tiny_models["sd1"],
        "--data",
        pictures,
        "--start-from",
        first.export / "test.safetensors",
        *SMALL,
    )
    assert code == 1 and "Traceback" not in out + err
    assert "was made for SDXL, and the base model is SD 1.x. Choose a LoRA made for SD 1.x" in err
    assert not (tmp_path / "runs").exists()  # it is refused by its header, before anything is made


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_runs_folder_is_one_sentence(
    mistake: Callable[..., str], tiny_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "no permission to write there" in mistake(
        "train", "--data", pictures, "--base", tiny_models["sd1"], "--runs-folder", tmp_path / "locked"
    )


def test_a_read_only_runs_folder_is_one_sentence_also_for_root(
    mistake: Callable[..., str], tiny_models: dict[str, Path], pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert "no permission to write there" in mistake("train", "--data", pictures, "--base", tiny_models["sd1"])


def test_the_version_is_told(cli: Cli) -> None:
    assert cli("--version") == (0, f"LoRA Atelier {__version__}\n", "")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere there is always a screen")
@pytest.mark.parametrize("words", [(), ("open", "x.png")])
def test_a_window_without_a_screen_is_a_sentence(
    words: tuple[str, ...], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    code, out, said = cli(*words)
    assert (code, out) == (1, "")
    assert said.startswith("Error: There is no screen here") and said.endswith("see lora-atelier --help.\n")


def test_help_of_train_explains_every_setting(cli: Cli) -> None:
    from trainer.settings import TrainingSettings

    started = time.monotonic()
    _, out, _ = cli("train", "--help")
    assert time.monotonic() - started < 20
    for name in TrainingSettings.model_fields:
        assert f"--{name.replace('_', '-')}" in out or name == "previews"


def test_inspect_of_something_else_is_one_sentence(mistake: Callable[..., str], pictures: Path) -> None:
    assert "is not a .safetensors file" in mistake("inspect", pictures / "0.png")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals")
def test_a_run_that_the_system_killed_needs_less_memory_when_it_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run_folder.RunFolder(tmp_path)
    folder.settings_path.write_text(settings_file.dumps(settings_file.from_dict({"batch_size": 2})), encoding="utf-8")
    dies = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
    monkeypatch.setattr(worker_process, "command_for", lambda path, wrapper=(): dies)
    assert main(["train", str(tmp_path)]) == 1
    said = "From now on the run needs less memory: frozen weights are no longer kept packed."
    assert said in capsys.readouterr().err
    assert rungs.lowered(folder).packed_weights == "off"
    assert main(["train", str(tmp_path), "--worker", "env"]) == 1
    assert "less memory" not in capsys.readouterr().err, "the memory of another machine, perhaps"
