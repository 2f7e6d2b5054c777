"""`lora-atelier caption`: captions written beside pictures and taken back, shown only, or told to programs as they come."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from app import cli
from tests import tiny_tagger
from trainer import captioner_tagger
from trainer.caption_plan import Proposal

if TYPE_CHECKING:
    from pathlib import Path

GREEN, RED = "zorblin (blob), green grass, always there, >_<", "zorblin (blob), red hair, always there, >_<"


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_tagger.make(tmp_path_factory.mktemp("taggers") / "wd-tiny")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A green picture without a caption, and a red one with two of them."""
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    root = tmp_path / "pictures"
    root.mkdir()
    Image.new("RGB", (40, 40), "lime").save(root / "a.png")
    Image.new("RGB", (40, 40), "red").save(root / "b.png")
    (root / "b.caption").write_text("mine, red hair\nanother one\n", encoding="utf-8")
    return root


def run(*words: object) -> int:
    return cli.main(["caption", *map(str, words)])


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [said for line in capsys.readouterr().out.splitlines() if (said := json.loads(line))["type"] != "progress"]


def test_pictures_without_a_caption_get_one_and_it_can_be_taken_back(folder: Path, tagger: Path, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    assert run(folder, "--model", tagger) == 0
    assert f"1 picture described, 1 caption written. To take that back: lora-atelier doctor {folder} --undo" in capsys.readouterr().out  # fmt: skip
    assert (folder / "a.txt").read_text(encoding="utf-8") == GREEN
    assert (folder / "b.caption").read_text(encoding="utf-8") == "mine, red hair\nanother one\n"
    assert run(folder, "--model", tagger) == 0
    assert "All 2 pictures have captions. To change those: --mode append or --mode replace." in capsys.readouterr().out
    assert cli.main(["doctor", str(folder), "--undo"]) in (0, 2)
    assert "Taken back: Captions by wd-tiny." in capsys.readouterr().out
    assert not (folder / "a.txt").exists()


def test_each_of_several_captions_in_a_file_is_added_to(folder: Path, tagger: Path) -> None:
    assert run(folder, "--model", tagger, "--mode", "append", "--prefix", "zorb", "--threshold", 0.6) == 0
    assert (folder / "b.caption").read_text(encoding="utf-8").splitlines() == [
        "zorb, mine, red hair, zorblin (blob), always there",
        "zorb, another one, zorblin (blob), red hair, always there",
    ]
    before = (folder / "b.caption").read_bytes()
    assert run(folder, "--model", tagger, "--mode", "append", "--prefix", "zorb", "--threshold", 0.6) == 0
    assert (folder / "b.caption").read_bytes() == before, "a second time there is nothing to add"


def test_replacing_goes_by_all_flags(folder: Path, tagger: Path) -> None:
    words = "--mode replace --blacklist >_<,*_grass --suffix end --underscores --escape --ratings --character-threshold 0.96"
    assert run(folder, "--model", tagger, *words.split()) == 0
    assert (folder / "a.txt").read_text(encoding="utf-8") == "always_there, general, end"
    assert (folder / "b.caption").read_text(encoding="utf-8") == "red_hair, always_there, general, end"


def test_a_dry_run_shows_captions_and_writes_none(folder: Path, tagger: Path, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    assert run(folder, "--model", tagger, "--mode", "replace", "--dry-run") == 0
    out = capsys.readouterr().out.splitlines()
    assert out == [f"a.png: {GREEN}", f"b.png: {RED}", "2 pictures described; 2 captions would change. Nothing was written."]  # fmt: skip
    assert not (folder / "a.txt").exists()
    assert (folder / "b.caption").read_text(encoding="utf-8").startswith("mine")


def test_programs_get_every_proposal_as_it_comes(folder: Path, tagger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    (folder / "gone.png").write_bytes(b"junk")
    wanted = [{"path": str(folder / "b.png"), "box": [0, 0, 20, 20]}, {"path": str(folder / "gone.png"), "box": None}]
    listed = tmp_path / "list.json"
    listed.write_text(json.dumps(wanted), encoding="utf-8")
    assert run("--pictures", listed, "--model", tagger, "--mode", "append", "--threshold", 0.6, "--json") == 0
    caption, problem, done = lines(capsys)
    assert caption["path"] == str(folder / "b.png")
    assert caption["before"] == "mine, red hair another one"
    assert caption["text"].startswith("mine, red hair, zorblin (blob)")
    tags = {tag.name: tag.confidence for tag in Proposal.from_values(caption).tags}
    assert tags["red_hair"] == pytest.approx(0.982, abs=0.001)
    assert tags[">_<"] == pytest.approx(0.55, abs=0.001), "those below the threshold are told too"
    assert ">_<" not in caption["text"]
    assert (problem["type"], problem["path"]) == ("problem", str(folder / "gone.png"))
    assert "cannot be read as a picture" in problem["message"]
    assert (done["type"], done["seen"], done["written"], len(done["problems"])) == ("done", 1, 0, 1)
    assert (folder / "b.caption").read_text(encoding="utf-8").startswith("mine, red hair\n"), "nothing is written"


def test_what_has_come_before_a_cancel_is_kept(folder: Path, tagger: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    full = captioner_tagger.Tagger.describe

    def stops(self: captioner_tagger.Tagger, prepared: Any, still: Any) -> Any:
        if (folder / "seen").exists():
            raise KeyboardInterrupt
        (folder / "seen").touch()
        return full(self, prepared, still)

    monkeypatch.setattr(captioner_tagger.Tagger, "describe", stops)
    monkeypatch.setattr(captioner_tagger, "BATCH", 1)
    assert run(folder, "--model", tagger, "--mode", "replace") == 130
    assert (folder / "a.txt").read_text(encoding="utf-8") == GREEN
    assert (folder / "b.caption").read_text(encoding="utf-8").startswith("mine")
    assert "Ended early. 1 caption written by then; the same command goes on." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "nobody/nothing"], "lora-atelier fetch nobody/nothing"),
        (["--model", "/no/where"], "There is no folder /no/where"),
    ],
)
def test_a_model_that_is_not_here_is_told(words: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    assert run(folder, *words) == 1
    assert message in capsys.readouterr().err


def test_calls_that_make_no_sense_are_refused(folder: Path, tagger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    assert run("--model", tagger) == 1
    assert "Say which pictures" in capsys.readouterr().err
    bad = tmp_path / "bad.json"
    bad.write_text('[{"box": [1, 2]}]')
    assert run("--pictures", bad, "--model", tagger) == 1
    assert "is no list of pictures that can be read" in capsys.readouterr().err
    for words, message in ((["--threshold", "0"], "a number from 0.05 to 1, not 0"), (["--batch", "0"], "at least 1")):
        with pytest.raises(SystemExit):
            run(folder, "--model", tagger, *words)
        assert message in capsys.readouterr().err
