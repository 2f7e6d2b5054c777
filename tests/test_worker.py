"""The worker as a real process: protocol, commands, lock, the window's death, and how its end is told."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from app.worker_process import Outcome, WorkerProcess, command_for
from tests.runs import make_run
from trainer.control import append
from trainer.events import Detach, Event, Failed, Finished, Hello, Pause, Paused, Resume, Started, StepDone, Stop
from trainer.run_folder import RunFolder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE_SECONDS = 120


def wait_for(condition: Callable[[], Any]) -> Any:
    """What the condition gives as soon as that is true; fails when patience ends."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)
    return found


def last(folder: RunFolder, kind: str) -> dict[str, Any]:
    """The last event of a kind in events.jsonl, or an empty one."""
    whole = folder.events_path.read_text(encoding="utf-8").rpartition("\n")[0]
    return next((e for line in reversed(whole.splitlines()) if (e := json.loads(line))["type"] == kind), {})


def until(events: Iterator[Event], kind: type[Event]) -> Event:
    """The next event of that kind; fails when the worker ends before."""
    for event in events:
        if isinstance(event, kind):
            return event
        assert not isinstance(event, Failed), event
    raise AssertionError(f"the worker ended without {kind.__name__}")


def test_pause_resume_and_stop_act_within_a_step_and_every_event_is_kept(
    tiny_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    folder = make_run(tiny_models["sd1"], pictures, tmp_path, steps=10_000)
    worker = WorkerProcess(folder)
    events = worker.events()
    assert isinstance(next(events), Hello)
    until(events, StepDone)
    worker.tell(Pause())
    paused = until(events, Paused)
    worker.tell(Resume())
    step = until(events, StepDone)
    assert isinstance(paused, Paused) and isinstance(step, StepDone) and step.step == paused.step + 1
    worker.tell(Stop())
    finished = until(events, Finished)
    assert list(events) == []
    assert worker.outcome.was_successful and worker.outcome.returncode == 0
    assert worker.outcome.sentence() == f"The run was stopped at step {finished.step} and kept."  # type: ignore[attr-defined]
    kept = [json.loads(line)["type"] for line in folder.events_path.read_text().splitlines()]
    assert kept[0] == "hello" and kept[-1] == "finished" and kept.count("paused") == 1
    assert (folder.export / "test.safetensors").is_file()
    worker.close()


def test_when_the_window_dies_the_state_is_saved_and_the_worker_ends(
    tiny_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    folder = make_run(tiny_models["sd1"], pictures, tmp_path, steps=10_000)
    with subprocess.Popen(
        command_for(folder.path), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin and process.stdout
        for line in process.stdout:
            if '"step_done"' in line:
                break
        process.stdout.close()  # both pipes break, as they do when the window is killed
        process.stdin.close()
        assert process.wait(60) == 0
    assert len(folder.checkpoints()) == 1
    assert json.loads(folder.events_path.read_text().splitlines()[-1])["type"] == "finished"
    assert not folder.export.exists()


def test_a_run_that_is_left_in_the_background_goes_on_and_obeys_the_file(
    tiny_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    folder = make_run(tiny_models["sd1"], pictures, tmp_path, steps=100_000)
    worker = WorkerProcess(folder)
    try:
        until(worker.events(), StepDone)
        worker.tell(Detach())
        worker.close()  # both pipes, as when the window closes
        left_at = last(folder, "step_done")["step"]
        wait_for(lambda: last(folder, "step_done")["step"] > left_at + 3)
        append(folder.commands_path, Pause())
        paused = wait_for(lambda: last(folder, "paused"))["step"]
        assert folder.is_held() and folder.checkpoints() == [paused]

        second = WorkerProcess(folder)
        assert not any(isinstance(e, Started) for e in second.events())
        second.close()
        assert second.outcome.failed and second.outcome.failed.message.startswith("Another worker is training in")
        assert last(folder, "step_done")["step"] == paused, "it stands still"

        append(folder.commands_path, Resume())
        wait_for(lambda: last(folder, "step_done")["step"] > paused)
        append(folder.commands_path, Stop(export=True))
        assert worker._process.wait(PATIENCE_SECONDS) == 0
    finally:
        worker.kill()
        worker._process.wait()
    kept = [json.loads(line)["type"] for line in folder.events_path.read_text().splitlines()]
    assert (
        kept[-1] == "finished" and kept.count("hello") == 1 and (kept.count("paused"), kept.count("resumed")) == (1, 1)
    )
    assert (folder.export / "test.safetensors").is_file() and not folder.is_held()
    assert "Traceback" not in folder.log_path.read_text()


def test_half_a_line_of_a_worker_that_was_killed_does_not_swallow_the_first_one_of_the_next(tmp_path: Path) -> None:
    code = (
        "import sys, types; from pathlib import Path\n"
        "sys.modules['trainer.loop'] = types.SimpleNamespace(train=lambda *given: None)\n"
        "from trainer import worker; sys.exit(worker.main(Path(sys.argv[1])))"
    )
    folder = make_run(tmp_path, tmp_path, tmp_path)
    whole, cut = '{"type": "paused", "step": 7}\n', '{"type": "step_done", "st'
    for before in (cut, whole + cut, whole, ""):
        folder.events_path.write_text(before)
        subprocess.run(
            [sys.executable, "-c", code, str(folder.path)], input="", capture_output=True, text=True, check=True
        )
        lines = folder.events_path.read_text().splitlines()
        assert json.loads(lines[-1])["type"] == "hello" and len(lines) == len(before.splitlines()) + 1


def test_a_second_worker_on_the_same_folder_is_refused(
    tiny_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    folder = make_run(tiny_models["sd1"], pictures, tmp_path, steps=10_000)
    first = WorkerProcess(folder)
    events = first.events()
    until(events, Hello)
    second = WorkerProcess(folder)
    told = list(second.events())
    assert second.outcome.returncode == 1
    assert (
        second.outcome.sentence() == f"Another worker is training in {folder.path}. Stop it first, or start a new run."
    )
    assert not any(isinstance(e, Started) for e in told)
    first.kill()
    list(events)
    assert first.outcome.sentence().startswith(
        "The worker was ended by SIGKILL (often the system ran out of memory) before the run was finished."
    )
    first.close()
    second.close()


def test_what_a_library_prints_lands_in_the_log_and_not_in_the_protocol(
    tiny_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    folder = make_run(tiny_models["sd1"], pictures, tmp_path, steps=1)
    code = (
        "import os, sys; from pathlib import Path; from trainer import loop, worker\n"
        "real = loop.train\n"
        "def noisy(*a): print('printed by a library'); os.write(1, b'written to fd 1\\n'); return real(*a)\n"
        "loop.train = noisy; sys.exit(worker.main(Path(sys.argv[1])))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(folder.path)], input="", capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0
    assert all(json.loads(line)["type"] for line in ended.stdout.splitlines())
    log = folder.log_path.read_text()
    assert "printed by a library" in log and "written to fd 1" in log


def test_an_unforeseen_error_is_a_sentence_with_the_log_and_no_traceback_on_the_screen(
    tiny_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    folder = make_run(tiny_models["sd1"], pictures, tmp_path)
    code = (
        "import sys; from pathlib import Path; from trainer import loop, worker\n"
        "def broken(*a): raise KeyError('left')\n"
        "loop.train = broken; sys.exit(worker.main(Path(sys.argv[1])))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(folder.path)], input="", capture_output=True, text=True, check=False
    )
    last = json.loads(ended.stdout.splitlines()[-1])
    assert (ended.returncode, last["type"], last["unforeseen"]) == (1, "failed", True)
    assert (
        last["message"]
        == f"The run ended with an unforeseen error (KeyError: 'left'). The details are in {folder.log_path}; please report them."
    )
    assert "Traceback" not in ended.stdout + ended.stderr
    assert "Traceback" in folder.log_path.read_text()


def test_a_missing_run_folder_is_a_sentence(tmp_path: Path) -> None:
    worker = WorkerProcess(RunFolder(tmp_path / "nowhere"))
    list(worker.events())
    assert (
        worker.outcome.sentence()
        == f"There is no run folder {tmp_path / 'nowhere'}. Start a run with: lora-atelier train"
    )
    worker.close()


@pytest.mark.parametrize(
    ("events", "code", "sentence"),
    [
        ([Finished(8, completed=True)], 0, "The run is complete."),
        ([Finished(8, completed=False)], 0, "The run was stopped at step 8 and kept."),
        ([Failed("Rank is 0.")], 1, "Rank is 0."),
        ([], -signal.SIGSEGV, "The worker was ended by SIGSEGV before the run was finished. Start it again."),
        ([], -99, "The worker was ended by signal 99 before the run was finished. Start it again."),
        ([], 3, "The worker ended with status 3 before the run was finished. Start it again."),
        ([], None, "The worker went away before the run was finished. Start it again."),
    ],
)
def test_every_end_is_a_sentence(events: list[Event], code: int | None, sentence: str, tmp_path: Path) -> None:
    outcome = Outcome(RunFolder(tmp_path))
    for event in events:
        outcome.take(event)
    outcome.returncode = code
    assert outcome.sentence() == sentence


def test_a_crash_after_a_checkpoint_names_the_way_on(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.checkpoint(40).mkdir(parents=True)
    (folder.checkpoint(40) / "state.json").write_text("{}")
    outcome = Outcome(folder, returncode=-signal.SIGKILL)
    assert f'Resume it from step 40 with: lora-atelier train "{tmp_path}"' in outcome.sentence()


def test_garbage_from_the_worker_is_kept_and_does_not_stop_the_reading(tmp_path: Path) -> None:
    code = 'print("no json"); print(\'{"type": "finished", "step": 3, "completed": true}\')'
    script = tmp_path / "fake.py"
    script.write_text(code)
    worker = WorkerProcess(RunFolder(tmp_path), wrapper=(sys.executable, str(script)))
    assert list(worker.events()) == [Finished(3, completed=True)]
    assert len(worker.outcome.garbage) == 1 and "no json" in worker.outcome.garbage[0]
    worker.close()


def test_the_worker_starts_through_a_wrapper_as_a_list_of_words() -> None:
    assert command_for(Path("/r"), ("ssh", "box", "lora-atelier")) == ["ssh", "box", "lora-atelier", "worker", "/r"]


def test_bitsandbytes_is_not_imported_until_somebody_needs_it() -> None:
    """It takes a second and 45 MB; peft would import it for layers that are not used here."""
    pytest.importorskip("bitsandbytes")
    code = (
        "import sys\n"
        "from trainer import worker\n"
        "worker._loop()\n"
        "import torch, peft\n"
        "model = torch.nn.Sequential(torch.nn.Linear(4, 4))\n"
        "peft.inject_adapter_in_model(peft.LoraConfig(target_modules=['0']), model)\n"
        "assert 'bitsandbytes' not in sys.modules\n"
        "import bitsandbytes\n"
        "print(bitsandbytes.nn.Linear4bit.__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "Linear4bit\n", done.stderr
