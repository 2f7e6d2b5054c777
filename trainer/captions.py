"""Captions: reading them in any usual encoding, and what the model is shown: trigger, mixed tags, dropped tags.

Imports no torch.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.settings import TrainingSettings

CAPTION_SUFFIXES = (".txt", ".caption")
_BOMS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


@dataclass(frozen=True)
class CaptionText:
    """A caption file's text on one line, and the encoding it was in."""

    text: str
    encoding: str


def caption_file(picture: Path) -> Path | None:
    """The caption beside a picture: `a.txt`, `a.caption`, or the same after the full name (`a.png.txt`)."""
    for suffix in CAPTION_SUFFIXES:
        for candidate in (picture.with_suffix(suffix), picture.with_name(picture.name + suffix)):
            if candidate.is_file():
                return candidate
    return None


def decode(raw: bytes) -> CaptionText:
    """Text from bytes in UTF-8 (with or without BOM), UTF-16 or, when it is neither, cp1252. Line breaks become spaces."""
    encoding = next((name for bom, name in _BOMS if raw.startswith(bom)), "utf-8")
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError:
        encoding = "cp1252"
        text = raw.decode(encoding, errors="replace")
    if encoding == "utf-8" and len(raw) > 3 and raw[1::2].count(0) > len(raw) // 4:
        encoding = "utf-16-le"  # UTF-16 that an editor saved without its mark
        text = raw.decode(encoding, errors="replace")
    return CaptionText(" ".join(text.replace("\x00", "").split()), encoding)


def with_trigger(caption: str, trigger: str) -> str:
    """The caption with the trigger word in front, unless it stands in it as a word already."""
    if not trigger or _contains(caption, trigger):
        return caption
    return f"{trigger}, {caption}" if caption else trigger


def variants(caption: str, settings: TrainingSettings, seed: str) -> list[str]:
    """What the model may be shown for this caption: one text, or `caption_variants` mixed ones.

    Tags are the comma-separated parts. Tags with the trigger word and the first `keep_tokens` tags stay in place and are
    never dropped. The same seed gives the same list on any machine.
    """
    text = with_trigger(caption, settings.trigger)
    tags = [tag.strip() for tag in text.split(",") if tag.strip()]
    if not (settings.shuffle_tags or settings.tag_dropout) or len(tags) < 2:
        return [text]
    parts = [part for part in settings.trigger.split(",") if part.strip()]
    fixed = [i < settings.keep_tokens or any(_contains(tag, part) for part in parts) for i, tag in enumerate(tags)]
    rng = random.Random(f"{seed}|{text}")
    out = []
    for _ in range(settings.caption_variants):
        shown = [i for i in range(len(tags)) if fixed[i] or rng.random() >= settings.tag_dropout]
        loose = [tags[i] for i in shown if not fixed[i]]
        if settings.shuffle_tags:
            rng.shuffle(loose)
        rest = iter(loose)
        out.append(", ".join(tags[i] if fixed[i] else next(rest) for i in shown))
    return out


def _contains(text: str, phrase: str) -> bool:
    """Whether the phrase stands in the text as whole words, in any case; one without letters, as it is."""
    if not _words(phrase):
        return phrase.strip() in text
    padded, wanted = (f" {' '.join(_words(t))} " for t in (text, phrase))
    return wanted in padded


def _words(text: str) -> list[str]:
    return "".join(c.lower() if c.isalnum() or c in "-_'" else " " for c in text).split()
