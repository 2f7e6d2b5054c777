"""Exports in the background, with the real command and with stand-ins that answer in other ways."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from app.exporter import Exported, Exporter, ExportRequest, words_for
from tests.app.run_folders import make_run
from trainer import lora_file

if TYPE_CHECKING:
    from pytestqt.qtbot import QtBot

REQUEST = ExportRequest(Path("run"), 20, Path("out.safetensors"), "name")


def script(*lines: str) -> list[str]:
    return [sys.executable, "-c", "\n".join(("import sys, json", *lines))]


def saying(**values: object) -> str:
    return f"print({json.dumps(json.dumps(values))}, flush=True)"


def test_the_words_pass_any_text_on_unharmed() -> None:
    request = ExportRequest(
        Path("-run"), 3, Path("/x/o.safetensors"), "--name", "-d", "--json", "bf16", "peft", Path("p.png"), with_words=True, prove=False, overwrite=True
    )  # fmt: skip
    words = words_for(request)
    assert words[0] == "export" and words[-2:] == ["--", "-run"]
    assert {
        "--name=--name", "--description=-d", "--tags=--json", "--step=3", "--precision=bf16", "--picture=p.png", "--force", "--format=peft",
        "--no-proof", "--sidecar", "--out=/x/o.safetensors", "--json",
    } <= set(words)  # fmt: skip
    assert {"--force", "--no-proof", "--with-data", "--sidecar"}.isdisjoint(words_for(REQUEST))
    whole = words_for(ExportRequest(Path("run"), 3, Path("/x/b"), "n", is_bundle=True, with_data=True))
    assert {"--bundle=/x/b", "--with-data"} <= set(whole) and not any(w.startswith("--out") for w in whole)


def test_a_checkpoint_is_exported_with_its_words_and_its_picture(qtbot: QtBot, home: Path) -> None:
    """The real command in a real process."""
    folder, out = make_run(home / "runs"), home / "loras" / "mine.safetensors"
    exporter, told = Exporter(), []
    exporter.progressed.connect(lambda *words: told.append(words))
    request = ExportRequest(
        folder.path,
        10,
        out,
        "My creature",
        "-odd words",
        "a, b",
        picture=folder.sample(20, 0, 42),
        with_words=True,
        prove=False,
    )
    with qtbot.waitSignal(exporter.done, timeout=120_000) as done:
        exporter.start(request)
        assert exporter.is_running
    assert done.args == [Exported(out, out.stat().st_size)] and not exporter.is_running
    assert "Writing the LoRA file" in {label for label, _, _ in told}
    header = lora_file.read_header(out)
    assert set(header.dtypes.values()) == {"F16"}
    metadata = header.metadata
    assert (metadata["modelspec.title"], metadata["ss_output_name"]) == ("My creature", "My_creature")
    assert (metadata["modelspec.description"], metadata["modelspec.tags"]) == ("-odd words", "a, b")
    with Image.open(out.with_name("mine.preview.png")) as copied:
        assert copied.info["parameters"] == "prompt 0, step 20"
    assert json.loads(out.with_name("mine.json").read_text())["activation text"] == "zorblin"


def test_what_the_command_tells_is_understood(qtbot: QtBot) -> None:
    exporter = Exporter()
    told = saying(
        type="done",
        path="/x/b/a.safetensors",
        size_bytes=7,
        proof="Loads.",
        proved=True,
        note="None.",
        bundle="/x/b",
        with_data=True,
    )
    with qtbot.waitSignal(exporter.done) as done:
        exporter.start(REQUEST, script(told))
    assert done.args == [Exported(Path("/x/b/a.safetensors"), 7, "Loads.", True, "None.", Path("/x/b"), True)]


def test_an_answer_without_a_file_is_no_success(qtbot: QtBot) -> None:
    exporter = Exporter()
    with qtbot.waitSignal(exporter.failed) as failed:
        exporter.start(REQUEST, script(saying(type="done", morning="good")))
    assert failed.args == ["The export said something that was not understood: {'morning': 'good'}"]
    assert not exporter.is_running


def test_failures_and_cancelling_are_passed_on(qtbot: QtBot) -> None:
    exporter = Exporter()
    with qtbot.waitSignal(exporter.failed) as failed:
        exporter.start(REQUEST, script(saying(type="failed", message="The disk is full."), "sys.exit(1)"))
    assert failed.args == ["The disk is full."]
    with qtbot.waitSignal(exporter.progressed):
        exporter.start(REQUEST, script(saying(type="progress", label="a", done=0, total=9), "sys.stdin.readline()", saying(type="cancelled")))  # fmt: skip
    with qtbot.waitSignal(exporter.cancelled):
        exporter.cancel()
        assert exporter.is_cancelling


def test_closing_the_app_ends_the_export(qtbot: QtBot) -> None:
    exporter = Exporter()
    exporter.start(REQUEST, script("sys.stdin.readline()"))
    exporter.finish()
    assert not exporter.is_running
