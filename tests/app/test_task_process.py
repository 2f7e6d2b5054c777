"""Work in a process of its own: where it stands, how it ends, and that it can be given up."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from app import task_process
from app.task_process import TaskProcess, command_for

if TYPE_CHECKING:
    import pytest
    from pytestqt.qtbot import QtBot


def script(*lines: str) -> list[str]:
    return [sys.executable, "-c", "\n".join(("import json, sys, time", *lines))]


def saying(**values: object) -> str:
    return f"print({json.dumps(json.dumps(values))}, flush=True)"


def test_progress_is_told_and_the_result_comes_last(qtbot: QtBot) -> None:
    task, told = TaskProcess(), []
    task.progressed.connect(lambda *words: told.append(words))
    with qtbot.waitSignal(task.done) as done:
        task.start([], script(saying(type="progress", label="Merging", done=1, total=2), "print('noise')", saying(type="done", path="x")))  # fmt: skip
        assert task.is_running
    assert told == [("Merging", 1, 2)]
    assert done.args == [{"path": "x"}]
    assert not task.is_running


def test_a_failure_is_the_sentence_it_said(qtbot: QtBot) -> None:
    task = TaskProcess()
    with qtbot.waitSignal(task.failed) as failed:
        task.start([], script(saying(type="failed", message="No."), "sys.exit(1)"))
    assert failed.args == ["No."]


def test_an_unforeseen_end_is_told_with_its_last_words(qtbot: QtBot) -> None:
    task = TaskProcess()
    with qtbot.waitSignal(task.failed) as failed:
        task.start([], script("raise ValueError('seven')"))
    assert failed.args == ["The work ended unexpectedly: ValueError: seven. Nothing was replaced; try again."]


def test_what_cannot_be_started_is_told(qtbot: QtBot) -> None:
    task = TaskProcess()
    with qtbot.waitSignal(task.failed) as failed:
        task.start([], ["/no/such/program"])
    assert failed.args[0].startswith("The work could not be started (")
    assert not task.is_running


def test_cancelling_is_asked_for_and_heard(qtbot: QtBot) -> None:
    task = TaskProcess()
    with qtbot.waitSignal(task.progressed):
        task.start([], script(saying(type="progress", label="a", done=0, total=9), "assert sys.stdin.readline() == 'cancel\\n'", saying(type="cancelled"), "sys.exit(130)"))  # fmt: skip
    with qtbot.waitSignal(task.cancelled):
        task.cancel()
        assert task.is_cancelling
    assert not task.is_running


def test_work_that_does_not_listen_is_ended(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_process, "CANCEL_PATIENCE_MS", 50)
    task = TaskProcess()
    with qtbot.waitSignal(task.progressed):
        task.start([], script(saying(type="progress", label="a", done=0, total=9), "time.sleep(60)"))
    with qtbot.waitSignal(task.cancelled):
        task.cancel()


def test_a_real_sub_command_is_found(qtbot: QtBot) -> None:
    task = TaskProcess()
    with qtbot.waitSignal(task.failed, timeout=30_000) as failed:
        task.start(["inspect", "/no/such/file.safetensors"])
    assert "There is no file /no/such/file.safetensors" in failed.args[0]
    assert command_for(["x"])[-1] == "x"


def test_what_it_tells_in_between_is_heard_also_after_a_cancel(qtbot: QtBot) -> None:
    task, heard = TaskProcess(), []
    task.said.connect(heard.append)
    with qtbot.waitSignal(task.said):
        task.start([], script(saying(type="caption", text="a"), "sys.stdin.readline()", saying(type="caption", text="b"), saying(type="cancelled")))  # fmt: skip
    with qtbot.waitSignal(task.cancelled):
        task.cancel()
    assert heard == [{"type": "caption", "text": "a"}, {"type": "caption", "text": "b"}]
