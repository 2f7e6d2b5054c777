"""Class pictures drawn by a base model: what is in the folder, going on, what is refused, and the command line."""

from __future__ import annotations

import io
import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy
import pytest
from PIL import Image

from app import cli
from tests import tiny_models
from trainer import generate, settings_file
from trainer.errors import ModelError, RunError
from trainer.tasks import Cancelled, quiet

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.settings import TrainingSettings


def settings(base: Path, prompt: str = "a photo of a blob", **drawing: Any) -> TrainingSettings:
    usual = {"prompt": prompt, "width": 64, "height": 64, "steps": 2}
    return settings_file.from_dict(
        {"base": str(base), "device": "cpu", "precision": "fp32", "previews": [usual | drawing]}
    )


def pixels(path: Path) -> numpy.ndarray:
    with Image.open(path) as picture:
        return numpy.asarray(picture)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.make("sd1", tmp_path_factory.mktemp("models") / "sd1")


@pytest.fixture(scope="module")
def three(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three drawn pictures."""
    folder = tmp_path_factory.mktemp("three") / "class"
    assert generate.draw(settings(base, negative="rain"), folder, 3, quiet) == generate.Generated(folder, 0, 3)
    return folder


def test_pictures_have_captions_parameters_and_seeds_of_their_own(three: Path) -> None:
    assert sorted(p.name for p in three.iterdir()) == [f"0000{n}.{end}" for n in (1, 2, 3) for end in ("png", "txt")]
    assert (three / "00002.txt").read_text(encoding="utf-8") == "a photo of a blob"
    with Image.open(three / "00002.png") as picture:
        lines = picture.info["parameters"].splitlines()
        assert picture.size == (64, 64)
    assert lines[:2] == ["a photo of a blob", "Negative prompt: rain"] and "Seed: 43, Size: 64x64" in lines[2]
    assert not numpy.array_equal(pixels(three / "00001.png"), pixels(three / "00002.png"))


def test_it_goes_on_where_it_was_cancelled_and_draws_the_same(base: Path, three: Path, tmp_path: Path) -> None:
    folder, told = tmp_path / "class", []

    def tell(label: str, done: int, total: int) -> None:
        told.append((label, done, total))
        if done == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        generate.draw(settings(base, negative="rain"), folder, 3, tell)
    assert sorted(p.name for p in folder.glob("*.png")) == ["00001.png", "00002.png"]
    assert told[0] == ("Loading the base model", 0, 0) and told[-1] == ("Drawing pictures", 2, 3)
    before = (folder / "00001.png").stat().st_mtime_ns
    made = generate.draw(settings(base, negative="rain"), folder, 3, quiet)
    assert (made.kept, made.drawn) == (2, 1) and (folder / "00001.png").stat().st_mtime_ns == before
    for name in ("00001.png", "00003.png"):
        numpy.testing.assert_array_equal(pixels(folder / name), pixels(three / name))


def test_nothing_is_loaded_when_all_are_there(base: Path, three: Path) -> None:
    assert generate.draw(settings(base), three, 2, lambda *_: pytest.fail("it began to work")).kept == 2


def test_the_size_is_what_the_model_was_made_for(base: Path, tmp_path: Path) -> None:
    generate.draw(settings(base, width=0, height=0, steps=1), tmp_path, 1, quiet)
    assert pixels(tmp_path / "00001.png").shape == (64, 64, 3)


def test_force_draws_anew_but_replaces_nothing_that_was_not_drawn(base: Path, three: Path, tmp_path: Path) -> None:
    folder = tmp_path / "class"
    shutil.copytree(three, folder)
    with pytest.raises(RunError, match=r'show something else: "a photo of a blob". Choose another folder'):
        generate.draw(settings(base, "a dog"), folder, 1, quiet)
    generate.draw(settings(base, "a dog"), folder, 1, quiet, force=True)
    assert (folder / "00001.txt").read_text(encoding="utf-8") == "a dog"
    assert not numpy.array_equal(pixels(folder / "00001.png"), pixels(three / "00001.png"))
    Image.new("RGB", (8, 8)).save(folder / "00002.png")
    with pytest.raises(RunError, match=r"00002.png was not drawn here, and is not replaced"):
        generate.draw(settings(base, "a dog"), folder, 3, quiet, force=True)


def test_what_cannot_be_used_is_told(base: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match=r"is a file. Choose a folder"):
        generate.draw(settings(base), tmp_path / "file", 1, quiet)
    with pytest.raises(ModelError, match=r"There is no base model"):
        generate.draw(settings(tmp_path / "none"), tmp_path / "out", 1, quiet)
    assert not (tmp_path / "out").exists()


def test_the_command_line_draws_and_tells_programs_of_every_picture(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    words = ["generate", "--base", str(base), "--prompt", "a blob", "--count", "2", "--steps", "1", "--device", "cpu"]
    assert cli.main([*words, "--out", str(tmp_path / "a"), "--json"]) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [s["path"] for s in said if s["type"] == "picture"] == [str(tmp_path / "a" / f"0000{n}.png") for n in (1, 2)]
    assert said[-1] == {
        "type": "done", "path": str(tmp_path / "a"), "drawn": 2, "kept": 0, "sentence": f"2 pictures drawn in {tmp_path / 'a'}.",
    }  # fmt: skip
    assert cli.main([*words[:-4], "--out", str(tmp_path / "a")]) == 0
    assert capsys.readouterr().out == f"0 pictures drawn in {tmp_path / 'a'}; 2 were there already.\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--width", "13"], "Error: Width is 13; it must be a multiple of 8."),
        (["--steps", "0"], "Error: Steps is 0; it must lie between 1 and 200."),
        (["--device", "toaster"], 'Error: Device is "toaster"; it must be auto, cpu, cuda, cuda:1 or mps.'),
    ],
)
def test_flags_that_cannot_be_used(
    words: list[str], sentence: str, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["generate", "--base", str(base), "--prompt", "x", "--out", str(tmp_path / "x"), *words]
    assert cli.main(given) == 1
    assert capsys.readouterr().err.strip().splitlines()[-1] == sentence


def test_an_empty_prompt_and_a_count_of_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["generate", "--prompt", " ", "--out", str(tmp_path)]) == 1
    assert 'Say what to draw, e.g. --prompt "a photo of a woman".' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["generate", "--prompt", "x", "--out", str(tmp_path), "--count", "0"])
    assert "a whole number from 1 to 99,999, not 0" in capsys.readouterr().err
