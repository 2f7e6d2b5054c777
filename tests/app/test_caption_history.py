"""The journal of caption edits: back and forth, over sessions, and beside other programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from app import caption_history
from app.caption_history import CaptionHistory, Change, Outcome

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "project" / "captions.jsonl"


def do(history: CaptionHistory, label: str, **captions: tuple[Path, str]) -> Outcome:
    return history.carry_out(history.edit(label, [Change(p, None, text) for p, text in captions.values()]))


def back(history: CaptionHistory) -> Outcome:
    step = history.undo()
    assert step is not None
    return history.carry_out(step)


def forth(history: CaptionHistory) -> Outcome:
    step = history.redo()
    assert step is not None
    return history.carry_out(step)


def text(folder: Path, name: str) -> str:
    return (folder / name).read_text(encoding="utf-8")


def test_an_edit_is_written_undone_and_redone(pictures: Path, journal: Path) -> None:
    history = CaptionHistory(journal)
    outcome = do(history, "Edit", a=(pictures / "0.png", "a fox"), b=(pictures / "1.png", "an owl"))
    assert (outcome.captions, outcome.problems) == ({}, ())
    assert (text(pictures, "0.txt"), text(pictures, "1.txt")) == ("a fox", "an owl")
    assert (history.can_undo, history.undo_text, history.can_redo, history.redo_text) == (True, "Edit", False, "")
    back(history)
    assert text(pictures, "0.txt") == "blob, number 0, round thing"
    assert (history.can_undo, history.redo_text) == (False, "Edit")
    forth(history)
    assert (text(pictures, "0.txt"), text(pictures, "1.txt")) == ("a fox", "an owl")
    assert history.redo() is None


def test_undo_and_redo_work_in_a_later_session(pictures: Path, journal: Path) -> None:
    first = CaptionHistory(journal)
    do(first, "One", a=(pictures / "0.png", "one"))
    do(first, "Two", a=(pictures / "0.png", "two"))
    do(first, "Three", a=(pictures / "0.png", "three"))
    back(first)
    second = CaptionHistory(journal)
    assert (second.undo_text, second.redo_text) == ("Two", "Three")
    back(second)
    assert text(pictures, "0.txt") == "one"
    third = CaptionHistory(journal)
    forth(third)
    forth(third)
    assert text(pictures, "0.txt") == "three"


def test_a_new_edit_forgets_what_was_taken_back(pictures: Path, journal: Path) -> None:
    history = CaptionHistory(journal)
    do(history, "One", a=(pictures / "0.png", "one"))
    back(history)
    do(history, "Two", a=(pictures / "0.png", "two"))
    assert not history.can_redo
    assert [e.label for e in CaptionHistory(journal).entries] == ["Two"]


def test_undo_removes_a_file_that_the_edit_made(pictures: Path, journal: Path) -> None:
    (pictures / "2.txt").unlink()
    history = CaptionHistory(journal)
    do(history, "Edit", a=(pictures / "2.png", "new"))
    assert text(pictures, "2.txt") == "new"
    back(CaptionHistory(journal))
    assert not (pictures / "2.txt").exists()


@pytest.mark.parametrize("raw", [
    b"two\nlines,  with spaces \n", b"\xef\xbb\xbfwith a mark", "größe".encode("utf-16"), b"caf\xe9 in cp1252",
])  # fmt: skip
def test_undo_gives_the_file_back_byte_for_byte(pictures: Path, journal: Path, raw: bytes) -> None:
    (pictures / "0.txt").write_bytes(raw)
    do(CaptionHistory(journal), "Edit", a=(pictures / "0.png", "naïve fox"))
    assert (pictures / "0.txt").read_bytes() == "naïve fox".encode()
    back(CaptionHistory(journal))
    assert (pictures / "0.txt").read_bytes() == raw


def test_the_caption_file_that_is_there_is_used_whatever_its_name(pictures: Path, journal: Path) -> None:
    (pictures / "0.txt").rename(pictures / "0.caption")
    do(CaptionHistory(journal), "Edit", a=(pictures / "0.png", "fox"))
    assert text(pictures, "0.caption") == "fox"
    assert not (pictures / "0.txt").exists()


def test_what_another_program_wrote_meanwhile_stays(pictures: Path, journal: Path) -> None:
    history = CaptionHistory(journal)
    do(history, "Edit", a=(pictures / "0.png", "fox"), b=(pictures / "1.png", "owl"))
    (pictures / "0.txt").write_text("from elsewhere", encoding="utf-8")
    outcome = back(history)
    assert text(pictures, "0.txt") == "from elsewhere"
    assert text(pictures, "1.txt") == "blob, number 1, round thing"
    assert outcome.captions == {pictures / "0.png": "from elsewhere"}
    (problem,) = outcome.problems
    assert problem == "The caption of 0.png was changed by another program meanwhile; it was left as it is."


def test_an_edit_over_another_programs_text_can_be_undone_to_that_text(pictures: Path, journal: Path) -> None:
    history = CaptionHistory(journal)
    (pictures / "0.txt").write_text("from elsewhere", encoding="utf-8")
    do(history, "Edit", a=(pictures / "0.png", "fox"))
    back(history)
    assert text(pictures, "0.txt") == "from elsewhere"


def test_a_read_only_file_is_named_and_the_rest_of_the_batch_is_done(pictures: Path, journal: Path) -> None:
    (pictures / "0.txt").chmod(0o444)
    history = CaptionHistory(journal)
    outcome = do(history, "Edit", a=(pictures / "0.png", "fox"), b=(pictures / "1.png", "owl"))
    (problem,) = outcome.problems
    assert problem.startswith("The caption of 0.png was not changed: 0.txt is read-only.")
    assert outcome.captions == {pictures / "0.png": "blob, number 0, round thing"}
    assert (text(pictures, "0.txt"), text(pictures, "1.txt")) == ("blob, number 0, round thing", "owl")
    assert [c.picture.name for c in CaptionHistory(journal).entries[0].changes] == ["1.png"]


def test_a_picture_that_has_gone_gets_no_caption(pictures: Path, journal: Path) -> None:
    (pictures / "0.png").unlink()
    history = CaptionHistory(journal)
    outcome = do(history, "Edit", a=(pictures / "0.png", "fox"))
    assert "0.png was not changed: the picture is no longer there" in outcome.problems[0]
    history.forget(outcome.step.entry)
    assert not history.can_undo
    assert not CaptionHistory(journal).can_undo


def test_a_cut_last_line_is_passed_over_and_what_follows_is_kept(pictures: Path, journal: Path) -> None:
    history = CaptionHistory(journal)
    do(history, "One", a=(pictures / "0.png", "one"))
    with journal.open("a", encoding="utf-8") as file:
        file.write('{"label": "Two", "chan')
    second = CaptionHistory(journal)
    assert second.undo_text == "One"
    do(second, "Three", a=(pictures / "0.png", "three"))
    assert [e.label for e in CaptionHistory(journal).entries] == ["One", "Three"]


def test_garbage_in_the_journal_harms_nothing(journal: Path) -> None:
    journal.parent.mkdir()
    journal.write_bytes(b'\xff\xfe\n[1, 2]\n{"failed": ["x"]}\n{"changes": []}\n{"undo": true}\n"text"\n{"label": 3}\n')
    history = CaptionHistory(journal)
    assert not history.can_undo and not history.can_redo


def test_a_journal_that_cannot_be_written_is_told_and_the_edit_is_done(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    history = CaptionHistory(tmp_path / "file" / "captions.jsonl")
    outcome = do(history, "Edit", a=(pictures / "0.png", "fox"))
    assert "cannot be written" in outcome.problems[0]
    assert text(pictures, "0.txt") == "fox"
    back(history)
    assert text(pictures, "0.txt") == "blob, number 0, round thing"


def test_a_long_batch_is_written_in_short_lines(pictures: Path, journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caption_history, "LINE_CHANGES", 2)
    do(CaptionHistory(journal), "Edit", **{str(i): (pictures / f"{i}.png", "fox") for i in range(5)})
    assert [len(json.loads(line)["changes"]) for line in journal.read_text().splitlines()] == [2, 2, 1]
    back(CaptionHistory(journal))
    assert text(pictures, "4.txt") == "blob, number 4, round thing"


def test_a_journal_that_has_grown_too_long_keeps_the_newest(
    pictures: Path, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = CaptionHistory(journal)
    for number in range(40):
        do(history, f"Edit {number}", a=(pictures / "0.png", f"caption {number} " + "x" * 200))
    back(history)
    back(history)
    monkeypatch.setattr(caption_history, "MAX_BYTES", 8000)
    second = CaptionHistory(journal)
    assert journal.stat().st_size < 8000
    assert (second.undo_text, second.redo_text) == ("Edit 37", "Edit 38")
    third = CaptionHistory(journal)
    assert (third.undo_text, third.redo_text, len(third.entries)) == ("Edit 37", "Edit 38", len(second.entries))
    back(third)
    assert text(pictures, "0.txt").startswith("caption 36 ")


def test_two_pictures_that_share_a_caption_file_are_undone_together(pictures: Path, journal: Path) -> None:
    (pictures / "0.jpg").write_bytes((pictures / "0.png").read_bytes())
    history = CaptionHistory(journal)
    do(history, "Edit", a=(pictures / "0.png", "one"), b=(pictures / "0.jpg", "two"))
    outcome = back(history)
    assert text(pictures, "0.txt") == "blob, number 0, round thing"
    assert outcome.problems == ()
