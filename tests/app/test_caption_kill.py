"""Killed at any moment of a bulk edit, every caption is exactly an old or a new text, and the history can be read and undone.

LORA_ATELIER_KILLS=100 kills that often.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

from app.caption_history import CaptionHistory

KILLS = int(os.environ.get("LORA_ATELIER_KILLS", "10"))
COUNT = 40
EDITOR = """
import sys
from pathlib import Path
from app.caption_history import CaptionHistory, Change
folder, first = Path(sys.argv[1]), int(sys.argv[2])
pictures = sorted(folder.glob("*.png"))
history = CaptionHistory(folder.parent / "captions.jsonl")
print("begun", flush=True)
for number in range(first, first + 10_000):
    text = f"edit {number}, " + ", ".join(f"tag {number}.{n}" for n in range(200)) + f", end {number}"
    history.carry_out(history.edit(f"Edit {number}", [Change(p, None, text) for p in pictures]))
    print(number, flush=True)
    if number % 5 == 0:
        history.carry_out(history.undo())
"""


def whole(text: str) -> int:
    """The number of the edit that wrote this; -1 for the text of the beginning. Anything else fails."""
    if text == "the beginning":
        return -1
    found = re.match(r"edit (\d+), ", text)
    assert found, f"half a caption: {text[:60]!r}"
    number = int(found[1])
    tags = ", ".join(f"tag {number}.{n}" for n in range(200))
    assert text == f"edit {number}, {tags}, end {number}", f"half a caption: {text[-60:]!r}"
    return number


def edits_in(folder: Path) -> list[int]:
    """The edits that the caption files are of."""
    return [whole((folder / f"{n:03d}.txt").read_text(encoding="utf-8")) for n in range(COUNT)]


def test_a_killed_bulk_edit_leaves_each_caption_old_or_new(tmp_path: Path) -> None:
    folder, rng = tmp_path / "pictures", random.Random(5)
    folder.mkdir()
    for n in range(COUNT):
        (folder / f"{n:03d}.png").write_bytes(b"a picture")
        (folder / f"{n:03d}.txt").write_text("the beginning", encoding="utf-8")
    first, mixed, stood = 1, 0, [-1] * COUNT
    for _ in range(KILLS):
        command = [sys.executable, "-c", EDITOR, str(folder), str(first)]
        editor = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
        assert editor.stdout is not None and editor.stdout.readline() == "begun\n"
        time.sleep(rng.uniform(0, 0.25))
        editor.kill()
        said = editor.stdout.read().split()
        editor.stdout.close()
        editor.wait()
        last = int(said[-1]) if said else first - 1
        numbers = edits_in(folder)
        for before, after in zip(stood, numbers, strict=True):  # an old text is its own, a new one of this process
            assert after == before or first <= after <= last + 1, f"{before} became {after} in edits {first} to {last}"
        mixed += len(set(numbers)) > 1
        first = last + 2
        history = CaptionHistory(tmp_path / "captions.jsonl")
        assert not history.problem
        _goes_back(history, folder, said)
        stood = edits_in(folder)
    assert mixed, "no kill came in the middle of an edit: the test would show nothing"


def _goes_back(history: CaptionHistory, folder: Path, said: list[str]) -> None:
    """After a kill in an edit, undo gives every caption that it had changed its text of before."""
    if not history.can_undo:
        assert not said
        return
    entry = history.entries[history.position - 1]
    step = history.undo()
    assert step is not None
    history.carry_out(step)
    for change in entry.changes:
        text = change.picture.with_suffix(".txt").read_text(encoding="utf-8")
        assert text == change.before, "undo after a kill"
