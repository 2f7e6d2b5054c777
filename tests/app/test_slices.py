"""Long work in the main thread: in slices, in order, and done at once when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app.slices import AT_ONCE, Slices
from tests.app.data_sets import COUNT, captions, folder_fixture, pictures_fixture, project_fixture  # noqa: F401

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytestqt.qtbot import QtBot

    from app.pictures import Pictures
    from app.project import Project


def counting(done: list[str], name: str, slices: int) -> Iterator[None]:
    for number in range(slices):
        done.append(f"{name}{number}")
        yield


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that 16 pictures take many slices."""
    monkeypatch.setattr("app.caption_edits.SLICE", 2)
    monkeypatch.setattr("app.pictures.SLICE", 2)


def test_small_work_is_done_at_once_and_more_in_order(qtbot: QtBot) -> None:
    slices, done = Slices(), list[str]()
    slices.start(counting(done, "a", 1))
    assert done == ["a0"]
    slices.start(counting(done, "b", 4))
    slices.start(counting(done, "c", 1))
    assert len(done) < 6 and AT_ONCE == 2
    qtbot.waitUntil(lambda: done[-1] == "c0")
    assert done == ["a0", "b0", "b1", "b2", "b3", "c0"]
    slices.finish()


def test_what_work_starts_comes_right_after_it() -> None:
    slices, done = Slices(), list[str]()

    def parent() -> Iterator[None]:
        slices.start(counting(done, "first", 1))
        yield
        slices.start(nested())
        yield
        slices.do(lambda: done.append("last"))

    def nested() -> Iterator[None]:
        slices.start(counting(done, "inner", 1))
        done.append("outer")
        yield

    slices.start(parent())
    slices.start(counting(done, "other", 1))
    slices.finish()
    assert done == ["first0", "outer", "inner0", "last", "other0"]


def test_work_that_fails_does_not_stop_what_waits() -> None:
    slices, done = Slices(), list[str]()

    def failing() -> Iterator[None]:
        yield
        yield
        raise ValueError("no")

    slices.start(failing())
    slices.start(counting(done, "a", 1))
    with pytest.raises(ValueError, match="no"):
        slices.finish()
    slices.finish()
    assert done == ["a0"]


@pytest.mark.usefixtures("_small")
def test_many_captions_are_changed_in_slices_and_told_once(qtbot: QtBot, pictures: Pictures) -> None:
    before, told = captions(pictures), []
    pictures.captionsChanged.connect(told.append)
    pictures.add_tags(range(COUNT), ["new"], front=False)
    assert captions(pictures) == before and not told
    qtbot.waitUntil(lambda: bool(told))
    assert captions(pictures) == [f"{caption}, new" for caption in before]
    assert told == [list(range(COUNT))]
    assert pictures.tag_counts()["new"] == COUNT


@pytest.mark.usefixtures("_small")
def test_many_are_left_out_in_slices_and_told_once(qtbot: QtBot, pictures: Pictures) -> None:
    told = list[list[int]]()
    pictures.includedChanged.connect(told.append)
    pictures.set_included(range(COUNT - 1), False)
    assert not told and 0 < pictures.included_count < COUNT
    pictures.set_included(range(4), True)
    qtbot.waitUntil(lambda: pictures.is_settled)
    assert told == [list(range(COUNT - 1)), [0, 1, 2, 3]]
    assert [item.included for item in pictures.items] == [True] * 4 + [False] * (COUNT - 5) + [True]
    assert max(pictures.tag_counts().values()) == pictures.included_count == 5


@pytest.mark.usefixtures("_small")
def test_what_comes_next_sees_the_edit_that_was_begun(qtbot: QtBot, pictures: Pictures) -> None:
    before = captions(pictures)
    pictures.add_tags(range(COUNT), ["new"], front=False)
    pictures.replace_tag(range(COUNT), "new", "newer")
    pictures.undo()
    assert captions(pictures) == before, "nobody waited for it"
    qtbot.waitUntil(lambda: pictures.is_settled)
    assert captions(pictures) == [f"{caption}, new" for caption in before]
    pictures.undo()
    assert pictures.finish_writing(10)
    assert captions(pictures) == before and not pictures.can_undo


@pytest.mark.usefixtures("_small")
def test_an_edit_that_was_begun_is_done_when_another_project_opens(pictures: Pictures, project: Project) -> None:
    folder = pictures.items[0].picture.path.parent
    pictures.add_tags(range(COUNT), ["new"], front=False)
    project.create("Other", {"data": ""})
    assert pictures.finish_writing(10)
    texts = [path.read_text(encoding="utf-8").strip() for path in sorted(folder.glob("*.txt"))]
    assert len(texts) == COUNT and all(text.endswith(", new") for text in texts)
