"""arguments.py: a flag for every setting, and lists separated by commas."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from app import arguments
from trainer import settings_file
from trainer.settings import TrainingSettings


def parsed(*words: str) -> TrainingSettings:
    parser = argparse.ArgumentParser()
    arguments.add_settings(parser)
    return settings_file.from_dict(arguments.given(parser.parse_args(words)))


def test_what_is_not_given_keeps_its_default() -> None:
    assert parsed() == TrainingSettings()


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["--more-data", "/a/foxes, /b/one.png,"], "more_data", (Path("/a/foxes"), Path("/b/one.png"))),
        (["--more-data", "/with space/and.dot"], "more_data", (Path("/with space/and.dot"),)),
        (["--left-out", "a.png,sub/ö b.png"], "left_out", ("a.png", "sub/ö b.png")),
        (["--left-out", ""], "left_out", ()),
        (["--targets", "attention,convolutions"], "targets", ("attention", "convolutions")),
        (["--max-tokens", "150"], "max_tokens", 150),
        (["--flip"], "flip", True),
        (["--no-buckets"], "buckets", False),
        (["--learning-rate", "1e-5"], "learning_rate", 1e-5),
    ],
)
def test_a_flag_sets_its_setting(words: list[str], name: str, value: object) -> None:
    settings = parsed(*words)
    assert getattr(settings, name) == value
    assert settings == TrainingSettings(**{name: value})  # type: ignore[arg-type]


def test_what_stands_on_the_command_line_survives_a_run_file(tmp_path: Path) -> None:
    settings = parsed(
        "--more-data", "/a/foxes,/b/one.png", "--left-out", "x/y.png", "--preview", "a, b", "--preview", "c"
    )
    (tmp_path / "run.toml").write_text(settings_file.dumps(settings), encoding="utf-8")
    kept = settings_file.read(tmp_path / "run.toml")
    assert kept == settings.model_copy(update={"runs_folder": tmp_path / "runs"})
    assert [p.prompt for p in kept.previews] == ["a, b", "c"]
