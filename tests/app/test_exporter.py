"""Exports in the background, with the real command and with stand-ins that end in every other way."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from app.exporter import Exporter, ExportRequest, command_for
from tests.app.run_folders import make_run
from trainer import lora_file

if TYPE_CHECKING:
    from pytestqt.qtbot import QtBot

REQUEST = ExportRequest(Path("run"), 20, Path("out.safetensors"), "name")


def script(body: str) -> list[str]:
    return [sys.executable, "-c", f"import sys, os\n{body}"]


def test_the_words_pass_any_text_on_unharmed() -> None:
    request = ExportRequest(
        Path("-run"), 3, Path("/x/o.safetensors"), "--name", "-d", "--json", "bf16", Path("p.png"), overwrite=True
    )
    words = command_for(request)
    assert words[:4] == [sys.executable, "-m", "app", "export"] and words[-2:] == ["--", "-run"]
    assert {
        "--name=--name",
        "--description=-d",
        "--tags=--json",
        "--step=3",
        "--precision=bf16",
        "--picture=p.png",
        "--force",
    } <= set(words)
    assert "--force" not in command_for(REQUEST)


def test_a_checkpoint_is_exported_with_its_words_and_its_picture(qtbot: QtBot, home: Path) -> None:
    """The real command in a real process."""
    folder, out = make_run(home / "runs"), home / "loras" / "mine.safetensors"
    exporter = Exporter()
    picture = folder.sample(20, 0, 42)
    with qtbot.waitSignal(exporter.done, timeout=120_000) as done:
        exporter.start(ExportRequest(folder.path, 10, out, "My creature", "-odd words", "a, b", "fp16", picture))
        assert exporter.is_running
    assert done.args == [out] and not exporter.is_running
    header = lora_file.read_header(out)
    assert set(header.dtypes.values()) == {"F16"}
    told = header.metadata
    assert (told["modelspec.title"], told["ss_output_name"]) == ("My creature", "My_creature")
    assert (told["modelspec.description"], told["modelspec.tags"]) == ("-odd words", "a, b")
    with Image.open(out.with_name("mine.preview.png")) as copied:
        assert copied.info["parameters"] == "prompt 0, step 20"


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("sys.exit('noise\\nError: out.safetensors exists already.')", "out.safetensors exists already."),
        ("os.abort()", "ended from outside"),
        ("sys.exit('MemoryError')", "The export ended unexpectedly: MemoryError. Nothing was replaced; try again."),
        ("sys.exit(3)", "it gave no reason"),
        ("print('good morning')", "not understood: good morning"),
    ],
)
def test_an_export_that_fails_is_told_in_a_sentence(body: str, sentence: str, qtbot: QtBot) -> None:
    exporter = Exporter()
    with qtbot.waitSignal(exporter.failed, timeout=20_000) as failed:
        exporter.start(REQUEST, script(body))
    assert sentence in failed.args[0]
    assert not exporter.is_running


def test_a_program_that_is_missing_is_told(qtbot: QtBot) -> None:
    exporter = Exporter()
    with qtbot.waitSignal(exporter.failed, timeout=20_000) as failed:
        exporter.start(REQUEST, ["/nowhere/python"])
    assert "could not be started" in failed.args[0]


def test_closing_the_app_waits_for_the_export(qtbot: QtBot, tmp_path: Path) -> None:
    exporter = Exporter()
    exporter.start(REQUEST, script(f"open({str(tmp_path / 'written')!r}, 'w').close()\nprint('{{\"path\": \"x\"}}')"))
    exporter.finish()
    assert (tmp_path / "written").exists() and not exporter.is_running
