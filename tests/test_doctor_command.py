"""lora-atelier doctor: a report for people and for programs, an exit code, repairs and undo."""

from __future__ import annotations

import io
import json
import shutil
import sys
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import tomli_w

from app import cli, task_command

if TYPE_CHECKING:
    from pathlib import Path


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    code = cli.main(["doctor", *map(str, words)])
    said = capsys.readouterr()
    return code, said.out + said.err


def told(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any]]:
    code, said = run(capsys, *words, "--json")
    return code, json.loads(said.splitlines()[-1])


@pytest.fixture(autouse=True)
def _no_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())


def test_people_read_what_is_wrong_and_how_to_mend_it(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(7):
        shutil.copy(pictures / "3.png", pictures / f"copy{number}.png")
    (pictures / "0.txt").write_bytes("blob, café".encode("cp1252"))
    code, said = run(capsys, pictures, "--resolution", 64, "--trigger", "blob")
    assert code == 0 and said.startswith("13 pictures: ")
    assert (
        "TO LOOK AT" in said and "\nThe same file twice (8)\n" in said and "  Mend: --repair exact_duplicate\n" in said
    )
    assert "3.png = copy0.png = copy1.png" in said
    assert "    0.png: Windows-1252\n  Mend: --repair encoding" in said
    assert "    copy4.png\n    and 2 more\n  Mend: --repair missing_caption" in said
    assert all(len(line) <= 110 for line in said.splitlines() if " = " not in line)


def test_what_is_in_the_way_of_training_gives_another_exit_code(
    pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in pictures.glob("*.txt"):
        file.unlink()
    code, said = run(capsys, pictures)
    assert code == 2 and "IN THE WAY OF TRAINING\n\nNo captions and no trigger word (6)" in said
    assert run(capsys, pictures, "--trigger", "blob")[0] == 0
    code, values = told(capsys, pictures)
    assert code == 2 and values["type"] == "done" and values["blocks"] is True


def test_programs_get_the_whole_report(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (pictures / "0.txt").unlink()
    code, values = told(capsys, pictures, "--resolution", 64, "--preset", "character")
    assert code == 0 and values["type"] == "done" and values["pictures"] == 6
    kinds = {f["kind"]: f for f in values["findings"]}
    assert kinds["missing_caption"]["pictures"] == ["0.png"] and "10 to 40 are usual" in kinds["too_few"]["explanation"]


def test_repairs_are_made_and_taken_back(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(pictures / "3.png", pictures / "twin.png")
    shutil.copy(pictures / "3.txt", pictures / "twin.txt")
    (pictures / "0.txt").write_bytes("blob, café".encode("cp1252"))
    before = {p.name: p.read_bytes() for p in pictures.iterdir() if p.is_file()}
    usual = (pictures, "--resolution", 64, "--trigger", "blob")
    code, said = run(capsys, *usual, "--repair", "exact_duplicate", "encoding", "wrong_extension")
    assert code == 0 and said.startswith(
        "Leave out 1 picture: 2 files changed.\nWrite 1 caption anew as UTF-8: 1 file changed.\nWrong file extension: nothing to mend.\n\n6 pictures: "
    )
    assert not (pictures / "twin.png").exists() and (pictures / "0.txt").read_text(encoding="utf-8") == "blob, café"
    assert run(capsys, *usual, "--undo")[1].startswith("Taken back: Write 1 caption anew as UTF-8.\n\n6 pictures")
    code, values = told(capsys, *usual, "--undo")
    assert values["done"] == ["Taken back: Leave out 1 picture."] and values["pictures"] == 7
    assert {p.name: p.read_bytes() for p in pictures.iterdir() if p.is_file()} == before
    code, said = run(capsys, *usual, "--undo")
    assert code == 1 and said == f"Error: There is no repair to take back in {pictures}.\n"


def test_one_tag_can_be_mended_without_the_others(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, file in enumerate(sorted(pictures.glob("*.txt"))):
        file.write_text(
            "red_hat, big cat" if number == 0 else "red hat, big_cat" if number == 1 else "red hat, big cat"
        )
    run(capsys, pictures, "--resolution", 64, "--repair", "tag_spelling:red hat")
    assert [(pictures / f"{n}.txt").read_text() for n in range(2)] == ["red hat, big cat", "red hat, big_cat"]


def test_what_cannot_be_mended_is_a_sentence(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = run(capsys, pictures, "--repair", "border")
    assert code == 1 and said.startswith('Error: "border" cannot be mended; --repair takes unreadable, ')
    code, said = run(capsys, pictures / "nowhere")
    assert code == 1 and "does not exist" in said
    code, said = run(capsys, pictures, "--resolution", 3)
    assert code == 1 and "Resolution is 3" in said


def test_a_run_file_and_a_project_give_their_settings(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.toml"
    file.write_text('data = "pictures"\ntrigger = "blob"\nresolution = 64\nleft_out = ["0.png"]\n')
    assert told(capsys, file)[1]["pictures"] == 5
    project = tmp_path / "project.toml"
    settings = {"data": str(pictures), "resolution": 64}
    project.write_text(tomli_w.dumps({"version": 1, "title": "x", "preset": "style", "settings": settings}))
    values = told(capsys, project)[1]
    assert (
        values["pictures"] == 6
        and "few for a style" in {f["kind"]: f for f in values["findings"]}["too_few"]["explanation"]
    )
    project.write_text("[settings")
    code, said = run(capsys, project)
    assert code == 1 and "is not a TOML file" in said


def test_progress_is_told_and_the_work_can_be_given_up(
    pictures: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = run(capsys, pictures, "--json")
    steps = [json.loads(line) for line in said.splitlines()]
    assert {"Reading the folder", "Looking at pictures", "Comparing"} <= {s.get("label") for s in steps}

    class Cancelled:
        def is_set(self) -> bool:
            return True

        set = is_set

    monkeypatch.setattr(task_command, "threading", SimpleNamespace(Event=Cancelled, Thread=threading.Thread))
    code, said = run(capsys, pictures, "--json")
    assert code == 130 and json.loads(said.splitlines()[-1]) == {"type": "cancelled"}
