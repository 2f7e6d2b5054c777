"""control.py: commands come through, nothing else does, and the end of the stream ends the run."""

from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING

import pytest

from trainer.control import LineControl, NoControl, append
from trainer.events import Command, Detach, Pause, Paused, Resume, SampleNow, SaveNow, Stop, encode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE_SECONDS = 10.0
COMMANDS: list[Command] = [Pause(), Resume(), SaveNow(), SampleNow(), Stop(export=True)]


class Window:
    """The other end of the pipe: lines are sent one by one, None closes it."""

    def __init__(self) -> None:
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def send(self, line: str | None) -> None:
        self._lines.put(line)

    def __iter__(self) -> Iterator[str]:
        while (line := self._lines.get()) is not None:
            yield line


@pytest.fixture
def window() -> Iterator[Window]:
    window = Window()
    yield window
    window.send(None)


def polled(control: LineControl, count: int) -> list[Command]:
    """As many commands as are wanted, or fewer when patience ends."""
    out: list[Command] = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(out) < count and time.monotonic() < deadline:
        out += control.poll()
        time.sleep(0.002)
    return out


def is_detached(control: LineControl) -> None:
    """Waits until the thread has read the word."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not control._detached and time.monotonic() < deadline:
        time.sleep(0.002)
    assert control._detached


def without_waiting_forever(work: object) -> object:
    """What `work` returns, from a thread, so that a hang fails instead of hanging."""
    out: list[object] = []
    thread = threading.Thread(target=lambda: out.append(work()), daemon=True)  # type: ignore[operator]
    thread.start()
    thread.join(PATIENCE_SECONDS)
    assert out, "it waits for ever"
    return out[0]


def test_commands_arrive_in_order(window: Window) -> None:
    control = LineControl(window)
    for command in COMMANDS:
        window.send(encode(command) + "\n")
    assert polled(control, len(COMMANDS)) == COMMANDS
    assert control.poll() == []


def test_poll_does_not_wait_for_a_silent_window(window: Window) -> None:
    control = LineControl(window)
    assert without_waiting_forever(control.poll) == []
    window.send(encode(Pause()))
    assert polled(control, 1) == [Pause()]


def test_wait_gives_one_command_and_leaves_the_next(window: Window) -> None:
    control = LineControl(window)
    window.send(encode(Resume()))
    window.send(encode(SaveNow()))
    assert without_waiting_forever(control.wait) == Resume()
    assert without_waiting_forever(control.wait) == SaveNow()


def test_the_end_of_the_stream_is_a_stop_that_only_saves() -> None:
    control = LineControl([encode(SaveNow()) + "\n"])
    assert polled(control, 2) == [SaveNow(), Stop(export=False)]
    assert polled(LineControl([]), 1) == [Stop(export=False)]


def test_garbage_is_kept_as_problems_and_what_follows_still_arrives() -> None:
    deep, huge = "[" * 100_000, '{"type": ' + "9" * 5000 + "}"
    lines = ["hello\n", "\n", "  \n", deep, huge, '{"type": []}\n', '{"type": "dance"}\n', encode(Pause())]
    control = LineControl(lines)
    assert polled(control, 2) == [Pause(), Stop(export=False)]
    problems = [control.problems.get_nowait() for _ in range(control.problems.qsize())]
    assert len(problems) == 5 and all(len(p) < 140 for p in problems)
    assert problems[0] == "Not a line of the worker's protocol: 'hello\\n'"
    assert problems[-1].startswith("Unknown message from the worker: ")


def test_an_event_that_is_sent_to_the_worker_is_a_problem() -> None:
    control = LineControl([encode(Paused(3)) + "\n"])
    assert polled(control, 1) == [Stop(export=False)]
    assert control.problems.get_nowait() == 'An event was sent to the worker: \'{"type": "paused", "step": 3}\''


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_stream_that_breaks_also_ends_the_run() -> None:
    """Else a paused run would wait for ever for a window that cannot be heard any more."""

    def broken() -> Iterator[str]:
        yield encode(SaveNow())
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")

    assert polled(LineControl(broken()), 2) == [SaveNow(), Stop(export=False)]
    for thread in threading.enumerate():  # its last words belong to this test, which expects them
        if thread.name == "commands":
            thread.join(PATIENCE_SECONDS)


def test_after_detach_the_end_of_the_stream_means_nothing_and_commands_come_from_the_file(
    window: Window, tmp_path: Path
) -> None:
    file = tmp_path / "commands.jsonl"
    control = LineControl(window, file)
    window.send(encode(Detach()))
    window.send(None)
    is_detached(control)
    assert control.poll() == []
    for command in COMMANDS:
        append(file, command)
    assert control.poll() == COMMANDS and control.poll() == []
    append(file, Pause())
    assert control.poll() == [Pause()]


def test_what_stood_in_the_file_before_detach_is_not_obeyed(window: Window, tmp_path: Path) -> None:
    file = tmp_path / "commands.jsonl"
    append(file, Stop())  # for a worker that has ended long ago
    control = LineControl(window, file)
    assert control.poll() == []
    window.send(encode(Detach()))
    is_detached(control)
    append(file, SaveNow())
    assert control.poll() == [SaveNow()]


def test_the_file_means_nothing_before_detach(window: Window, tmp_path: Path) -> None:
    control = LineControl(window, tmp_path / "commands.jsonl")
    append(tmp_path / "commands.jsonl", Stop())
    assert control.poll() == []
    window.send(encode(Pause()))
    assert polled(control, 1) == [Pause()]


def test_a_paused_run_hears_a_command_in_the_file(window: Window, tmp_path: Path) -> None:
    file = tmp_path / "commands.jsonl"
    control = LineControl(window, file)
    window.send(encode(Detach()))
    window.send(None)
    is_detached(control)
    threading.Timer(0.05, append, (file, Resume())).start()
    assert without_waiting_forever(control.wait) == Resume()


def test_half_a_line_in_the_file_waits_for_its_end_and_garbage_is_kept(window: Window, tmp_path: Path) -> None:
    file = tmp_path / "commands.jsonl"
    control = LineControl(window, file)
    window.send(encode(Detach()))
    is_detached(control)
    line = encode(Stop(export=True))
    file.write_text("hello\n\n" + encode(Paused(3)) + "\n" + line[:9], encoding="utf-8")
    assert control.poll() == []
    with file.open("a", encoding="utf-8") as more:
        more.write(line[9:] + "\n")
    assert control.poll() == [Stop(export=True)]
    problems = [control.problems.get_nowait() for _ in range(control.problems.qsize())]
    assert problems[0].startswith("Not a line") and problems[1].startswith("An event was sent") and len(problems) == 2


def test_without_control_nothing_comes_and_a_pause_ends_the_run() -> None:
    control = NoControl()
    assert control.poll() == []
    assert without_waiting_forever(control.wait) == Stop(export=False)
