"""The open project's pictures: scanned in the background, edited with undo, taken in and left out."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from app.pictures import Pictures
from app.project import Project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytestqt.qtbot import QtBot


@pytest.fixture
def project(home: Path) -> Project:
    return Project()


@pytest.fixture
def opened(qtbot: QtBot, project: Project, pictures: Path) -> Iterator[Pictures]:
    """Six pictures, scanned. Those that are written to are waited for."""
    made = Pictures(project)
    with qtbot.waitSignal(made.scanned):
        project.create("test", {"data": str(pictures), "resolution": 64})
    yield made
    settle(qtbot, made)
    project.close()


def settle(qtbot: QtBot, pictures: Pictures) -> None:
    """Until everything is on disk and what came of it is shown."""
    qtbot.waitUntil(lambda: not pictures.scanning)
    pictures.finish_writing(10)
    qtbot.waitUntil(lambda: not pictures._writer.is_writing)


def captions(pictures: Pictures) -> list[str]:
    return [item.caption for item in pictures.items]


def test_opening_a_project_scans_its_folder_in_the_background(qtbot: QtBot, project: Project, pictures: Path) -> None:
    made = Pictures(project)
    with qtbot.waitSignals([made.scanningChanged, made.scanned, made.scanningChanged], order="strict"):
        project.create("test", {"data": str(pictures)})
        assert made.scanning and made.items == []
    assert not made.scanning
    assert [i.picture.path.name for i in made.items] == [f"{n}.png" for n in range(6)]
    assert captions(made)[0] == "blob, number 0, round thing"
    assert (made.included_count, made.views, made.error, made.problems) == (6, 6, "", [])
    assert made.index_of(pictures / "3.png") == 3
    assert made.index_of(pictures / "none.png") == -1


def test_a_project_that_is_open_already_is_scanned_too(qtbot: QtBot, project: Project, pictures: Path) -> None:
    project.create("test", {"data": str(pictures)})
    made = Pictures(project)
    with qtbot.waitSignal(made.scanned):
        pass
    assert len(made.items) == 6


def test_a_folder_that_is_not_there_is_an_error_in_a_sentence(qtbot: QtBot, project: Project, tmp_path: Path) -> None:
    made = Pictures(project)
    with qtbot.waitSignal(made.failed) as blocker:
        project.create("test", {"data": str(tmp_path / "none")})
    assert made.error == f"Pictures folder {tmp_path / 'none'} does not exist. Check the path."
    assert blocker.args == [made.error]
    assert made.items == []


def test_a_project_without_a_folder_is_no_failure(qtbot: QtBot, project: Project) -> None:
    made = Pictures(project)
    with qtbot.assertNotEmitted(made.failed), qtbot.waitSignal(made.scanned):
        project.create("test", {})
    assert "no folder was given" in made.error


def test_another_folder_or_project_is_scanned_anew(
    qtbot: QtBot, opened: Pictures, project: Project, pictures: Path, tmp_path: Path
) -> None:
    single = tmp_path / "single.png"
    Image.new("RGB", (64, 64)).save(single)
    with qtbot.waitSignal(opened.scanned):
        project.set("more_data", [str(single)])
    assert len(opened.items) == 7
    with qtbot.waitSignals([opened.scanned, opened.scanned], order="strict"):  # empty at once, then the new list
        project.create("other", {"data": str(pictures)})
        assert opened.items == []
    assert len(opened.items) == 6


def test_only_the_newest_scan_counts(qtbot: QtBot, opened: Pictures, project: Project, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (64, 64)).save(tmp_path / name / f"{name}.png")
    with qtbot.waitSignal(opened.scanned):
        project.set("data", str(tmp_path / "a"))
        opened._on_scan_soon()
        project.set("data", str(tmp_path / "b"))
    settle(qtbot, opened)
    assert [i.picture.path.name for i in opened.items] == ["b.png"]


def test_scanning_again_without_a_change_leaves_the_list_alone(qtbot: QtBot, opened: Pictures, pictures: Path) -> None:
    with qtbot.assertNotEmitted(opened.scanned), qtbot.waitSignals([opened.scanningChanged] * 2):
        opened.rescan()
    (pictures / "2.txt").write_text("changed outside", encoding="utf-8")
    with qtbot.waitSignal(opened.scanned):
        opened.rescan()
    assert captions(opened)[2] == "changed outside"
    assert opened.tag_counts()["changed outside"] == 1


def test_an_edit_shows_at_once_and_is_written(qtbot: QtBot, opened: Pictures, pictures: Path) -> None:
    with qtbot.waitSignal(opened.captionsChanged) as blocker, qtbot.waitSignal(opened.historyChanged):
        opened.set_captions({0: "a  fox\n", 1: "blob, number 1, round thing"}, "Edit caption")
        assert captions(opened)[0] == "a fox"
    assert blocker.args == [[0]]
    assert (opened.can_undo, opened.undo_text, opened.can_redo) == (True, "Edit caption", False)
    settle(qtbot, opened)
    assert (pictures / "0.txt").read_text() == "a fox"
    opened.undo()
    assert captions(opened)[0] == "blob, number 0, round thing"
    assert (opened.can_undo, opened.redo_text) == (False, "Edit caption")
    opened.redo()
    opened.undo()
    settle(qtbot, opened)
    assert (pictures / "0.txt").read_text() == "blob, number 0, round thing"


def test_an_edit_that_changes_nothing_is_no_step(qtbot: QtBot, opened: Pictures) -> None:
    with qtbot.assertNotEmitted(opened.captionsChanged):
        opened.set_captions({0: "blob, number 0, round thing"}, "Edit")
        opened.remove_tags([0, 1], ["not there"])
    assert not opened.can_undo


def test_undo_goes_on_when_the_project_is_opened_again(
    qtbot: QtBot, opened: Pictures, project: Project, pictures: Path
) -> None:
    opened.set_captions({0: "fox"}, "Edit")
    settle(qtbot, opened)
    path = project.path
    later = Pictures(other := Project())
    with qtbot.waitSignal(later.scanned):
        other.open(path)
    assert captions(later)[0] == "fox" and later.undo_text == "Edit"
    later.undo()
    settle(qtbot, later)
    assert (pictures / "0.txt").read_text() == "blob, number 0, round thing"
    other.close()


def test_tags_are_added_removed_and_replaced_in_many_captions_as_one_step(qtbot: QtBot, opened: Pictures) -> None:
    everything = range(6)
    opened.add_tags(everything, ["red", "Blob"], front=True)
    assert captions(opened)[1] == "red, blob, number 1, round thing"
    assert opened.undo_text == "Add “red”, “Blob” in 6 captions"
    opened.add_tags([1], ["end, of it"], front=False)
    assert captions(opened)[1] == "red, blob, number 1, round thing, end, of it"
    opened.remove_tags(everything, ["RED", "end"])
    assert captions(opened)[1] == "blob, number 1, round thing, of it"
    opened.replace_tag(everything, "round thing", "ball")
    assert captions(opened)[1] == "blob, number 1, ball, of it"
    opened.replace_tag(everything, "ball", "blob")
    assert captions(opened)[1] == "blob, number 1, of it"
    for _ in range(5):
        opened.undo()
    assert captions(opened) == [f"blob, number {n}, round thing" for n in range(6)]
    assert not opened.can_undo


def test_the_trigger_word_is_put_in_front_where_it_is_missing(qtbot: QtBot, opened: Pictures, project: Project) -> None:
    with qtbot.waitSignal(opened.failed) as blocker:
        opened.prepend_trigger([0])
    assert blocker.args == ["There is no trigger word yet. Choose one, then it can be put in front of captions."]
    opened.set_captions({0: "a zorblin here"}, "Edit")
    project.set("trigger", "zorblin")
    opened.prepend_trigger([0, 1])
    assert captions(opened)[:2] == ["a zorblin here", "zorblin, blob, number 1, round thing"]


def test_tags_are_counted_of_included_pictures_the_most_frequent_first(opened: Pictures) -> None:
    assert list(opened.tag_counts().items())[:3] == [("blob", 6), ("round thing", 6), ("number 0", 1)]
    opened.set_captions({0: "blob, blob, fox"}, "Edit")
    opened.set_included([1, 2], False)
    counts = opened.tag_counts()
    assert (counts["blob"], counts["round thing"], counts["fox"]) == (4, 3, 1)
    assert "number 0" not in counts and "number 1" not in counts
    opened.undo()
    opened.set_included([1, 2], True)
    assert opened.tag_counts()["round thing"] == 6


def test_left_out_pictures_keep_their_place_and_their_file(
    qtbot: QtBot, opened: Pictures, project: Project, pictures: Path
) -> None:
    with qtbot.waitSignal(opened.includedChanged) as blocker:
        opened.set_included([1, 4], False)
    assert blocker.args == [[1, 4]]
    assert project.value("left_out") == ["1.png", "4.png"]
    assert [i.included for i in opened.items] == [True, False, True, True, False, True]
    assert (opened.included_count, len(opened.fits())) == (4, 4)
    assert (pictures / "1.png").exists()
    project.undo()
    assert opened.included_count == 6


def test_all_pictures_left_out_is_not_an_empty_list(qtbot: QtBot, opened: Pictures, pictures: Path) -> None:
    opened.set_included(range(6), False)
    (pictures / "0.txt").write_text("changed", encoding="utf-8")
    with qtbot.waitSignal(opened.scanned):
        opened.rescan()
    assert (len(opened.items), opened.included_count, opened.views, opened.error) == (6, 0, 0, "")
    assert opened.tag_counts() == {}


def test_repeats_of_folder_and_project_are_counted(qtbot: QtBot, project: Project, pictures: Path) -> None:
    shutil.move(pictures / "0.png", pictures / "sub.png")
    (pictures / "3_more").mkdir()
    shutil.move(pictures / "sub.png", pictures / "3_more" / "0.png")
    made = Pictures(project)
    with qtbot.waitSignal(made.scanned):
        project.create("test", {"data": str(pictures), "repeats": 2})
    assert made.views == 2 * (5 + 3)
    project.set("repeats", "not a number")
    assert made.views == 5 + 3


def test_badges_name_what_is_wrong_and_follow_the_settings(qtbot: QtBot, project: Project, pictures: Path) -> None:
    (pictures / "0.txt").unlink()
    Image.new("RGB", (640, 160)).save(pictures / "1.png")
    made = Pictures(project)
    with qtbot.waitSignal(made.scanned):
        project.create("test", {"data": str(pictures), "resolution": 64, "buckets": False})
    assert made.items[0].problems == ("It has no caption.",)
    assert made.items[1].problems == ("It is long: training cuts 75 % of it away.",)
    assert made.items[3].problems == ()
    made.set_captions({0: "fox"}, "Edit")
    assert made.items[0].problems == ()
    with qtbot.waitSignal(made.fitsChanged):
        project.set("resolution", 256)
    assert made.items[3].problems == ("It is small: training enlarges it 4.0 times.",)
    assert made.fit(3).size == (256, 256)
    settle(qtbot, made)
    project.close()


@pytest.mark.parametrize("values", [
    {"resolution": "wide"}, {"resolution": -5}, {"bucket_step": 4096}, {"bucket_min": 4000, "bucket_max": 100},
    {"buckets": "perhaps"}, {"left_out": 3}, {"repeats": "x"},
])  # fmt: skip
def test_values_that_cannot_be_used_break_nothing(
    qtbot: QtBot, opened: Pictures, project: Project, values: dict[str, object]
) -> None:
    project.set_many(values)
    assert len(opened.fits()) == 6
    assert all(min(fit.size) > 0 for fit in opened.fits())
    opened.set_included([0], False)
    assert opened.included_count == 5


def test_a_caption_that_cannot_be_written_shows_its_old_text_again_and_a_sentence(
    qtbot: QtBot, opened: Pictures, pictures: Path
) -> None:
    for number in range(3):
        (pictures / f"{number}.txt").chmod(0o444)
    with qtbot.waitSignal(opened.failed) as blocker:
        opened.add_tags(range(6), ["new"], front=False)
        assert captions(opened)[0].endswith("new")
    assert blocker.args[0].startswith("The caption of 0.png was not changed: 0.txt is read-only.")
    assert blocker.args[0].endswith("The same goes for 2 other files.")
    assert captions(opened)[0] == "blob, number 0, round thing"
    assert captions(opened)[5] == "blob, number 5, round thing, new"
    opened.undo()
    settle(qtbot, opened)
    assert (pictures / "5.txt").read_text() == "blob, number 5, round thing"


def test_an_edit_of_which_nothing_could_be_written_cannot_be_undone(
    qtbot: QtBot, opened: Pictures, pictures: Path
) -> None:
    os.remove(pictures / "0.png")
    with qtbot.waitSignal(opened.failed):
        opened.set_captions({0: "fox"}, "Edit")
    assert not opened.can_undo


def test_undo_keeps_what_another_program_wrote(qtbot: QtBot, opened: Pictures, pictures: Path) -> None:
    opened.set_captions({0: "fox", 1: "owl"}, "Edit")
    settle(qtbot, opened)
    (pictures / "0.txt").write_text("from elsewhere", encoding="utf-8")
    with qtbot.waitSignal(opened.failed) as blocker:
        opened.undo()
    assert "0.png was changed by another program" in blocker.args[0]
    assert captions(opened)[:2] == ["from elsewhere", "blob, number 1, round thing"]


def test_a_scan_that_began_before_an_edit_does_not_bring_the_old_caption_back(
    qtbot: QtBot, opened: Pictures, pictures: Path
) -> None:
    (pictures / "3.txt").write_text("changed outside", encoding="utf-8")
    with qtbot.waitSignal(opened.scanned):
        opened._signature = 0
        opened._on_scan_soon()
        opened.set_captions({0: "fox"}, "Edit")
    assert captions(opened)[0] == "fox"
    assert opened.tag_counts()["fox"] == 1


def test_pictures_that_share_a_caption_file_show_the_same(qtbot: QtBot, project: Project, pictures: Path) -> None:
    Image.new("RGB", (64, 64)).save(pictures / "0.jpg")
    made = Pictures(project)
    with qtbot.waitSignal(made.scanned):
        project.create("test", {"data": str(pictures)})
    made.set_captions({made.index_of(pictures / "0.png"): "fox"}, "Edit")
    settle(qtbot, made)
    assert made.items[made.index_of(pictures / "0.jpg")].caption == "fox"
    project.close()


def test_a_list_that_is_thrown_away_while_it_scans_harms_nothing(
    qtbot: QtBot, project: Project, pictures: Path
) -> None:
    made = Pictures(project)
    project.create("test", {"data": str(pictures)})
    made._on_scan_soon()
    made.deleteLater()
    qtbot.wait(100)
    project.close()
