"""`lora-atelier forecast`: figures for people and programs, and an exit code."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from app import cli
from trainer import machine
from trainer.machine import Memory

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

WORDS = [
    "--trigger",
    "zorb",
    "--resolution",
    "256",
    "--batch-size",
    "8",
    "--bucket-step",
    "32",
    "--bucket-min",
    "64",
    "--device",
    "cpu",
]


def limit(monkeypatch: pytest.MonkeyPatch, free_gb: float) -> None:
    monkeypatch.setattr(machine, "own_memory", lambda: Memory(64 * 10**9, round(free_gb * 1e9)))


def test_it_tells_all_figures_and_starts_nothing(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, 50)
    runs = tmp_path / "runs"
    assert cli.main(["forecast", "--data", str(pictures), "--runs-folder", str(runs), *WORDS]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Fits. About ") and "LoRA file" in said and "Encoding the pictures" in said
    assert not runs.exists()


def test_programs_get_bytes(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, 50)
    assert cli.main(["forecast", "--data", str(pictures), "--runs-folder", str(tmp_path), "--json", *WORDS]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["verdict"] == "fits" and said["free_bytes"] == 50 * 10**9 and said["device"] == "cpu"
    assert said["phases"][said["phase"]]["bytes"] == sum(said["phases"][said["phase"]]["parts"].values())
    assert said["disk"]["file"] > 2 * said["trained"] > 0 and said["mends"] == [] and said["seconds"] is None


def test_what_does_not_fit_is_said_with_flags_that_make_it_fit(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["forecast", "--data", str(pictures), "--runs-folder", str(tmp_path), *WORDS, "--precision", "fp32"]
    limit(monkeypatch, 1000)
    cli.main([*words, "--json"])
    need = json.loads(capsys.readouterr().out)["memory_bytes"]
    limit(monkeypatch, need * 0.9 / 1e9)
    assert cli.main(words) == 2
    said = capsys.readouterr().out
    assert said.startswith("Does not fit.") and "It does not fit: training needs about" in said
    flags = said.splitlines()[-1].rsplit(": ", 1)[1].split()
    assert flags[0].startswith("--") and cli.main([*words, *flags]) == 0
    assert "Does not fit" not in capsys.readouterr().out


def test_without_anything_it_says_what_to_give(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["forecast"]) == 1
    assert "Nothing to train" in capsys.readouterr().err
