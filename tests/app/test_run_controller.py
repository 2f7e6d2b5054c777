"""run_controller.py with real child processes as workers: tiny programs that speak the protocol, or do not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PySide6.QtCore import QTimer

from app import worker_process
from app.run_controller import RunController
from tests.app import workers
from trainer import control, rungs, settings_file
from trainer import events as e
from trainer.run_folder import RunFolder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytestqt.qtbot import QtBot

PATIENCE_MS = 30_000
ROOT = Path(__file__).parents[2]
LOCKS = f"""
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from trainer.run_folder import RunFolder
lock = RunFolder(Path(folder)).locked(); lock.__enter__()
"""


class Heard:
    """What a controller told, in order."""

    def __init__(self, controller: RunController) -> None:
        self.events: list[e.Event] = []
        self.states: list[str] = []
        self.ends = 0
        controller.eventTaken.connect(self.events.append)
        controller.stateChanged.connect(self.states.append)
        controller.ended.connect(self._on_ended)

    def _on_ended(self) -> None:
        self.ends += 1

    @property
    def kinds(self) -> list[str]:
        return [e.type_name(type(event)) for event in self.events]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    (tmp_path / "run").mkdir()
    return RunFolder(tmp_path / "run")


def worker(folder: RunFolder, body: str) -> tuple[RunController, Heard]:
    """A controller whose worker will be that script."""
    script = folder.path.parent / "worker.py"
    script.write_text(workers.HEAD + body, encoding="utf-8")
    controller = RunController(folder, (sys.executable, str(script)))
    return controller, Heard(controller)


def run(controller: RunController, qtbot: QtBot) -> None:
    with qtbot.waitSignal(controller.ended, timeout=PATIENCE_MS):
        controller.start()


def test_events_arrive_in_order_and_the_end_is_told_once(folder: RunFolder, qtbot: QtBot) -> None:
    controller, heard = worker(folder, workers.RUNS_TO_THE_END)
    assert controller.state == "starting" and not controller.is_running
    run(controller, qtbot)
    assert heard.kinds == ["hello", "started", *["step_done"] * 10, "finished"]
    assert [event.step for event in heard.events if isinstance(event, e.StepDone)] == list(range(1, 11))
    assert heard.states == ["preparing", "training", "finished"] and heard.ends == 1
    assert not controller.is_running and controller.state == "finished"
    assert controller.outcome.was_successful and controller.outcome.returncode == 0
    assert controller.sentence() == "The run is complete."
    assert list(controller.record.steps) == list(range(1, 11))


def test_a_run_that_fails_tells_its_sentence(folder: RunFolder, qtbot: QtBot) -> None:
    controller, heard = worker(folder, "begin(); tell('failed', message='Rank is 0.', field='rank'); sys.exit(1)")
    run(controller, qtbot)
    assert controller.state == "failed" and controller.sentence() == "Rank is 0."
    assert controller.outcome.failed is not None and controller.outcome.failed.field == "rank"
    assert heard.states[-1] == "failed"


def test_garbage_is_kept_and_the_events_around_it_are_heard(folder: RunFolder, qtbot: QtBot) -> None:
    body = "begin(); print('no json'); print('{\"type\": \"dance\"}'); print(); steps(1, 2); tell('finished', step=2, completed=True)"
    controller, heard = worker(folder, body)
    run(controller, qtbot)
    assert heard.kinds == ["hello", "started", "step_done", "step_done", "finished"]
    assert len(controller.outcome.garbage) >= 2 and "no json" in controller.outcome.garbage[0]
    assert controller.sentence() == "The run is complete."


def test_a_program_that_speaks_another_language_is_told(folder: RunFolder, qtbot: QtBot) -> None:
    controller, heard = worker(folder, "print('usage: worker [-h]'); sys.exit(2)")
    run(controller, qtbot)
    assert heard.events == [] and controller.state == "lost"
    assert "ended with status 2" in controller.sentence() and "usage: worker [-h]" in controller.sentence()


def test_a_worker_that_says_nothing_has_ended_all_the_same(folder: RunFolder, qtbot: QtBot) -> None:
    controller, heard = worker(folder, "")
    run(controller, qtbot)
    assert heard.events == [] and heard.states == ["lost"] and controller.state == "lost"
    assert controller.sentence() == "The worker ended with status 0 before the run was finished. Press Start again."


def test_a_crash_at_step_3_is_told_with_the_log_and_the_way_on(folder: RunFolder, qtbot: QtBot) -> None:
    body = """
