"""Which rung comes next, and what the run folder remembers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from trainer import rungs, settings_file
from trainer.run_folder import RunFolder, write_atomically
from trainer.rungs import KILLED, PREPARING, PREVIEW, SAVING, STEP, UPDATE, VALIDATION, Spot

if TYPE_CHECKING:
    from pathlib import Path

CPU, PACKED, GPU, APPLE = Spot("cpu", False), Spot("cpu", True), Spot("cuda", False), Spot("mps", False)


def folder_with(path: Path, **values: Any) -> RunFolder:
    folder = RunFolder(path)
    write_atomically(
        folder.settings_path,
        lambda p: p.write_text(settings_file.dumps(settings_file.from_dict(values)), encoding="utf-8"),
    )
    return folder


def descent(folder: RunFolder, work: str, spot: Spot) -> list[dict[str, Any] | str]:
    """Every rung that is left, as what it changes, or its name where it changes no setting."""
    out: list[dict[str, Any] | str] = []
    while (rung := rungs.following(folder, work, spot)) is not None:
        assert rung.rebuilds == bool(rung.settings.keys() & {"packed_weights", "offload", "quantization"})
        rungs.take(folder, rung)
        out.append(rung.settings or rung.name)
        assert len(out) < 20, "there is no end"
    return out


SOME, ALL = {"gradient_checkpointing": "some"}, {"gradient_checkpointing": "all"}


@pytest.mark.parametrize(
    ("work", "spot", "values", "wanted"),
    [
        (STEP, CPU, {}, ["frees", SOME, ALL]),
        (STEP, CPU, {"batch_size": 5}, ["frees", SOME, ALL, {"micro_batch": 2}, {"micro_batch": 1}]),
        (STEP, CPU, {"batch_size": 8, "micro_batch": 3}, ["frees", SOME, ALL, {"micro_batch": 1}]),
        (STEP, CPU, {"batch_size": 2, "micro_batch": 9}, ["frees", SOME, ALL, {"micro_batch": 1}]),
        (STEP, PACKED, {"gradient_checkpointing": "some"}, ["frees", {"packed_weights": "off"}, ALL]),
        (STEP, PACKED, {"packed_weights": "off", "gradient_checkpointing": "all"}, ["frees"]),
        (STEP, GPU, {"gradient_checkpointing": "all"}, ["frees", {"offload": True}]),
        (STEP, GPU, {"gradient_checkpointing": "all", "offload": True}, ["frees"]),
        (STEP, APPLE, {"gradient_checkpointing": "all", "out_of_memory": "adapt_4bit"}, ["frees"]),
        (UPDATE, CPU, {}, ["frees", SOME, ALL]),
        (VALIDATION, CPU, {"batch_size": 1}, ["frees", {"micro_batch": 3}, {"micro_batch": 1}]),
        (PREVIEW, PACKED, {"out_of_memory": "adapt_4bit"}, ["frees", "tiles", {"packed_weights": "off"}]),
        (PREPARING, PACKED, {}, ["frees", "tiles", {"packed_weights": "off"}]),
        (SAVING, GPU, {}, ["frees", {"offload": True}]),
        (STEP, CPU, {"out_of_memory": "stop"}, []),
    ],
)
def test_the_ladder_goes_down_from_what_costs_nothing_to_what_costs_most(
    work: str, spot: Spot, values: dict[str, Any], wanted: list[Any], tmp_path: Path
) -> None:
    assert descent(folder_with(tmp_path, **values), work, spot) == wanted


def test_four_bits_come_last_and_only_where_they_are_allowed_and_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rungs.importlib.util, "find_spec", lambda name: "there")
    assert descent(folder_with(tmp_path / "no"), STEP, CPU)[-1] == ALL
    allowed = folder_with(tmp_path / "yes", out_of_memory="adapt_4bit")
    assert descent(allowed, STEP, CPU)[-2:] == [ALL, {"quantization": "nf4"}]
    assert rungs.lowered(allowed).quantization == "nf4"
    monkeypatch.setattr(rungs.importlib.util, "find_spec", lambda name: None)
    assert descent(folder_with(tmp_path / "without", out_of_memory="adapt_4bit"), STEP, CPU)[-1] == ALL


def test_what_was_taken_is_remembered_and_run_toml_stays_as_it_is(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, batch_size=4)
    before = folder.settings_path.read_bytes()
    descent(folder, STEP, PACKED)
    assert folder.settings_path.read_bytes() == before
    lowered = rungs.lowered(folder)
    assert (lowered.packed_weights, lowered.gradient_checkpointing, lowered.micro_batch) == ("off", "all", 1)
    assert rungs.read(folder).words == (
        "what is not needed at the moment leaves memory; frozen weights are no longer kept packed; "
        "all blocks are computed twice instead of kept; a batch is computed 1 picture at a time"
    )


def test_stop_also_forgets_what_was_lowered_before(tmp_path: Path) -> None:
    folder = folder_with(tmp_path)
    descent(folder, STEP, PACKED)
    folder_with(tmp_path, out_of_memory="stop")
    assert rungs.lowered(folder) == folder.settings()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "{}", '{"settings": 3, "taken": {}}', '{"settings": {}, "taken": ["frees"]}', "\udce9",
     '{"settings": {"micro_batch": "many"}, "taken": {}}', '{"settings": {"rank": 4000, "base": "x"}, "taken": {}}'],
)  # fmt: skip
def test_a_damaged_note_only_costs_the_failures_again(text: str, tmp_path: Path) -> None:
    folder = folder_with(tmp_path)
    (tmp_path / rungs.FILE).write_bytes(text.encode(errors="surrogateescape"))
    assert rungs.lowered(folder) == folder.settings()
    rung = rungs.following(folder, STEP, CPU)
    assert rung is not None
    rungs.take(folder, rung)
    assert json.loads((tmp_path / rungs.FILE).read_text())["taken"] == {rung.name: rung.words}


def test_a_run_that_the_system_ended_is_lowered_by_more_than_what_costs_nothing(tmp_path: Path) -> None:
    folder = folder_with(tmp_path)
    assert rungs.lower_after_kill(folder, packed=True) == "frozen weights are no longer kept packed"
    assert rungs.read(folder).taken.keys() == {"frees", "unpacked"}
    assert "computed twice" in rungs.lower_after_kill(folder, packed=False)
    assert descent(folder, KILLED, CPU) == [ALL]
    assert rungs.lower_after_kill(folder, packed=False) == ""
