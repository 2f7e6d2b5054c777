"""The worker's command: its words, its dialog, and a run that another command trains in a copied folder, as over ssh."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDialog, QLabel, QLineEdit, QPushButton

from app import preferences
from app.run_controller import RunController
from app.widgets.worker_dialog import SEVERAL_GPUS, WorkerDialog
from app.worker_process import WorkerProcess, command_for, command_words, missing_program
from tests.runs import make_run
from trainer import events as e
from trainer.errors import ConfigError
from trainer.run_folder import RunFolder

if TYPE_CHECKING:
    from pytestqt.qtbot import QtBot

    from app.main_window import MainWindow

ROOT = Path(__file__).parents[2]
PATIENCE_MS = 300_000
RUN = Path("/my runs/it's")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", [sys.executable, "-P", "-m", "app", "worker", "/my runs/it's"]),
        ("wrap --fast", ["wrap", "--fast", "worker", "/my runs/it's"]),
        ("'my wrap'", ["my wrap", "worker", "/my runs/it's"]),
        ("ssh gpu-box lora-atelier", ["ssh", "gpu-box", "lora-atelier", "worker", "'/my runs/it'\"'\"'s'"]),
        ("wrap -m app worker {run} --last", ["wrap", "-m", "app", "worker", "/my runs/it's", "--last"]),
        ("wrap worker /data/{name}", ["wrap", "worker", "/data/'it'\"'\"'s'"]),
        ("sh -c 'cd /x && lora-atelier worker {run}'", ["sh", "-c", "cd /x && lora-atelier worker '/my runs/it'\"'\"'s'"]),
    ],
)  # fmt: skip
def test_the_run_folder_stands_where_the_command_says_and_is_quoted_for_another_shell(
    text: str, words: list[str]
) -> None:
    assert command_for(RUN, command_words(text)) == words


def test_a_shell_reads_what_was_quoted_for_it() -> None:
    said = subprocess.run(
        command_for(RUN, ("sh", "-c", "printf %s {run}")), capture_output=True, text=True, check=True
    ).stdout
    assert said == str(RUN)


def test_a_quote_that_is_not_closed_is_told() -> None:
    with pytest.raises(ConfigError, match=r"A quote is not closed in the worker's command: ssh 'my box"):
        command_words("ssh 'my box")


def test_programs_beside_this_python_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    name = Path(sys.executable).name
    assert missing_program((name,)) == "" and missing_program(()) == ""
    assert missing_program(("no-such-program",)).startswith("there is no program no-such-program on this computer")
    (tmp_path / "run").mkdir()
    worker = WorkerProcess(RunFolder(tmp_path / "run"), (name, "-c", "print('hello')"))
    assert list(worker.events()) == [] and worker.outcome.returncode == 0 and len(worker.outcome.garbage) == 1
    worker.close()


# ---- the dialog


@pytest.fixture
def dialog(qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WorkerDialog:
    monkeypatch.setenv("LORA_ATELIER_HOME", str(tmp_path / "home"))
    dialog = WorkerDialog(tmp_path / "zorblin")
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, False)
    qtbot.addWidget(dialog)
    dialog.show()
    return dialog


def child(dialog: QDialog, kind: type, name: str) -> object:
    found = dialog.findChild(kind, name)
    assert found is not None, name
    return found


def test_the_dialog_shows_what_will_run_and_remembers_it(dialog: WorkerDialog, qtbot: QtBot, tmp_path: Path) -> None:
    field, shown = child(dialog, QLineEdit, "worker_command"), child(dialog, QLabel, "worker_shown")
    assert isinstance(field, QLineEdit) and isinstance(shown, QLabel)
    assert field.text() == "" and shown.text() == "Runs are trained on this computer."
    qtbot.keyClicks(field, f"{sys.executable} -m app worker {{run}}")
    assert shown.text().endswith(f"-m app worker {tmp_path / 'zorblin'}")
    assert not dialog.findChild(QLabel, "worker_problem").isVisible()
    qtbot.mouseClick(child(dialog, QPushButton, "worker_ok"), Qt.MouseButton.LeftButton)
    assert preferences.worker_command() == (sys.executable, "-m", "app", "worker", "{run}")
    again = WorkerDialog(tmp_path)
    qtbot.addWidget(again)
    assert again.field.text() == f"{sys.executable} -m app worker {{run}}"


def test_an_open_quote_cannot_be_kept_and_a_missing_program_is_named(dialog: WorkerDialog, qtbot: QtBot) -> None:
    problem, ok = child(dialog, QLabel, "worker_problem"), child(dialog, QPushButton, "worker_ok")
    assert isinstance(problem, QLabel) and isinstance(ok, QPushButton)
    dialog.field.setText("ssh 'my box")
    assert problem.isVisible() and "quote is not closed" in problem.text() and not ok.isEnabled()
    dialog.field.setText("no-such-program x")
    assert problem.text().startswith("There is no program no-such-program") and ok.isEnabled()
    qtbot.mouseClick(child(dialog, QPushButton, "worker_cancel"), Qt.MouseButton.LeftButton)
    assert preferences.worker_command() == ()


def test_an_example_fills_the_field(dialog: WorkerDialog, qtbot: QtBot) -> None:
    qtbot.mouseClick(child(dialog, QPushButton, "worker_example_gpus"), Qt.MouseButton.LeftButton)
    assert dialog.field.text() == SEVERAL_GPUS
    qtbot.mouseClick(child(dialog, QPushButton, "worker_example_copied"), Qt.MouseButton.LeftButton)
    assert command_words(dialog.field.text()) == ("sh", str(ROOT / "packaging" / "over_ssh.sh"), "gpu-box")


def test_a_damaged_command_is_a_sentence_when_a_run_starts(
    tmp_path: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORA_ATELIER_HOME", str(tmp_path / "home"))
    preferences.put("worker_command", "ssh 'my box")
    (tmp_path / "run").mkdir()
    controller = RunController(RunFolder(tmp_path / "run"), preferences.worker_command())
    with qtbot.waitSignal(controller.ended, timeout=PATIENCE_MS):
        controller.start()
    assert "could not be started: there is no program ssh 'my box on this computer" in controller.sentence()
    assert "Where runs are computed" in controller.sentence()


# ---- a run on "another machine"


@pytest.fixture
def other_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder on gpu-box, which a stand-in for ssh reaches: it runs in a shell there what it was given."""
    home, programs = tmp_path / "gpu-box", tmp_path / "programs"
    home.mkdir()
    programs.mkdir()
    ssh = programs / "ssh"
    ssh.write_text(
        f'#!/bin/sh\n[ "$1" = gpu-box ] || {{ echo "ssh: no host $1" >&2; exit 255; }}\nshift\ncd {shlex.quote(str(home))} && exec sh -c "$*"\n',
        encoding="utf-8",
    )
    there = programs / "atelier-there"
    there.write_text(
        f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(ROOT))} exec {sys.executable} -m app "$@"\n', encoding="utf-8"
    )
    for program in (ssh, there):
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    return home


