"""One run after the other, and what an earlier window left."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from app import places, run_queue
from app.run_queue import RunQueue
from tests.app import workers
from trainer import run_folder
from trainer.settings import TrainingSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytestqt.qtbot import QtBot


@pytest.fixture
def queue(qapp: object) -> Iterator[RunQueue]:
    out = RunQueue()
    yield out
    if out.current is not None and out.is_running:
        out.waiting_is_paused = True
        out.current.kill()


def settings(name: str) -> TrainingSettings:
    return TrainingSettings(name=name, runs_folder=places.runs())


def noted() -> dict[str, object]:
    return json.loads((places.home() / "queue.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def test_runs_follow_one_another(queue: RunQueue, qtbot: QtBot, tmp_path: Path) -> None:
    workers.use(tmp_path, workers.RUNS_TO_THE_END)
    ended: list[str] = []
    queue.ended.connect(lambda controller: ended.append(controller.folder.settings().name))
    first, second = queue.add(settings("one")), queue.add(settings("two"))
    assert queue.current is not None and queue.current.folder == first and queue.waiting == [second]
    qtbot.waitUntil(lambda: ended == ["one", "two"], timeout=10_000)
    assert queue.current.record.step == 10 and queue.current.state == "finished" and not queue.is_running
    assert noted() == {"training": "", "waiting": []}


def test_what_waits_can_be_moved_and_removed_and_is_written_down(queue: RunQueue, qtbot: QtBot, tmp_path: Path) -> None:
    workers.use(tmp_path, workers.WAITS_FOR_A_WORD)
    first, a, b, c = (queue.add(settings(n)) for n in ("first", "a", "b", "c"))
    queue.move(2, 0)
    queue.remove(1)
    assert queue.waiting == [c, b]
    assert noted() == {"training": str(first.path), "waiting": [str(c.path), str(b.path)]}
    assert a.settings_path.is_file(), "removed from the queue, not from the disk"
    queue.waiting_is_paused = True
    assert queue.current is not None
    with qtbot.waitSignal(queue.ended, timeout=10_000):
        queue.current.stop(keep=True)
    assert queue.current.state == "stopped" and queue.waiting == [c, b]


def test_a_run_is_queued_once(queue: RunQueue, tmp_path: Path, qtbot: QtBot) -> None:
    workers.use(tmp_path, workers.WAITS_FOR_A_WORD)
    first, second = queue.add(settings("x")), queue.add(settings("y"))
    queue.enqueue(first)
    queue.enqueue(second)
    assert queue.waiting == [second]
    with qtbot.waitSignal(queue.ended, timeout=10_000):
        queue.waiting_is_paused = True
        queue.current.stop(keep=False)  # type: ignore[union-attr]


def test_what_an_earlier_window_left_is_found(qapp: object) -> None:
    assert run_queue.left_over() == (None, [])
    folders = [run_folder.create(settings(n)) for n in ("one", "two", "three")]
    text = json.dumps({"training": str(folders[0].path), "waiting": [str(f.path) for f in folders[1:]] + ["/gone"]})
    (places.home() / "queue.json").write_text(text)
    assert run_queue.left_over() == (folders[0], folders[1:])
    folders[0].settings_path.unlink()
    assert run_queue.left_over() == (None, folders[1:])


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"training": 3}'])
def test_a_queue_file_that_makes_no_sense_is_no_queue(text: str, home: Path) -> None:
    home.mkdir(parents=True)
    (home / "queue.json").write_text(text)
    assert run_queue.left_over() == (None, [])


def test_a_worker_that_cannot_start_is_told_and_the_queue_goes_on(
    queue: RunQueue, qtbot: QtBot, tmp_path: Path
) -> None:
    from app import preferences

    preferences.put("worker_command", "no-such-program-here")
    sentences: list[str] = []
    queue.ended.connect(lambda controller: sentences.append(controller.sentence()))
    queue.add(settings("one"))
    assert len(sentences) == 1 and "could not be started" in sentences[0] and queue.current is not None
    assert queue.current.state == "failed"
