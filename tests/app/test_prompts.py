"""What a new project takes from its captions."""

from __future__ import annotations

import pytest

from app.prompts import common_trigger


@pytest.mark.parametrize(
    ("texts", "trigger"),
    [
        (["zorblin, night", "zorblin, beach", "zorblin"], "zorblin"),
        (["zorblin, night", "a zorblin, beach"], ""),
        (["zorblin, night"], ""),
        (["", ""], ""),
        ([], ""),
    ],
)
def test_the_tag_in_front_of_every_caption_is_the_trigger(texts: list[str], trigger: str) -> None:
    assert common_trigger(texts) == trigger
