"""Tags in captions of one line or several, with and without separators, as the settings say."""

from __future__ import annotations

import pytest

from app.caption_board import Board
from app.caption_changes import OPERATIONS, ChangeError, planned, replacement
from app.caption_tags import PLAIN, Reading, TagCounter, in_lines, tags_of, with_tag_replaced, with_tags, without_tags

BAR = Reading(separator="|||")
LINES = Reading(variants=True)


def done(name: str, caption: str, *texts: str, reading: Reading = PLAIN) -> str:
    operation = next(o for o in OPERATIONS if o.name == name)
    return operation.change(caption, texts, reading)


def test_lines_are_kept_and_tidied() -> None:
    assert in_lines("  a,  b \r\n\n c\n") == "a, b\nc"


def test_separators_and_brackets_part_tags_as_training_does() -> None:
    assert tags_of("a, b ||| c\nd", BAR) == ["a", "b", "c", "d"]
    assert tags_of("(a, b:1.2), c", Reading(brackets=True)) == ["(a, b:1.2)", "c"]
    assert TagCounter(["a ||| b", "b"], BAR).counts() == {"b": 2, "a": 1}


def test_a_tag_is_added_to_each_variant_but_once_to_joined_lines() -> None:
    assert with_tags("a\nb, new", ["new"], front=False, reading=LINES) == "a, new\nb, new"
    assert with_tags("a\nb", ["new"], front=False) == "a\nb, new"
    assert with_tags("a\nb", ["new"], front=True) == "new, a\nb"
    assert with_tags("a, new\nb", ["new"], front=True) == "a, new\nb"


def test_separators_and_other_lines_stay_when_a_tag_goes() -> None:
    assert without_tags("a, b ||| c, d\n x;  y", ["c"], BAR) == "a, b ||| d\n x;  y"
    assert without_tags("a\nb", ["a"]) == "b"
    assert with_tag_replaced("a ||| b, c", "b", "c", BAR) == "a ||| c"


@pytest.mark.parametrize(("name", "before", "texts", "after"), [
    ("sort", "zorblin, tree, cat", (), "cat, tree, zorblin"), ("duplicates", "a, b, A", (), "a, b"),
    ("spaces", "long_hair, >_<, o_o", (), "long hair, >_<, o_o"), ("lower", "A Cat", (), "a cat"),
    ("prefix", "cat", ("photo of ",), "photo of cat"), ("suffix", "cat", (", night",), "cat, night"),
    ("remove", "a, b", ("B",), "a"), ("replace", "a, b", ("a", "c"), "c, b"), ("add_end", "a", ("b",), "a, b"),
    ("add_front", "a", ("b",), "b, a"),
])  # fmt: skip
def test_operations_do_what_they_say(name: str, before: str, texts: tuple[str, ...], after: str) -> None:
    assert done(name, before, *texts) == after
    if name != "replace":
        assert done(name, after, *texts) == after, "twice is once"


def test_sorting_leaves_the_tags_that_keep_their_place() -> None:
    assert done("sort", "z, c, b", reading=Reading(keep=1)) == "z, b, c"
    assert done("sort", "z, y ||| c, b ||| x, w", reading=BAR) == "z, y ||| b, c ||| x, w"


def test_find_and_replace_plain_and_with_patterns() -> None:
    assert replacement("a.b", r"\1", is_pattern=False, match_case=True)("a.b axb A.B") == r"\1 axb A.B"
    assert replacement(r"(\w+) hair", r"hair \1", is_pattern=True, match_case=False)("Red Hair, x") == "hair Red, x"


@pytest.mark.parametrize(("find", "put", "sentence"), [
    ("(a", "", "The pattern cannot be read: missing ), at character 3."),
    ("a", r"\2", "The replacement cannot be used: invalid group reference"),
    ("*", "", "The pattern cannot be read: nothing to repeat, at character 1."),
])  # fmt: skip
def test_a_wrong_pattern_is_told_in_a_sentence(find: str, put: str, sentence: str) -> None:
    with pytest.raises(ChangeError) as caught:
        replacement(find, put, is_pattern=True, match_case=False)
    assert str(caught.value).startswith(sentence)


def test_a_pattern_that_would_never_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.caption_changes.LIMIT_S", 0.2)
    change = replacement("(a|aa)+$", "", is_pattern=True, match_case=True)
    found = planned([("x", "a" * 60 + "!")] * 3, change)  # type: ignore[list-item]
    assert found.changes == []
    assert found.problem.startswith("This pattern takes longer than 0 s. Repeats inside of repeats")


def test_tags_move_over_separators_and_lines_and_the_text_follows() -> None:
    board = Board("a, b ||| c\nd", BAR)
    assert [board.tag(s) for s in board.spots] == ["a", "b", "c", "d"]
    assert [board.is_fixed(s) for s in board.spots] == [True, True, False, False]
    assert board.shift((0, 1), 1) == (0, 2)
    assert board.caption == "a ||| b, c\nd"
    assert board.shift((0, 3), 1) == (1, 0)
    assert board.caption == "a ||| b\nc, d"
    assert board.shift((1, 0), -1) == (0, 3)
    assert board.move((0, 0), (0, 3)) == (0, 2)
    assert board.caption == "||| b, a, c\nd"
    assert board.shift((0, 0), -1) == (0, 0)


def test_added_tags_go_where_they_are_wanted_and_none_comes_twice() -> None:
    board = Board("a, b", PLAIN)
    assert board.add((0, 1), "x, A, x") == (0, 2)
    assert board.caption == "a, x, b"
    board.remove((0, 0))
    assert board.caption == "x, b"
