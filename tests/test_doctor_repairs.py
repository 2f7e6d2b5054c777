"""What the doctor mends: the files afterwards, what is kept for undo, and that undo brings everything back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from PIL import Image

from tests.test_doctor_captions import examined, many
from trainer import dataset, doctor_repairs, doctor_undo
from trainer.doctor_findings import KINDS, Finding, finding
from trainer.doctor_repairs import REPAIRS, Done, Plan
from trainer.errors import ConfigError, DataError
from trainer.settings import TrainingSettings

if TYPE_CHECKING:
    from pathlib import Path


def fill(folder: Path, texts: dict[str, str | bytes | None]) -> dict[str, bytes]:
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        Image.new("RGB", (64, 64), (len(name) * 9 % 256, 40, 90)).save(folder / f"{name}.png")
        if text is not None:
            (folder / f"{name}.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    return contents(folder)


def contents(folder: Path) -> dict[str, bytes]:
    files = (p for p in folder.rglob("*") if p.is_file() and ".lora-atelier" not in p.parts)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def settings_for(folder: Path, **more: object) -> TrainingSettings:
    return TrainingSettings.model_validate({"data": folder, "resolution": 64, "trigger": "zor"} | more)


def mend(found: Finding, settings: TrainingSettings, *, by_moving: bool = False) -> Done:
    """Does the repair, checks that undo brings everything back, and does it again."""
    before = contents(settings.data)
    plan = doctor_repairs.plan(found, dataset.scan_training(settings), settings)
    assert contents(settings.data) == before, "a plan changes nothing"
    done = doctor_repairs.carry_out(plan, settings, by_moving=by_moving)
    if done.undo:
        assert contents(settings.data) != before
        assert doctor_undo.undo(settings.data, done.undo).problems == () and contents(settings.data) == before
        done = doctor_repairs.carry_out(plan, settings, by_moving=by_moving)
    return done


def caption(folder: Path, name: str) -> str:
    return (folder / f"{name}.txt").read_bytes().decode()


def test_every_repair_of_the_table_exists_and_is_used() -> None:
    assert {row.repair for row in KINDS.values()} - {""} == set(REPAIRS)


def test_leaving_out_touches_no_file_and_keeps_the_best_of_duplicates(tmp_path: Path) -> None:
    before = fill(tmp_path, many(4))
    found = finding(
        "near_duplicate", "", ("p00.png", "p01.png", "p02.png"), groups=(("p01.png", "p00.png", "p02.png"),)
    )
    done = mend(found, settings_for(tmp_path))
    assert done == Done("Leave out 2 pictures", left_out=("p00.png", "p02.png")) and contents(tmp_path) == before
    done = mend(finding("blurred", "", ("p03.png",)), settings_for(tmp_path))
    assert done.left_out == ("p03.png",) and done.undo == ""


def test_without_a_project_what_is_left_out_is_moved_away_with_its_caption(tmp_path: Path) -> None:
    before = fill(tmp_path, many(3))
    done = mend(finding("blurred", "", ("p01.png",)), settings_for(tmp_path), by_moving=True)
    assert set(contents(tmp_path)) == set(before) - {"p01.png", "p01.txt"} and done.left_out == ()
    assert done.sentence == "Leave out 1 picture: 2 files changed."


def test_a_caption_that_another_picture_shares_stays_with_it(tmp_path: Path) -> None:
    fill(tmp_path, many(3))
    Image.new("RGB", (64, 64)).save(tmp_path / "p01.jpg")
    mend(finding("blurred", "", ("p01.png",)), settings_for(tmp_path), by_moving=True)
    assert (tmp_path / "p01.txt").exists() and not (tmp_path / "p01.png").exists()


def test_wrong_endings_are_mended_with_captions_that_hold_the_whole_name(tmp_path: Path) -> None:
    before = fill(tmp_path, many(3))
    (tmp_path / "p00.txt").rename(tmp_path / "p00.png.txt")
    Image.new("RGB", (8, 8)).save(tmp_path / "p02.jpg")
    found = finding(
        "wrong_extension",
        "",
        ("p00.png", "p01.png", "p02.png"),
        endings=dict.fromkeys(("p00.png", "p01.png", "p02.png"), ".jpg"),
    )
    done = mend(found, settings_for(tmp_path))
    assert done.renamed == {"p00.png": "p00.jpg", "p00.png.txt": "p00.jpg.txt", "p01.png": "p01.jpg"}
    after = contents(tmp_path)
    assert after["p01.jpg"] == before["p01.png"] and after["p01.txt"] == before["p01.txt"]
    assert "p02.png" in after, "there is a p02.jpg already"
    assert {p.caption for p in dataset.scan(tmp_path).pictures if p.key == "p00.jpg"} == {"zor, thing 0, place 0"}


def test_captions_are_written_anew_as_utf_8(tmp_path: Path) -> None:
    odd = {
        "q": "zor, café\r\nthing 1".encode("cp1252"),
        "r": "zor, ещё".encode("utf-16"),
        "s": "\ufeffzor,\x07 thing".encode(),
    }
    fill(tmp_path, many(6) | odd)
    settings = settings_for(tmp_path)
    found = examined(settings)
    mend(found["encoding"], settings)
    mend(found["invisible"], settings)
    assert [caption(tmp_path, n) for n in "qrs"] == ["zor, café\nthing 1", "zor, ещё", "zor, thing"]
    assert examined(settings) == {}


def test_the_trigger_word_is_put_in_front(tmp_path: Path) -> None:
    fill(tmp_path, many(8) | {"q": "thing 1\nplace 1", "r": None, "s": "", "t": "zorblin, thing 1"})
    settings = settings_for(tmp_path)
    for kind in ("trigger_missing", "trigger_hidden", "missing_caption", "empty_caption"):
        mend(examined(settings)[kind], settings)
    assert [caption(tmp_path, n) for n in "qrst"] == ["zor, thing 1\nplace 1", "zor", "zor", "zor, zorblin, thing 1"]
    assert not {"trigger_missing", "trigger_hidden", "missing_caption", "empty_caption"} & set(examined(settings))


def test_lines_that_are_variants_each_get_the_trigger_word(tmp_path: Path) -> None:
    fill(tmp_path, many(8) | {"q": "thing 1\nzor, place 1\n\nplace 2\n"})
    settings = settings_for(tmp_path, caption_lines="variants")
    mend(examined(settings)["trigger_missing"], settings)
    assert caption(tmp_path, "q") == "zor, thing 1\nzor, place 1\n\nzor, place 2\n"


def test_one_spelling_of_a_tag_is_written_everywhere(tmp_path: Path) -> None:
    fill(
        tmp_path,
        many(8, "red hat")
        | {"q": "zor,  red_hat , thing 1", "r": "zor, red hats, red hat\nthing 2", "s": "zor, thing 1"},
    )
    settings = settings_for(tmp_path)
    done = mend(examined(settings)["tag_spelling:red hat"], settings)
    assert done.sentence == 'Write "red hat" in 2 captions: 2 files changed.'
    assert caption(tmp_path, "q") == "zor, red hat, thing 1"
    assert caption(tmp_path, "r").startswith("zor, red hat") and "hats" not in caption(tmp_path, "r")
    assert not any(name.startswith("tag_spelling") for name in examined(settings))


def test_a_tag_is_removed_and_weights_and_separators_stay(tmp_path: Path) -> None:
    fill(tmp_path, {f"p{i}": f"zor ||| (red hat:1.2), (thing:{1 + i % 2}.1)" for i in range(6)})
    settings = settings_for(tmp_path, keep_separator="|||", prompt_weights=True)
    mend(examined(settings)["tag_everywhere:red hat"], settings)
    assert caption(tmp_path, "p0") == "zor ||| (thing:1.1)"


def test_spellings_with_weights_keep_them(tmp_path: Path) -> None:
    fill(tmp_path, {f"p{i}": "zor, (red hat:1.2)" for i in range(6)} | {"q": "zor, (red_hat:0.8), x y"})
    settings = settings_for(tmp_path, prompt_weights=True)
    mend(examined(settings)["tag_spelling:red hat"], settings)
    assert caption(tmp_path, "q") == "zor, (red hat:0.8), x y"


def test_orphans_are_set_aside(tmp_path: Path) -> None:
    fill(tmp_path, many(6))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "lost.txt").write_text("words")
    (tmp_path / "lost.txt").write_text("other words")
    settings = settings_for(tmp_path)
    mend(examined(settings)["orphan_caption"], settings)
    assert "lost.txt" not in contents(tmp_path) and "sub/lost.txt" not in contents(tmp_path)
    assert {p.read_text() for p in (tmp_path / ".lora-atelier").rglob("lost.txt")} == {"words", "other words"}


def test_files_outside_of_the_folder_are_mended_and_brought_back_too(tmp_path: Path) -> None:
    fill(tmp_path / "data", many(3))
    other = fill(tmp_path / "prior", {"x": "a person"})
    found = finding("prior_overlap", "", ((tmp_path / "prior/x.png").as_posix(),))
    settings = settings_for(tmp_path / "data")
    done = doctor_repairs.carry_out(doctor_repairs.plan(found, None, settings), settings)
    assert contents(tmp_path / "prior") == {}
    doctor_undo.undo(tmp_path / "data", done.undo)
    assert contents(tmp_path / "prior") == other


def test_a_caption_that_is_a_link_is_changed_where_it_really_is(tmp_path: Path) -> None:
    fill(tmp_path / "data", many(8) | {"q": None})
    (tmp_path / "real.txt").write_text("thing 1")
    (tmp_path / "data" / "q.txt").symlink_to(tmp_path / "real.txt")
    settings = settings_for(tmp_path / "data")
    mend(examined(settings)["trigger_missing"], settings)
    assert (tmp_path / "real.txt").read_text() == "zor, thing 1" and (tmp_path / "data" / "q.txt").is_symlink()


def test_what_vanished_since_the_examination_is_passed_over(tmp_path: Path) -> None:
    fill(tmp_path, many(8) | {"q": "thing 1", "r": "thing 2"})
    settings = settings_for(tmp_path)
    found, data = examined(settings)["trigger_missing"], dataset.scan_training(settings)
    (tmp_path / "q.png").unlink()
    (tmp_path / "r.txt").write_text("zor, written by hand")
    done = doctor_repairs.carry_out(doctor_repairs.plan(found, data, settings), settings)
    assert done == Done("There was nothing to mend.") and doctor_undo.steps(tmp_path) == []


def test_a_finding_without_a_repair_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='For "Border or bars" there is no repair'):
        doctor_repairs.plan(finding("border", "", ("a.png",)), None, settings_for(tmp_path))
    assert Plan("").is_empty and not Plan("", left_out=("a.png",)).is_empty


def test_without_any_folder_there_is_nothing_to_mend(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="There are no pictures to mend"):
        doctor_repairs.root_of(TrainingSettings())
    assert doctor_repairs.root_of(TrainingSettings(more_data=(tmp_path / "a.png",))) == tmp_path
