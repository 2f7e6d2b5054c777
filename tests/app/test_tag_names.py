"""Tags are completed from the data set and from a list in a file, also by their aliases."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from app import preferences
from app.tag_names import PREFERENCE, TagNames, read

if TYPE_CHECKING:
    from pathlib import Path

    from pytestqt.qtbot import QtBot

LIST = '1girl,0,6000000,"1girls,sole_female"\nlong_hair,0,4000000,longhair\nblue_hair,0,800000,\nlong_sleeves,0,1500000,"long_arms"\n>_<,0,900,\n'


@pytest.fixture
def names(qtbot: QtBot, tmp_path: Path) -> TagNames:
    file = tmp_path / "tags.csv"
    file.write_text(LIST, encoding="utf-8")
    out = TagNames()
    with qtbot.waitSignal(out.changed):
        out.choose(file)
    return out


def test_the_sets_own_tags_come_first_then_the_most_used(names: TagNames) -> None:
    found = names.search("long", {"long grass": 2, "longboat": 9, "x": 1})
    assert [s.tag for s in found] == ["long grass", "longboat", "long hair", "long sleeves"]
    assert found[0].in_set and not found[2].in_set


def test_aliases_and_later_words_are_found_too(names: TagNames) -> None:
    found = names.search("sole f", {})
    assert [(s.tag, s.alias) for s in found] == [("1girl", "sole_female")]
    assert [s.tag for s in names.search("hair", {})] == ["long hair", "blue hair"]
    assert names.search("", {"a": 1}) == []


def test_underscores_stay_where_the_set_has_them_and_in_faces(names: TagNames) -> None:
    assert [s.tag for s in names.search("blue", {"red_hair": 1})] == ["blue_hair"]
    assert [s.tag for s in names.search("> <", {})] == [">_<"]


def test_the_list_is_remembered_until_it_is_taken_away(qtbot: QtBot, names: TagNames) -> None:
    again = TagNames()
    qtbot.waitUntil(lambda: again.file is not None)
    assert again.file is not None and len(again.file.tags) == 5
    again.choose(None)
    assert preferences.get(PREFERENCE, "") == "" and again.search("blue", {}) == []


def test_a_list_that_cannot_be_read_is_told_and_the_old_one_stays(
    qtbot: QtBot, names: TagNames, tmp_path: Path
) -> None:
    with qtbot.waitSignal(names.failed) as told:
        names.choose(tmp_path / "gone.csv")
    assert told.args[0].endswith("cannot be read (No such file or directory). Choose it again where it is now.")
    (tmp_path / "empty.txt").write_text("\n")
    assert read(tmp_path / "empty.txt").problem.startswith("There are no tags in ")
    assert [s.tag for s in names.search("blue", {})] == ["blue hair"]


def test_a_hundred_thousand_tags_are_searched_at_once(qtbot: QtBot, tmp_path: Path) -> None:
    file = tmp_path / "many.csv"
    file.write_text("".join(f"word{n}_thing{n % 977},0,{n},also_{n}\n" for n in range(120_000)), encoding="utf-8")
    names = TagNames()
    with qtbot.waitSignal(names.changed, timeout=20_000):
        names.choose(file)
    counts = {f"tag {n}": n for n in range(400)}
    for typed in ("w", "word1199", "thing5", "also 77", "nothing"):
        begun = time.thread_time()
        found = names.search(typed, counts)
        assert time.thread_time() - begun < 0.25  # tens of ms at most on a machine that does nothing else
        assert bool(found) == (typed != "nothing")
    assert names.search("also 77", {})[0].count >= 77
