"""How proposals become captions: thresholds, blacklist, prefix and suffix, and what becomes of the caption that was there."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.caption_plan import MODES, Mode, Proposal, Rules, Tag, parts_of, planned, taken

TAGS = (
    Tag("general", "rating", 0.7), Tag("sensitive", "rating", 0.3), Tag("blue_sky", "general", 0.5), Tag("long_hair", "general", 0.9),
    Tag(">_<", "general", 0.4), Tag("tree", "general", 0.35), Tag("dog", "general", 0.34), Tag("zorblin_(blob)", "character", 0.86),
    Tag("somebody_else", "character", 0.84),
)  # fmt: skip
TAGGED, SENTENCE = Proposal(tags=TAGS), Proposal(text="A dog on the grass.")


def caption(before: str, proposal: Proposal = TAGGED, **rules: Any) -> str:
    return planned(before, proposal, Rules(**({"mode": "replace"} | rules)))


def test_characters_come_first_then_tags_by_confidence_and_faces_keep_their_line() -> None:
    assert caption("") == "zorblin (blob), long hair, blue sky, >_<, tree"


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({"threshold": 0.6}, "zorblin (blob), long hair"),
        ({"threshold": 0.34}, "zorblin (blob), long hair, blue sky, >_<, tree, dog"),
        ({"threshold": 0.9, "character_threshold": 0.5}, "zorblin (blob), somebody else, long hair"),
        ({"threshold": 0.9, "ratings": True}, "zorblin (blob), long hair, general"),
        ({"threshold": 0.5, "spaces": False}, "zorblin_(blob), long_hair, blue_sky"),
        ({"threshold": 0.5, "escape": True}, r"zorblin \(blob\), long hair, blue sky"),
        ({"blacklist": ("*_hair", "Blue Sky", "zorblin*")}, ">_<, tree"),
        ({"threshold": 0.9, "prefix": "zorb,  best ", "suffix": "outside"}, "zorb, best, zorblin (blob), long hair, outside"),
        ({"threshold": 0.9, "suffix": "long hair"}, "zorblin (blob), long hair"),
        ({"threshold": 0.9, "prefix": "LONG_hair"}, "LONG_hair, zorblin (blob)"),
    ],
)  # fmt: skip
def test_tags_are_taken_by_the_rules(rules: dict[str, Any], expected: str) -> None:
    assert caption("old", **rules) == expected


def test_what_was_there_is_kept_added_to_or_replaced() -> None:
    before = "my word, Long_Hair,"
    assert caption(before, mode="only-empty") == before
    assert caption(" ", mode="only-empty", threshold=0.9) == "zorblin (blob), long hair"
    assert caption(before, mode="append", threshold=0.5) == "my word, Long_Hair, zorblin (blob), blue sky"
    assert caption(before, mode="append", threshold=0.9, prefix="zorb, my word") == "zorb, my word, Long_Hair, zorblin (blob)"  # fmt: skip
    assert caption(r"zorblin \(blob\)", mode="append", threshold=0.9) == r"zorblin \(blob\), long hair"


@pytest.mark.parametrize("mode", MODES)
def test_a_caption_is_never_replaced_by_nothing(mode: Mode) -> None:
    nothing = {"mode": mode, "threshold": 1.0, "character_threshold": 1.0, "prefix": "zorb"}
    assert caption("mine, and dear", **nothing) == "mine, and dear"
    assert caption("mine", Proposal(), mode=mode, prefix="zorb") == "mine"
    assert caption("mine", SENTENCE, mode=mode, blacklist=("a dog on the grass",)) == "mine"


@pytest.mark.parametrize(
    ("before", "rules", "expected"),
    [
        ("", {}, "A dog on the grass."),
        ("old", {}, "A dog on the grass."),
        ("old", {"mode": "append"}, "old, A dog on the grass."),
        ("Old one.", {"mode": "append"}, "Old one. A dog on the grass."),
        ("so: a dog on the grass", {"mode": "append"}, "so: a dog on the grass"),
        ("", {"prefix": "zorblin"}, "zorblin, A dog on the grass."),
        ("", {"prefix": "photo of zorblin:", "suffix": "oil painting"}, "photo of zorblin: A dog on the grass. oil painting"),
        ("zorblin, x", {"prefix": "zorblin", "mode": "append"}, "zorblin, x, A dog on the grass."),
        ("", {"blacklist": ("on the",)}, "A dog grass."),
        ("", {"blacklist": ("A DOG", "grass")}, "on the."),
        ("", {"blacklist": ("do", "gras")}, "A dog on the grass."),
        ("", {"blacklist": ("gra*",)}, "A dog on the."),
    ],
)  # fmt: skip
def test_sentences_are_joined_and_cleared_of_phrases(before: str, rules: dict[str, Any], expected: str) -> None:
    assert caption(before, SENTENCE, **rules) == expected


def test_a_phrase_that_is_taken_out_leaves_no_stray_commas() -> None:
    said = Proposal(text="The image shows, as it were, a dog , a cat and a watermark.")
    assert caption("", said, blacklist=("the image shows", "as it were", "and a watermark")) == "a dog, a cat."


WORD = st.sampled_from(["dog", "red_hair", "Red hair", "a (b)", "^_^", "tall", "x"])
PROPOSALS = st.one_of(
    st.builds(Proposal, st.sampled_from(["", "A dog.", "a tall x"])),
    st.builds(Proposal, st.just(""), st.lists(st.builds(Tag, WORD, st.sampled_from(["general", "character", "rating"]), st.floats(0, 1))).map(tuple)),
)  # fmt: skip


@given(
    before=st.lists(WORD).map(", ".join),
    proposal=PROPOSALS,
    mode=st.sampled_from(MODES),
    blacklist=st.lists(WORD, max_size=2).map(tuple),
    prefix=WORD | st.just(""),
    escape=st.booleans(),
)
def test_doing_it_twice_changes_nothing_more(before: str, proposal: Proposal, **rules: Any) -> None:
    made = Rules(**rules)
    once = planned(before, proposal, made)
    assert planned(once, proposal, made) == once
    if made.mode == "append":
        assert before.strip(", ") in once
    if proposal.tags and made.mode == "replace" and once != before:
        keys = [part.replace("\\", "").replace("_", " ").casefold() for part in parts_of(once)]
        assert len(keys) == len(set(keys))


def test_a_proposal_survives_the_way_to_another_process() -> None:
    for proposal in (TAGGED, SENTENCE):
        assert Proposal.from_values(json.loads(json.dumps(proposal.values))) == proposal
    with pytest.raises(ValueError, match="values to unpack"):
        Proposal.from_values({"said": "", "tags": [["a", "general"]]})


def test_only_the_likeliest_rating_is_taken() -> None:
    assert taken(TAGS, Rules(threshold=1, character_threshold=1, ratings=True)) == ["general"]
    assert dataclasses.asdict(Rules())["ratings"] is False
