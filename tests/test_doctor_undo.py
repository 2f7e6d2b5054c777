"""Repairs can be taken back, whatever moment a crash comes at, and nothing is ever written over."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trainer import doctor_undo
from trainer.doctor_undo import Change, Move, Write
from trainer.errors import DataError

ROOT = Path(__file__).parents[1]


def contents(folder: Path) -> dict[str, bytes]:
    """All files that are not kept for undo."""
    files = (p for p in folder.rglob("*") if p.is_file() and ".lora-atelier" not in p.parts)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def fill(folder: Path) -> dict[str, bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("a.txt", "b.txt", "c.png", "d.png"):
        (folder / name).write_bytes(name.encode() * 3)
    return contents(folder)


def changes(folder: Path) -> list[Change]:
    return [
        Write(folder / "a.txt", (folder / "a.txt").read_bytes(), b"new"),
        Write(folder / "n.txt", None, b"made"),
        Move(folder / "c.png", folder / "c.jpg"),
        Move(folder / "d.png"),
    ]


def test_changes_are_made_and_taken_back(tmp_path: Path) -> None:
    before = fill(tmp_path)
    done = doctor_undo.carry_out(tmp_path, "Mend things", changes(tmp_path))
    assert (done.changed, done.problems) == (4, ())
    after = contents(tmp_path)
    assert after == {"a.txt": b"new", "n.txt": b"made", "c.jpg": before["c.png"], "b.txt": before["b.txt"]}
    assert [(s.id, s.label, s.is_done) for s in doctor_undo.steps(tmp_path)] == [(done.id, "Mend things", True)]
    assert doctor_undo.undo(tmp_path).problems == ()
    assert contents(tmp_path) == before
    assert doctor_undo.steps(tmp_path) == [] and list((tmp_path / doctor_undo.HOME).iterdir()) == []


def test_undo_works_after_the_folder_was_moved_as_a_whole(tmp_path: Path) -> None:
    before = fill(tmp_path / "old")
    doctor_undo.carry_out(tmp_path / "old", "Mend", changes(tmp_path / "old"))
    (tmp_path / "old").rename(tmp_path / "new")
    doctor_undo.undo(tmp_path / "new")
    assert contents(tmp_path / "new") == before


def test_steps_are_taken_back_one_by_one_or_by_name(tmp_path: Path) -> None:
    fill(tmp_path)
    first = doctor_undo.carry_out(tmp_path, "First", [Move(tmp_path / "c.png")])
    doctor_undo.carry_out(tmp_path, "Second", [Move(tmp_path / "d.png")])
    assert [s.label for s in doctor_undo.steps(tmp_path)] == ["Second", "First"]
    doctor_undo.undo(tmp_path, first.id)
    assert (tmp_path / "c.png").exists() and not (tmp_path / "d.png").exists()
    doctor_undo.undo(tmp_path)
    assert (tmp_path / "d.png").exists()
    with pytest.raises(DataError, match=r"There is no repair to take back in .*\."):
        doctor_undo.undo(tmp_path)
    with pytest.raises(DataError, match="There is no repair to take back"):
        doctor_undo.undo(tmp_path, first.id)


def test_a_file_is_never_moved_over_another(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "c.jpg").write_bytes(b"mine")
    done = doctor_undo.carry_out(tmp_path, "Rename", [Move(tmp_path / "c.png", tmp_path / "c.jpg")])
    assert done.changed == 0 and (tmp_path / "c.jpg").read_bytes() == b"mine" and (tmp_path / "c.png").exists()
    assert done.problems == (f"c.png was left as it is: there is a file c.jpg already. It is in {tmp_path}.",)
    assert doctor_undo.steps(tmp_path) == []


def test_what_another_program_changed_meanwhile_stays_as_it_left_it(tmp_path: Path) -> None:
    before = fill(tmp_path)
    doctor_undo.carry_out(tmp_path, "Mend", changes(tmp_path))
    (tmp_path / "a.txt").write_bytes(b"theirs")
    (tmp_path / "d.png").write_bytes(b"theirs too")
    (tmp_path / "c.jpg").unlink()
    problems = doctor_undo.undo(tmp_path).problems
    assert contents(tmp_path) == {"a.txt": b"theirs", "d.png": b"theirs too", "b.txt": before["b.txt"]}
    assert problems[0].startswith("There is another d.png now; the earlier one stays in ")
    assert problems[1:] == (
        "c.jpg was moved away by another program meanwhile; it cannot be put back.",
        "a.txt was changed by another program meanwhile; it was left as it is.",
    )
    kept = list((tmp_path / ".lora-atelier").rglob("d.png"))
    assert [p.read_bytes() for p in kept] == [before["d.png"]]
    assert doctor_undo.steps(tmp_path) == []


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    fill(tmp_path)
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(DataError, match="cannot be mended: no permission to write there"):
            doctor_undo.carry_out(tmp_path, "Mend", changes(tmp_path))
    finally:
        tmp_path.chmod(0o700)


def test_a_place_for_undo_that_is_a_file_is_a_sentence_and_nothing_is_changed(tmp_path: Path) -> None:
    before = fill(tmp_path)
    (tmp_path / ".lora-atelier").write_bytes(b"")
    with pytest.raises(DataError, match="cannot be mended"):
        doctor_undo.carry_out(tmp_path, "Mend", changes(tmp_path))
    (tmp_path / ".lora-atelier").unlink()
    assert contents(tmp_path) == before


def test_a_read_only_file_is_left_alone_and_named(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "a.txt").chmod(0o400)
    done = doctor_undo.carry_out(tmp_path, "Mend", changes(tmp_path))
    assert done.changed == 3 and done.problems == (
        f"a.txt was left as it is: a.txt is read-only. It is in {tmp_path}.",
    )
    assert doctor_undo.undo(tmp_path).problems == ()
    assert (tmp_path / "a.txt").read_bytes() == b"a.txt" * 3


def test_a_damaged_journal_and_one_of_a_newer_version_are_passed_over(tmp_path: Path) -> None:
    fill(tmp_path)
    done = doctor_undo.carry_out(tmp_path, "Mend", changes(tmp_path))
    journal = tmp_path / doctor_undo.HOME / done.id / doctor_undo.JOURNAL
    text = journal.read_text()
    journal.write_text(text[:50])
    assert doctor_undo.steps(tmp_path) == []
    journal.write_text(json.dumps(json.loads(text) | {"version": 99}))
    assert doctor_undo.steps(tmp_path) == []


CHILD = """
import sys
from pathlib import Path
from trainer import doctor_undo
root = Path(sys.argv[1])
print("ready", flush=True)
files = sorted(root.glob("*.txt"))
changes = [doctor_undo.Write(f, f.read_bytes(), b"new " + f.read_bytes()) for f in files]
changes += [doctor_undo.Move(f) for f in sorted(root.glob("*.png"))]
doctor_undo.carry_out(root, "Everything", changes)
doctor_undo.undo(root)
"""


def test_no_file_is_lost_or_half_written_when_the_process_is_killed_at_any_moment(tmp_path: Path) -> None:
    """Fifteen kills between the first change and the end of undo; each is followed by an undo in another process."""
    before = {}
    for number in range(60):
        (tmp_path / f"{number}.txt").write_bytes(b"caption %d" % number * 40)
        (tmp_path / f"{number}.png").write_bytes(b"picture %d" % number * 999)
    before = contents(tmp_path)
    interrupted = 0
    for attempt in range(15):
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE)
        assert child.stdout is not None and child.stdout.readline() == b"ready\n"
        time.sleep(0.004 * attempt)
        child.kill()
        child.wait()
        child.stdout.close()
        now = {n: d for n, d in contents(tmp_path).items() if not n.startswith(".")}
        assert all(data in (before.get(name), b"new " + before[name]) for name, data in now.items())
        interrupted += bool(doctor_undo.steps(tmp_path))
        while doctor_undo.steps(tmp_path):
            assert doctor_undo.undo(tmp_path).problems == ()
        assert {n: d for n, d in contents(tmp_path).items() if not n.startswith(".")} == before
    assert interrupted >= 3