begin(); steps(1, 3)
os.makedirs(os.path.join(folder, "checkpoints", "000002")); open(os.path.join(folder, "checkpoints", "000002", "state.json"), "w").close()
print("Traceback: it is broken", file=sys.stderr, flush=True)
os._exit(3)
"""
    controller, _ = worker(folder, body)
    run(controller, qtbot)
    assert controller.state == "lost" and controller.outcome.returncode == 3
    assert controller.sentence() == (
        "The worker ended with status 3 before the run was finished. Press Resume to go on from step 2."
    )
    assert controller.log_tail() == "Traceback: it is broken"
    assert controller.record.step == 3 and controller.record.checkpoints == [2]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals")
def test_a_worker_that_is_killed_is_told_with_the_signal(folder: RunFolder, qtbot: QtBot) -> None:
    controller, _ = worker(folder, "begin(); steps(1, 2); os.kill(os.getpid(), 9)")
    run(controller, qtbot)
    assert controller.state == "lost" and controller.outcome.returncode == -signal.SIGKILL
    assert controller.sentence().startswith(
        "The worker was ended by SIGKILL (often the system ran out of memory) before"
    )


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals")
def test_a_run_that_the_system_killed_is_resumed_with_less_memory(
    folder: RunFolder, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_file.from_dict({"batch_size": 2})
    folder.settings_path.write_text(settings_file.dumps(settings), encoding="utf-8")
    script = folder.path.parent / "worker.py"
    script.write_text(workers.HEAD + "begin(); steps(1, 2); os.kill(os.getpid(), 9)", encoding="utf-8")
    monkeypatch.setattr(
        worker_process, "command_for", lambda path, wrapper=(): [sys.executable, str(script), "worker", str(path)]
    )
    controller = RunController(folder)
    run(controller, qtbot)
    what = "the blocks that need most are computed twice instead of kept"
    assert controller.sentence() == (
        "The worker was ended by SIGKILL (often the system ran out of memory) before the run was finished. "
        f"From now on the run needs less memory: {what}. Press Start again."
    )
    assert rungs.lowered(folder).gradient_checkpointing == "some" and folder.settings().gradient_checkpointing == "off"
    run(controller, qtbot)
    assert rungs.lowered(folder).gradient_checkpointing == "all"


def test_our_own_kill_is_no_crash(folder: RunFolder, qtbot: QtBot) -> None:
    controller, heard = worker(folder, workers.WAITS_FOR_A_WORD)
    controller.start()
    qtbot.waitUntil(lambda: controller.record.step == 3, timeout=PATIENCE_MS)
    assert controller.can_kill
    with qtbot.waitSignal(controller.ended, timeout=PATIENCE_MS):
        controller.kill()
    assert not controller.can_kill and heard.ends == 1
    assert controller.sentence() == "You ended the run at once. What was saved before is kept. Press Start again."
    assert not (folder.path / rungs.FILE).exists()


def test_a_program_that_does_not_exist_is_told_at_once(folder: RunFolder, qtbot: QtBot) -> None:
    controller = RunController(folder, ("/nowhere/lora-atelier",))
    heard = Heard(controller)
    run(controller, qtbot)
    assert heard.states == ["failed"] and heard.ends == 1 and not controller.is_running
    sentence = controller.sentence()
    assert sentence.startswith(
        "The worker could not be started: there is no program /nowhere/lora-atelier on this computer"
    )
    assert "Where runs are computed" in sentence


def test_a_flood_of_events_leaves_the_window_alive(folder: RunFolder, qtbot: QtBot) -> None:
    controller, heard = worker(folder, "begin(20000); steps(1, 20000); tell('finished', step=20000, completed=True)")
    turns = []
    timer = QTimer(interval=5)
    timer.timeout.connect(lambda: turns.append(len(heard.events)))
    timer.start()
    run(controller, qtbot)
    timer.stop()
    assert heard.events[-1] == e.Finished(20000, completed=True) and len(heard.events) == 20003
    assert list(controller.record.steps) == list(range(1, 20001))
    between = [n for n in set(turns) if 0 < n < 20003]
    assert len(between) > 2, "the event loop stood still"


def test_commands_reach_the_worker(folder: RunFolder, qtbot: QtBot) -> None:
    body = """
