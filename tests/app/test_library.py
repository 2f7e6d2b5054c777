"""What the library finds on disk, and what it makes of it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from app import library, library_details, places
from app.library import Entry
from tests.app.run_folders import make_lora, make_run
from trainer.errors import AtelierError, ModelError, RunError


def test_an_empty_home_is_an_empty_library() -> None:
    assert library.scan() == []


def test_a_run_is_told_from_its_settings_and_events() -> None:
    folder = make_run(places.runs())
    (found,) = library.scan()
    assert (found.kind, found.title, found.base, found.trigger) == ("run", "zorblin", "Demo model", "zorblin")
    assert (found.state, found.step, found.total_steps, found.has_checkpoints) == ("finished", 20, 20, True)
    assert found.path == found.folder == folder.path
    assert found.picture == folder.sample(20, 0, 42)
    assert found.size_bytes == sum(p.stat().st_size for p in folder.path.rglob("*") if p.is_file())
    assert found.problem == "" and not found.can_continue and not found.is_active


@pytest.mark.parametrize(("ending", "state"), [("", "lost"), ("failed", "failed")])
def test_a_run_that_did_not_finish_can_be_continued(ending: str, state: str) -> None:
    make_run(places.runs(), ending=ending)
    (found,) = library.scan()
    assert found.state == state and found.can_continue


def test_a_run_at_work_is_active_and_cannot_be_thrown_away() -> None:
    folder = make_run(places.runs(), ending="")
    with folder.locked():
        (found,) = library.scan()
        assert found.is_active and not found.can_continue
        with pytest.raises(RunError, match=r"“zorblin” is training. Stop it first."):
            library_details.throw_away(found)


def test_only_the_two_ends_of_a_long_run_are_read() -> None:
    folder = make_run(places.runs())
    lines = folder.events_path.read_text().splitlines()
    step = next(line for line in lines if '"step_done"' in line)
    middle = [step.replace('"step": 1,', f'"step": {n},') for n in range(2, 9_000)]
    last = lines[-1].replace('"step": 20', '"step": 8999')
    folder.events_path.write_text("\n".join([*lines[:3], *middle, "x" * 200_000, *middle[-50:], last]))
    (found,) = library.scan()
    assert (found.state, found.step, found.total_steps) == ("finished", 8999, 20)


def test_a_run_whose_settings_cannot_be_read_is_shown_with_the_reason() -> None:
    folder = make_run(places.runs())
    folder.settings_path.write_text("rank = 0\nname = 'mine'")
    (found,) = library.scan()
    assert found.title == "mine" and "Rank is 0" in found.problem


def test_lora_files_are_found_in_exports_and_in_runs_with_their_pictures() -> None:
    folder = make_run(places.runs())
    inner = make_lora(folder.export / "zorblin.safetensors")
    outer = make_lora(places.exports() / "nice" / "other.safetensors", **{"modelspec.title": "Other"})
    beside = outer.with_name("other.preview.png")
    beside.write_bytes(folder.sample(0, 0, 42).read_bytes())
    found = {e.path: e for e in library.scan() if e.kind == "lora"}
    assert found.keys() == {inner, outer}
    assert found[inner].picture == folder.sample(20, 0, 42) and found[inner].run == folder.path
    assert found[outer].picture == beside and found[outer].run is None and found[outer].title == "Other"
    assert (found[outer].base, found[outer].trigger, found[outer].step) == ("Demo model", "zorblin", 20)


def test_a_broken_file_is_shown_with_the_reason() -> None:
    places.exports().mkdir(parents=True)
    (places.exports() / "bad.safetensors").write_bytes(b"nonsense")
    (found,) = library.scan()
    assert found.state == "unreadable" and "bad.safetensors is not a .safetensors file" in found.problem


def test_the_newest_comes_first() -> None:
    old, new = make_lora(places.exports() / "a.safetensors"), make_lora(places.exports() / "b.safetensors")
    os.utime(old, (1e9, 1e9))
    assert [e.path for e in library.scan()] == [new, old]


def test_files_and_runs_from_elsewhere_are_remembered_and_can_be_taken_off(tmp_path: Path) -> None:
    file = make_lora(tmp_path / "downloads" / "x.safetensors")
    library.add_files([file])
    library.add_files([file])
    folder = make_run(tmp_path / "other runs")
    library.add_runs_folder(folder.path.parent)
    found = library.scan()
    assert sorted((e.path, e.added) for e in found) == sorted([(file, True), (folder.path, False)])
    library.forget_file(file)
    assert [e.path for e in library.scan()] == [folder.path] and file.exists()


def test_a_file_that_is_no_lora_is_not_added(tmp_path: Path) -> None:
    import numpy
    from safetensors.numpy import save_file

    save_file({"weight": numpy.zeros(3, numpy.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(
        ModelError,
        match=r"model.safetensors is a file of 1 tensor of a kind that is not known, e.g. weight, not a LoRA.",
    ):
        library.add_files([tmp_path / "model.safetensors"])
    with pytest.raises(ModelError, match="There is no file"):
        library.add_files([tmp_path / "gone.safetensors"])
    assert library.scan() == []


def test_a_list_that_is_damaged_counts_as_empty() -> None:
    places.home().mkdir(parents=True)
    (places.home() / "library.json").write_text("[")
    assert library.scan() == []
    (places.home() / "library.json").write_text(json.dumps({"files": 3, "runs_folders": []}))
    assert library.scan() == []


def test_every_word_of_a_search_must_occur() -> None:
    entry = Entry("lora", "Zörblin Night", Path("/x/night.safetensors"), Path("/x"), base="Dreamy", trigger="zrb")
    assert entry.matches("ZÖRBLIN dream") and entry.matches("") and entry.matches("zrb night.safe")
    assert not entry.matches("zörblin cat")


def test_the_settings_of_a_run_are_those_of_its_file_but_for_the_runs_folder() -> None:
    make_run(places.runs(), rank=12)
    values = library.settings_of(library.scan()[0])
    assert (
        values["rank"] == 12 and values["name"] == "zorblin" and "runs_folder" not in values and "version" not in values
    )


def test_the_settings_of_a_file_are_its_runs_or_what_it_says_itself(tmp_path: Path) -> None:
    folder = make_run(places.runs(), rank=12)
    inner, outer = make_lora(folder.export / "a.safetensors"), make_lora(tmp_path / "b.safetensors")
    assert library.settings_of(library.read_lora(inner))["rank"] == 12
    assert library.settings_of(library.read_lora(outer)) == {
        "name": "zorblin",
        "trigger": "zorblin",
        "rank": 8,
        "alpha": 4.0,
        "base": "demo",
    }


def test_a_file_that_says_nothing_has_no_settings(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    make_lora(tmp_path / "a.safetensors")
    save_file(load_file(tmp_path / "a.safetensors"), tmp_path / "b.safetensors")
    with pytest.raises(ModelError, match=r"b.safetensors does not say how it was trained."):
        library.settings_of(library.read_lora(tmp_path / "b.safetensors"))


def test_what_cannot_be_used_is_listed_with_what_it_is(tmp_path: Path) -> None:
    """LoHa and the like are shown, but not offered for training; names of others are no obstacle."""
    import numpy
    from safetensors.numpy import save_file

    loha, peft = tmp_path / "loha.safetensors", tmp_path / "peft.safetensors"
    save_file({"lora_unet_x.hada_w1_a": numpy.zeros((2, 2), numpy.float32)}, loha)
    halves = {f"unet.mid_block.attentions.0.proj_in.lora_{h}.weight": numpy.zeros((2, 2), numpy.float32) for h in "AB"}
    save_file(halves, peft, {"ss_base_model_version": "sdxl_1.0", "software": '{"name": "ai-toolkit"}'})
    library.add_files([loha, peft])
    found = {e.path: e for e in library.scan()}
    sentence = (
        "loha.safetensors is a LoHa (products of two LoRAs), which cannot be used here. Use a LoRA, LoCon or DoRA."
    )
    assert (found[loha].problem, found[peft].problem) == (sentence, "")
    assert library_details.state(found[loha]) == ("LoHa file", "warn")
    assert library_details.state(found[peft]) == ("LoRA file", "rate") and found[peft].base == "SDXL"
    told = library_details.describe(found[loha])
    assert told.problem == sentence and "note" not in dict(told.rows["File"])
    rows = dict(library_details.describe(found[peft]).rows["File"])
    assert (rows["layer names"], rows["made with"]) == ("diffusers'", "ai-toolkit")


def test_a_run_is_described_by_what_differs_from_the_defaults() -> None:
    make_run(places.runs(), rank=12, flip=True, learning_rate=3e-4)
    rows = library_details.describe(library.scan()[0]).rows
    settings, run = dict(rows["Settings"]), dict(rows["Run"])
    assert (settings["Rank"], settings["Mirror"], settings["Learning rate"]) == ("12", "yes", "0.0003")
    assert "Batch size" not in settings
    assert (run["length"], run["checkpoints"], run["base model"]) == ("20 steps", "10, 20", "Demo model")


def test_a_file_is_described_without_what_it_does_not_say(tmp_path: Path) -> None:
    rows = library_details.describe(library.read_lora(make_lora(tmp_path / "a.safetensors"))).rows
    assert dict(rows["About"])["trigger words"] == "zorblin"
    assert not any(value == "not said" for pairs in rows.values() for _, value in pairs)


def test_what_is_no_lora_cannot_be_described(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"x" * 20)
    with pytest.raises(AtelierError, match=r"is not a .safetensors file"):
        library_details.describe(library.read_lora(tmp_path / "a.safetensors"))


def test_throwing_away_goes_through_the_trash(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gone: list[str] = []
    monkeypatch.setattr(library_details, "_move_to_trash", lambda path: not gone.append(path))
    entry = library.read_lora(make_lora(tmp_path / "a.safetensors"))
    library_details.throw_away(entry)
    assert gone == [str(entry.path)]
    monkeypatch.setattr(library_details, "_move_to_trash", lambda path: False)
    with pytest.raises(RunError, match=r"could not be moved to the trash. Delete it in your file manager."):
        library_details.throw_away(entry)
    assert entry.path.exists()


def test_the_systems_trash_really_takes_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    path = make_lora(tmp_path / "a.safetensors")
    if not library_details._move_to_trash(str(path)):
        pytest.skip("no trash on this system")
    assert not path.exists()
