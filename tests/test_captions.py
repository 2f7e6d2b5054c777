"""captions.py: any encoding is read, the trigger word stays, and mixing is the same on every machine."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from trainer.captions import caption_file, decode, variants, with_trigger
from trainer.settings import TrainingSettings

if TYPE_CHECKING:
    from pathlib import Path

GOLDEN = [
    "zorblin, red, fox, tree",
    "zorblin, tree, red, night, fox",
    "zorblin, red, tree, night, snow",
    "zorblin, snow, fox, red, tree",
]
quick = settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
TEXT = "zörblin, a fox's tail"


def mixing(**values: Any) -> TrainingSettings:
    return TrainingSettings(**({"shuffle_tags": True, "keep_tokens": 0} | values))


@pytest.mark.parametrize(
    ("raw", "encoding"),
    [
        (TEXT.encode(), "utf-8"),
        (b"\xef\xbb\xbf" + TEXT.encode(), "utf-8-sig"),
        (b"\xff\xfe" + TEXT.encode("utf-16-le"), "utf-16"),
        (b"\xfe\xff" + TEXT.encode("utf-16-be"), "utf-16"),
        (TEXT.encode("cp1252"), "cp1252"),
    ],
)
def test_text_in_any_usual_encoding_is_read(raw: bytes, encoding: str) -> None:
    assert (decode(raw).text, decode(raw).encoding) == (TEXT, encoding)


@pytest.mark.parametrize("text", ["a red fox", "ab", "x, y"])
def test_utf_16_without_its_mark_is_noticed(text: str) -> None:
    assert (decode(text.encode("utf-16-le")).text, decode(text.encode("utf-16-le")).encoding) == (text, "utf-16-le")


def test_line_breaks_tabs_and_runs_of_blanks_become_one_blank() -> None:
    for raw in (b"a,\nb", b"a,\r\nb\r\n", b"\n a,\t\t b ", "a,\u3000b".encode(), "a,\u2028b".encode()):
        assert decode(raw).text == "a, b", raw
    assert decode(b"").text == decode(b" \r\n").text == decode(b"\xef\xbb\xbf").text == ""


@quick
@given(st.binary(max_size=60))
@example(b"a\x00b\x00c")  # UTF-16 that is cut off
@example(b"\xff\xfea")
def test_any_bytes_are_read_as_one_line_without_nul(raw: bytes) -> None:
    text = decode(raw).text
    assert "\x00" not in text and len(text.splitlines()) <= 1 and text == text.strip()


def test_the_caption_stands_beside_the_picture_under_either_name(tmp_path: Path) -> None:
    picture = tmp_path / "a.b.png"
    assert caption_file(picture) is None
    (tmp_path / "a.b.txt").mkdir()
    assert caption_file(picture) is None
    for name in ("a.b.png.caption", "a.b.caption", "a.b.png.txt"):
        (tmp_path / name).touch()
        assert caption_file(picture) == tmp_path / name
    (tmp_path / "a.b.txt").rmdir()
    (tmp_path / "a.b.txt").touch()
    assert caption_file(picture) == tmp_path / "a.b.txt"
    assert caption_file(tmp_path / "a.png") is None


@pytest.mark.parametrize(
    ("caption", "trigger", "told"),
    [
        ("a fox", "zorblin", "zorblin, a fox"),
        ("", "zorblin", "zorblin"),
        ("a fox", "", "a fox"),
        ("a zorblin fox", "zorblin", "a zorblin fox"),
        ("Zorblin, fox", "zorblin", "Zorblin, fox"),
        ("a fox (zorblin)", "zorblin", "a fox (zorblin)"),
        ("zorblins, a cat", "zorblin", "zorblin, zorblins, a cat"),
        ("catalogue", "cat", "cat, catalogue"),
        ("a tom-cat", "cat", "cat, a tom-cat"),
        ("a cat's eye", "cat", "cat, a cat's eye"),
        ("a cat_2", "cat", "cat, a cat_2"),
        ("blue zorblin fox", "zorblin fox", "blue zorblin fox"),
        ("zorblin blue fox", "zorblin fox", "zorblin fox, zorblin blue fox"),
        ("絵, 狐", "絵", "絵, 狐"),
        ("a fox", "☆", "☆, a fox"),
        ("", "☆", "☆"),
        ("☆, a fox", "☆", "☆, a fox"),
    ],
)
def test_the_trigger_word_is_put_in_front_unless_it_is_there_as_a_word(caption: str, trigger: str, told: str) -> None:
    assert with_trigger(caption, trigger) == told


def test_without_mixing_there_is_one_text_just_as_it_was_written() -> None:
    assert variants("b,  a ,c", TrainingSettings(), "1") == ["b,  a ,c"]
    assert variants("b, a", TrainingSettings(trigger="t"), "1") == ["t, b, a"]
    assert variants("", mixing(), "1") == [""]
    assert variants("only one", mixing(tag_dropout=1.0), "1") == ["only one"]


def test_mixed_texts_are_the_same_on_every_machine() -> None:
    """Recorded once with Python 3.11; another value on another machine means that runs cannot be repeated there."""
    asked = mixing(trigger="zorblin", tag_dropout=0.3, caption_variants=4)
    assert variants("fox, red, snow, night, tree", asked, "42") == GOLDEN
    assert variants("fox, red, snow, night, tree", asked, "43") != GOLDEN


def test_two_tags_are_mixed_too() -> None:
    assert set(variants("a, b", mixing(), "1")) == {"a, b", "b, a"}


def test_there_are_as_many_variants_as_asked_for_and_they_differ() -> None:
    texts = variants("a, b, c, d, e, f, g, h", mixing(caption_variants=30), "1")
    assert len(texts) == 30 and len(set(texts)) > 25


@quick
@given(
    st.lists(st.sampled_from(["a", "bb", "ccc", "dd", "e", "zz"]), min_size=2, max_size=8),
    st.integers(0, 9), st.sampled_from([0.0, 0.4, 1.0]), st.booleans(),
)  # fmt: skip
def test_kept_tags_stay_in_front_and_none_is_made_up(tags: list[str], keep: int, drop: float, shuffle: bool) -> None:
    asked = mixing(keep_tokens=keep, tag_dropout=drop, shuffle_tags=shuffle, caption_variants=5)
    for text in variants(", ".join(tags), asked, "1"):
        told = text.split(", ")
        assert told[: len(tags[:keep])] == tags[:keep]
        assert not Counter(told) - Counter([*tags, ""])
        if not drop:
            assert Counter(told) == Counter(tags)
        if not shuffle:
            assert is_part_in_order([t for t in told if t], tags)


def is_part_in_order(part: list[str], whole: list[str]) -> bool:
    rest = iter(whole)
    return all(tag in rest for tag in part)


def test_tag_dropout_1_keeps_only_the_kept_tags() -> None:
    assert set(variants("a, b, c, d", mixing(keep_tokens=2, tag_dropout=1.0), "1")) == {"a, b"}
    assert set(variants("a, b, c", mixing(keep_tokens=0, tag_dropout=1.0, trigger="t"), "1")) == {"t"}
    assert set(variants("a, b, c", mixing(keep_tokens=0, tag_dropout=1.0), "1")) == {""}


def test_tag_dropout_drops_about_its_share() -> None:
    texts = variants(", ".join("abcdefghij"), mixing(tag_dropout=0.3, caption_variants=200), "1")
    assert 0.25 < 1 - sum(len(t.split(", ")) for t in texts) / 2000 < 0.35


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("caption", ["zorblin, b, c, d", "a, zorblin, c, d", "a, b, a zorblin fox, d", "a, b, Zorblin"])
def test_the_trigger_word_is_neither_moved_nor_dropped(caption: str, shuffle: bool) -> None:
    tags = caption.split(", ")
    place = next(i for i, tag in enumerate(tags) if "zorblin" in tag.lower())
    for keep in (0, 1, 2):
        asked = mixing(trigger="zorblin", keep_tokens=keep, shuffle_tags=shuffle)
        assert {t.split(", ").index(tags[place]) for t in variants(caption, asked, "1")} == {place}
        for text in variants(caption, asked.model_copy(update={"tag_dropout": 1.0}), "1"):
            assert text.split(", ") == [t for i, t in enumerate(tags) if i < keep or i == place]


def test_a_trigger_of_two_tags_keeps_both_in_front() -> None:
    asked = mixing(trigger="zorblin, blue fox", tag_dropout=0.5)
    assert all(t.startswith("zorblin, blue fox") for t in variants("a, b, c, d", asked, "1"))


def test_lines_are_variants_when_that_is_wanted() -> None:
    lines = ("a red fox", "zorblin, a fox", "a red fox")
    shown = variants(
        "a red fox zorblin, a fox", TrainingSettings(trigger="zorblin", caption_lines="variants"), "1", lines
    )
    assert shown == ["zorblin, a red fox", "zorblin, a fox"]
    assert variants("one", TrainingSettings(caption_lines="variants"), "1") == ["one"]
    assert variants("a b", TrainingSettings(), "1", ("a", "b")) == ["a b"]
    many = variants("x", TrainingSettings(caption_lines="variants", caption_variants=3), "1", tuple("abcdefgh"))
    assert len(many) == 3 and set(many) <= set("abcdefgh")


def test_wildcards_are_all_shown_or_a_choice_of_too_many() -> None:
    asked = TrainingSettings(wildcards=True, caption_variants=6)
    assert variants("a {red|blue|} fox", asked, "1") == ["a red fox", "a blue fox", "a fox"]
    many = variants("{1|2|3|4} {1|2|3|4}", asked, "1")
    assert 1 < len(many) <= 6 and many == variants("{1|2|3|4} {1|2|3|4}", asked, "1")
    assert variants("{a|b}", TrainingSettings(), "1") == ["{a|b}"]
    mixed = variants("{red|blue} fox, b, c", mixing(wildcards=True, caption_variants=8), "1")
    assert len(mixed) == 8 and sum("red fox" in text for text in mixed) == 4


def test_tags_outside_of_the_separators_stay_in_place() -> None:
    asked = mixing(keep_separator="|||", keep_tokens=0, tag_dropout=0.5, caption_variants=40)
    texts = variants("a, b ||| c, d, e ||| f", asked, "1")
    assert all(text.startswith("a, b") and text.endswith("f") and "|" not in text for text in texts)
    assert {"c", "d", "e"} <= {tag for text in texts for tag in text.split(", ")}
    assert len(set(texts)) > 5
    assert variants("a ||| b", TrainingSettings(keep_separator="|||"), "1") == ["a, b"]
    counted = variants("a, b, c", mixing(keep_separator="|||", keep_tokens=1), "1")
    assert all(text.startswith("a, ") for text in counted)  # without one in the caption, tags are counted


def test_protected_tags_are_never_dropped() -> None:
    asked = mixing(tag_dropout=1, protected_tags="Red, blue hat ", caption_variants=20)
    texts = variants("a, red, b, blue hat, c", asked, "1")
    assert {frozenset(text.split(", ")) for text in texts} == {frozenset(("red", "blue hat"))}
    assert len(set(texts)) == 2


def test_commas_in_a_weighted_group_do_not_tear_it_apart() -> None:
    texts = variants("(a, b:1.2), c, d", mixing(prompt_weights=True), "1")
    assert all("(a, b:1.2)" in text for text in texts)