begin(); steps(1, 1)
for line in sys.stdin:
    tell("warned", message=line.strip())
    if '"stop"' in line: break
tell("finished", step=1, completed=False)
"""
    controller, heard = worker(folder, body)
    controller.pause()  # nobody is there to hear it, and nobody minds
    controller.start()
    qtbot.waitUntil(lambda: controller.record.step == 1, timeout=PATIENCE_MS)
    for tell in (controller.pause, controller.resume, controller.save_now, controller.sample_now):
        tell()
    with qtbot.waitSignal(controller.ended, timeout=PATIENCE_MS):
        controller.stop(keep=False)
    said = [e.decode(event.message) for event in heard.events if isinstance(event, e.Warned)]
    assert said == [e.Pause(), e.Resume(), e.SaveNow(), e.SampleNow(), e.Stop(export=False)]
    controller.stop(keep=True)
    assert not folder.commands_path.exists()


def test_pause_resume_and_stop_are_states(folder: RunFolder, qtbot: QtBot) -> None:
    controller, heard = worker(folder, workers.WAITS_FOR_A_WORD)
    controller.start()
    qtbot.waitUntil(lambda: controller.record.step == 3, timeout=PATIENCE_MS)
    for tell, state in ((controller.pause, "paused"), (controller.resume, "training")):
        with qtbot.waitSignal(
            controller.stateChanged, timeout=PATIENCE_MS, check_params_cb=lambda s, state=state: s == state
        ):
            tell()
    assert controller.sentence() == ""
    with qtbot.waitSignal(controller.ended, timeout=PATIENCE_MS):
        controller.stop(keep=True)
        assert controller.state == "stopping"
    assert heard.states == ["preparing", "training", "paused", "training", "stopping", "stopped"]
    assert controller.sentence() == "The run was stopped at step 3 and kept."


def test_a_run_that_was_lost_can_be_started_again(folder: RunFolder, qtbot: QtBot) -> None:
    controller, _ = worker(folder, "begin(); steps(1, 3); sys.exit(3)")
    run(controller, qtbot)
    assert controller.state == "lost"
    (folder.path.parent / "worker.py").write_text(
        workers.HEAD + "begin(10, 2); steps(3, 10); tell('finished', step=10, completed=True)"
    )
    run(controller, qtbot)
    assert controller.state == "finished" and list(controller.record.steps) == list(range(1, 11))
    assert controller.sentence() == "The run is complete."


# In the background


@pytest.fixture
def background(folder: RunFolder) -> Iterator[subprocess.Popen[str]]:
    """A worker that another window left behind: it holds the folder, tells events.jsonl only, and hears a line on stdin."""
    script = folder.path.parent / "background.py"
    body = """
begin(); steps(1, 3); print("ready", flush=True)
for line in sys.stdin:
    exec(line)