@pytest.mark.skipif(sys.platform == "win32", reason="the script is for sh")
def test_a_run_is_trained_in_a_copied_folder_and_its_results_come_back_before_the_window_hears_of_them(
    other_machine: Path, tiny_models: dict[str, Path], pictures: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    prompt = {"prompt": "blob", "steps": 2, "seed": 7}
    folder = make_run(
        tiny_models["sd1"], pictures, tmp_path / "it's here", steps=4, save_every_steps=2, preview_every_steps=2, previews=[prompt]
    )  # fmt: skip
    words = ("sh", str(ROOT / "packaging" / "over_ssh.sh"), "gpu-box", "atelier-there")
    controller = RunController(folder, words)
    seen: list[tuple[str, bool]] = []

    def hear(event: e.Event) -> None:
        if isinstance(event, e.CheckpointSaved | e.PreviewDrawn | e.Exported):
            seen.append((e.type_name(type(event)), (folder.path / event.path).exists()))

    controller.eventTaken.connect(hear)
    with qtbot.waitSignal(controller.ended, timeout=PATIENCE_MS):
        controller.start()
    assert controller.outcome.was_successful, controller.log_tail()
    assert [kind for kind, _ in seen].count("preview_drawn") == 3 and all(there for _, there in seen)
    assert {"checkpoint_saved", "exported"} <= {kind for kind, _ in seen}
    copy = other_machine / "lora_atelier_runs" / folder.path.name
    assert (copy / "export" / "test.safetensors").read_bytes() == (folder.export / "test.safetensors").read_bytes()
    assert folder.checkpoints() == [2, 4] and folder.log_path.is_file()
    again = RunController(folder)  # as the window finds it after a restart: events.jsonl came along
    assert again.state == "finished" and again.record.step == 4


@pytest.mark.skipif(sys.platform == "win32", reason="the script is for sh")
def test_a_machine_that_cannot_be_reached_is_in_the_log(other_machine: Path, tmp_path: Path, qtbot: QtBot) -> None:
    (tmp_path / "run").mkdir()
    controller = RunController(
        RunFolder(tmp_path / "run"), ("sh", str(ROOT / "packaging" / "over_ssh.sh"), "elsewhere")
    )
    with qtbot.waitSignal(controller.ended, timeout=PATIENCE_MS):
        controller.start()
    assert controller.sentence().startswith("The worker ended with status 1 before the run was finished.")
    assert "ssh: no host elsewhere" in controller.log_tail()


def test_the_command_line_takes_a_worker_command(
    tiny_models: dict[str, Path], pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from app.cli import main

    script = tmp_path / "worker.py"
    script.write_text(
        "import json, sys\nprint(json.dumps({'type': 'failed', 'message': 'Words: ' + ' '.join(sys.argv[1:])}))\n",
        encoding="utf-8",
    )
    folder = make_run(tiny_models["sd1"], pictures, tmp_path)
    assert main(["train", str(folder.path), "--worker", f"{sys.executable} {script} {{name}}"]) == 1
    assert f"Error: Words: {folder.path.name}" in capsys.readouterr().err
    assert main(["train", str(folder.path), "--worker", "no-such-program"]) == 1
    assert "The worker cannot be started: there is no program no-such-program" in capsys.readouterr().err
    before = sorted(tmp_path.iterdir())
    words = ["--data", str(pictures), "--base", str(tiny_models["sd1"]), "--runs-folder", str(tmp_path)]
    assert main(["train", *words, "--worker", "no-such-program"]) == 1
    assert "Check --worker." in capsys.readouterr().err and sorted(tmp_path.iterdir()) == before
    assert main(["train", *words, "--worker", "a 'b"]) == 1
    assert "A quote is not closed" in capsys.readouterr().err and sorted(tmp_path.iterdir()) == before


def test_the_menu_opens_the_dialog(window: MainWindow) -> None:
    window.do.set_worker_command()
    dialog = window.findChild(QDialog, "worker_dialog")
    assert dialog is not None and dialog.isVisible()
    dialog.reject()
