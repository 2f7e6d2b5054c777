"""Alternatives and weights in prompts, as A1111 and ComfyUI users write them."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.prompt_syntax import all_choices, count_choices, one_choice, split_tags, unweighted, weighted

quick = settings(max_examples=200, deadline=None, derandomize=True)
ODD = st.text(alphabet="ab(:1.2)[]{|}\\, ", max_size=24)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("a red fox", [("a red fox", 1.0)]),
        ("", [("", 1.0)]),
        ("a (red) fox", [("a ", 1.0), ("red", 1.1), (" fox", 1.0)]),
        ("((red))", [("red", 1.21)]),
        ("(red:1.3)", [("red", 1.3)]),
        ("(red: .5 )", [("red", 0.5)]),
        ("(a (b:2) c:0.5)", [("a ", 0.5), ("b", 1.0), (" c", 0.5)]),
        ("[dull]", [("dull", 0.909091)]),
        (r"miku \(vocaloid\)", [("miku (vocaloid)", 1.0)]),
        ("(open", [("open", 1.1)]),
        ("close)", [("close)", 1.0)]),
        ("(ratio 3:4:1.5)", [("ratio 3:4", 1.5)]),
        ("(red:blue)", [("red:blue", 1.1)]),
        ("()", [("", 1.0)]),
        (r"a\b", [(r"a\b", 1.0)]),
        ("(a]b)", [("a]b", 1.1)]),
    ],
)
def test_weights_are_read_as_written(text: str, pieces: list[tuple[str, float]]) -> None:
    assert weighted(text) == pieces
    assert unweighted(text) == "".join(t for t, _ in pieces)


@pytest.mark.parametrize(
    ("text", "choices"),
    [
        ("a fox", ["a fox"]),
        ("a {red|blue} fox", ["a red fox", "a blue fox"]),
        ("{a|b}{1|2}", ["a1", "a2", "b1", "b2"]),
        ("{a|{b|c} d|}", ["a", "b d", "c d", ""]),
        ("{no bar}", ["{no bar}"]),
        ("{open|a", ["{open|a"]),
        ("a|b}", ["a|b}"]),
        (r"\{a|b\}", [r"\{a|b\}"]),
    ],
)
def test_alternatives_are_all_found(text: str, choices: list[str]) -> None:
    assert all_choices(text) == choices
    assert count_choices(text) == len(choices)
    rng = random.Random(1)
    assert {one_choice(text, rng) for _ in range(100)} == set(choices)


def test_commas_in_brackets_can_be_kept_together() -> None:
    assert split_tags("a, (b, c:1.2), d") == ["a", "(b", "c:1.2)", "d"]
    assert split_tags("a, (b, c:1.2), d", brackets=True) == ["a", "(b, c:1.2)", "d"]
    assert split_tags(r"a \(b, c, ", brackets=True) == [r"a \(b", "c"]
    assert split_tags(") a, b", brackets=True) == [") a", "b"]


@quick
@given(ODD)
def test_any_text_is_read_in_some_way(text: str) -> None:
    assert weighted(text)
    choices = all_choices(text)
    assert len(choices) == count_choices(text) >= 1
    if "{" not in text:
        assert choices == [text]
    if not set(text) & set("()[]\\"):
        assert weighted(text) == [(text, 1.0)]
    if not set(text) & set("()[]\\"):
        assert split_tags(text, brackets=True) == split_tags(text)


def test_a_wall_of_braces_takes_no_time() -> None:
    for text in ("{" * 2000, "{" * 2000 + "}" * 2000, "{a|" * 2000 + "}" * 2000, "{{a}" * 1000):
        assert one_choice(text, random.Random(1)) is not None
        assert count_choices(text) >= 1
