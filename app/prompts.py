"""Preview prompts and the trigger word, from the captions of a data set. Imports neither torch nor Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer import captions

if TYPE_CHECKING:
    from collections.abc import Sequence

SUGGESTED = 3  # prompts from captions; one more without the trigger word shows whether the base model forgets


def suggestions(texts: Sequence[str], trigger: str) -> list[str]:
    """Prompts from captions: some spread over the data set with the trigger word, and one without it."""
    different = list(dict.fromkeys(text.partition("\n")[0] for text in texts if text)) or ([""] if trigger else [])
    if not different:
        return []
    count = min(SUGGESTED, len(different))
    picked = [different[i * len(different) // count] for i in range(count)]
    plain = next((text for text in reversed(different) if text not in picked), picked[-1])
    tags = [tag.strip() for tag in plain.split(",")]
    without = ", ".join(tag for tag in tags if tag and tag.casefold() != trigger.casefold()) if trigger else ""
    return list(dict.fromkeys(t for t in [*(captions.with_trigger(p, trigger) for p in picked), without] if t))


def common_trigger(texts: Sequence[str]) -> str:
    """The tag in front of every caption, which is what the pictures have been captioned for; empty when there is none."""
    first = {text.partition("\n")[0].partition(",")[0].strip() for text in texts}
    return first.pop() if len(first) == 1 and len(texts) > 1 else ""
