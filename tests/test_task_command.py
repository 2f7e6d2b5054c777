"""Long work on the command line: JSON lines for programs, a sentence for people, and an end when it is asked for."""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from app import task_command
from trainer.errors import ModelError
from trainer.tasks import Cancelled, each, quiet

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainer.tasks import Tell


def options(as_json: bool) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    task_command.add_json(parser)
    return parser.parse_args(["--json"] if as_json else [])


def work(tell: Tell) -> Mapping[str, Any]:
    return {"sum": sum(each([1, 2, 3], "Adding", tell))}


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_programs_hear_progress_and_the_result(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert task_command.run(options(True), work, str) == 0
    said = lines(capsys)
    assert said[0] == {"type": "progress", "label": "Adding", "done": 0, "total": 3}
    assert said[-2:] == [{"type": "progress", "label": "Adding", "done": 3, "total": 3}, {"type": "done", "sum": 6}]


def test_people_read_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert task_command.run(options(False), work, lambda made: f"The sum is {made['sum']}.") == 0
    assert capsys.readouterr().out == "The sum is 6.\n"


def test_a_failure_is_a_line_for_programs_and_an_error_for_people(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(tell: Tell) -> Mapping[str, Any]:
        raise ModelError("This is no model.")

    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert task_command.run(options(True), fails, str) == 1
    assert lines(capsys) == [{"type": "failed", "message": "This is no model."}]
    with pytest.raises(ModelError, match="no model"):
        task_command.run(options(False), fails, str)


def test_the_word_cancel_ends_the_work(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(tell: Tell) -> Mapping[str, Any]:
        for n in range(10_000):
            tell("Waiting", n, 0)
            time.sleep(0.001)
        raise AssertionError("not cancelled")

    monkeypatch.setattr(sys, "stdin", io.StringIO("what\ncancel\n"))
    assert task_command.run(options(True), endless, str) == 130
    assert lines(capsys)[-1] == {"type": "cancelled"}


def test_each_tells_before_every_item_and_stops_when_told(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[int] = []

    def tell(label: str, done: int, total: int) -> None:
        if done == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        seen.extend(each(iter(range(5)), "x", tell, total=5))
    assert list(each(iter("ab"), "x", quiet)) == ["a", "b"]
    assert capsys.readouterr().err == ""