"""
    script.write_text(workers.HEAD.replace("    print(line, flush=True)\n", "") + LOCKS + body, encoding="utf-8")
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, str(script), str(folder.path)], stdin=pipe, stdout=pipe, text=True
    ) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def order(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def test_a_worker_in_the_background_is_followed_to_its_end(
    folder: RunFolder, background: subprocess.Popen[str], qtbot: QtBot
) -> None:
    controller = RunController(folder)
    heard = Heard(controller)
    controller.attach()
    assert controller.is_running and controller.state == "training" and controller.record.step == 3
    assert not controller.can_kill and controller.sentence() == ""
    order(background, "steps(4, 6)")
    qtbot.waitUntil(lambda: controller.record.step == 6, timeout=PATIENCE_MS)
    assert heard.kinds == ["step_done"] * 3, "what was read at the start is not told again"
    order(background, "tell('warned', message='ü'); print('garbage', file=log, flush=True)")
    with qtbot.waitSignal(controller.ended, timeout=PATIENCE_MS):
        order(background, "tell('finished', step=6, completed=True); sys.exit()")
    assert controller.state == "finished" and not controller.is_running and heard.ends == 1
    assert controller.sentence() == "The run is complete." and controller.record.warnings == ["ü"]
    assert list(controller.record.steps) == list(range(1, 7)) and "garbage" in controller.outcome.garbage[0]


def test_commands_reach_a_worker_in_the_background_through_the_file(
    folder: RunFolder, background: subprocess.Popen[str], qtbot: QtBot
) -> None:
    controller = RunController(folder)
    controller.attach()
    controller.pause()
    controller.stop(keep=True)
    lines = folder.commands_path.read_text(encoding="utf-8").splitlines()
    assert [e.decode(line) for line in lines] == [e.Pause(), e.Stop(export=True)]
    assert controller.state == "stopping"
    controller.detach()
    assert not controller.is_running and background.poll() is None


def test_a_worker_in_the_background_that_dies_without_a_word_is_lost(
    folder: RunFolder, background: subprocess.Popen[str], qtbot: QtBot
) -> None:
    controller = RunController(folder)
    controller.attach()
    order(background, "print('{\"type\": \"step_d', end='', file=log, flush=True)")
    with qtbot.waitSignal(controller.ended, timeout=PATIENCE_MS):
        background.kill()
    assert controller.state == "lost"
    assert controller.sentence() == "The worker went away before the run was finished. Press Start again."


def test_a_worker_that_is_detached_lives_on_and_can_be_attached_again(folder: RunFolder, qtbot: QtBot) -> None:
    body = (
        LOCKS
        + """
from trainer.control import LineControl
from trainer.events import Stop
ears = LineControl(sys.stdin, RunFolder(Path(folder)).commands_path)
begin(100000)
open(os.path.join(folder, "pid"), "w").write(str(os.getpid()))
for n in range(1, 3000):
    try: steps(n, n)
    except OSError: sys.stdout = open(os.devnull, "w")
    heard = ears.poll()
    if any(isinstance(c, Stop) for c in heard): break
    time.sleep(0.02)
tell("finished", step=n, completed=False)
"""
    )
    first, _ = worker(folder, body)
    first.start()
    qtbot.waitUntil(lambda: first.record.step >= 2, timeout=PATIENCE_MS)
    process = first._worker
    assert process is not None
    try:
        first.detach()
        left_at = first.record.step
        process._process.stdin.close()  # type: ignore[union-attr]  # as the system does when the window's process ends
        second = RunController(folder)
        heard = Heard(second)
        second.attach()
        qtbot.waitUntil(lambda: second.record.step > left_at + 5, timeout=PATIENCE_MS)
        assert folder.is_held() and second.state == "training"
        with qtbot.waitSignal(second.ended, timeout=PATIENCE_MS):
            second.stop(keep=False)
        assert heard.states[-2:] == ["stopping", "stopped"] and second.sentence().startswith(
            "The run was stopped at step"
        )
        qtbot.waitUntil(lambda: not first.is_running, timeout=PATIENCE_MS)
    finally:
        process.kill()


def test_a_controller_may_go_while_its_worker_speaks(folder: RunFolder, qtbot: QtBot) -> None:
    controller, _ = worker(folder, "begin(100000)\nfor n in range(1, 3000):\n    steps(n, n); time.sleep(0.005)")
    controller.start()
    qtbot.waitUntil(lambda: controller.record.step >= 1, timeout=PATIENCE_MS)
    process = controller._worker
    assert process is not None
    controller.deleteLater()
    listener = next(thread for thread in threading.enumerate() if thread.name == "worker events")
    with qtbot.waitSignal(controller.destroyed, timeout=PATIENCE_MS):
        pass
    process.kill()
    listener.join(PATIENCE_MS / 1000)
    assert not listener.is_alive()
    process.close()


def test_the_file_for_commands_is_the_one_that_the_worker_reads(folder: RunFolder) -> None:
    control.append(folder.commands_path, e.Resume())
    assert folder.commands_path == folder.path / "commands.jsonl"
