"""Captions: reading them in any usual encoding, and what the model is shown: trigger, alternatives, mixed and dropped tags.

Imports no torch.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainer import prompt_syntax

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from trainer.settings import TrainingSettings

CAPTION_SUFFIXES = (".txt", ".caption")
_BOMS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


@dataclass(frozen=True)
class CaptionText:
    """A caption file's text on one line, the encoding it was in, and its lines that are not empty."""

    text: str
    encoding: str
    lines: tuple[str, ...] = ()


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
    if encoding in ("utf-8", "cp1252") and len(raw) > 3 and raw[1::2].count(0) > len(raw) // 4:
        encoding = "utf-16-le"  # UTF-16 that an editor saved without its mark
        text = raw.decode(encoding, errors="replace")
    lines = (" ".join(line.split()) for line in text.replace("\x00", "").splitlines())
    kept = tuple(line for line in lines if line)
    return CaptionText(" ".join(kept), encoding, kept)


def with_trigger(caption: str, trigger: str) -> str:
    """The caption with the trigger word in front, unless it stands in it as a word already."""
    if not trigger or _contains(caption, trigger):
        return caption
    return f"{trigger}, {caption}" if caption else trigger


def variants(caption: str, settings: TrainingSettings, seed: str, lines: Sequence[str] = ()) -> list[str]:
    """What the model may be shown for this caption: one text, or at most `caption_variants` of its alternatives and mixes.

    Tags are the comma-separated parts. Those with the trigger word, the first `keep_tokens`, and with a separator those
    before the first and after the second one, stay in place and are never dropped; protected ones are never dropped.
    The same seed gives the same list on any machine. lines: of the caption file, when it has several.
    """
    texts = [with_trigger(text, settings.trigger) for text in _choices(caption, settings, seed, lines)]
    if not (settings.shuffle_tags or settings.tag_dropout):
        separator = settings.keep_separator
        whole = ([p.strip() for p in text.split(separator)] if separator else [text] for text in texts)
        return list(dict.fromkeys(", ".join(p for p in parts if p) if len(parts) > 1 else parts[0] for parts in whole))
    each = -(-settings.caption_variants // len(texts))
    return [mix for text in texts for mix in _mixed(text, settings, seed, each)]


def _choices(caption: str, settings: TrainingSettings, seed: str, lines: Sequence[str]) -> list[str]:
    """The lines and wildcard alternatives: all, or so many of them as there may be variants."""
    several = settings.caption_lines == "variants" and len(lines) > 1
    texts = list(dict.fromkeys(lines)) if several else [caption]
    most = settings.caption_variants
    if settings.wildcards:
        counts = [prompt_syntax.count_choices(text) for text in texts]
        if sum(counts) > most:
            rng = random.Random(f"{seed}|choices|{caption}")
            drawn = (prompt_syntax.one_choice(texts[i % len(texts)], rng) for i in range(most))
            return list(dict.fromkeys(" ".join(text.split()) for text in drawn))
        chosen = (choice for text in texts for choice in prompt_syntax.all_choices(text))
        texts = list(dict.fromkeys(" ".join(text.split()) for text in chosen))
    return texts if len(texts) <= most else random.Random(f"{seed}|lines|{caption}").sample(texts, most)


def _mixed(text: str, settings: TrainingSettings, seed: str, count: int) -> list[str]:
    """The text with its tags mixed or dropped, so often; once when there is nothing to mix."""
    tags, kept = _tags(text, settings)
    if len(tags) < 2:
        return [", ".join(tags) if settings.keep_separator else text]
    triggers = [part for part in settings.trigger.split(",") if part.strip()]
    fixed = [kept[i] or any(_contains(tag, part) for part in triggers) for i, tag in enumerate(tags)]
    protected = {tag.strip().lower() for tag in settings.protected_tags.split(",") if tag.strip()}
    stays = [fixed[i] or tag.lower() in protected for i, tag in enumerate(tags)]
    rng = random.Random(f"{seed}|{text}")
    out = []
    for _ in range(count):
        shown = [i for i in range(len(tags)) if stays[i] or rng.random() >= settings.tag_dropout]
        loose = [tags[i] for i in shown if not fixed[i]]
        if settings.shuffle_tags:
            rng.shuffle(loose)
        rest = iter(loose)
        out.append(", ".join(tags[i] if fixed[i] else next(rest) for i in shown))
    return out


def _tags(text: str, settings: TrainingSettings) -> tuple[list[str], list[bool]]:
    """The tags, and which of them keep their place by number or by separator."""
    parts = text.split(settings.keep_separator, 2) if settings.keep_separator else [text]
    groups = [prompt_syntax.split_tags(part, brackets=settings.prompt_weights) for part in parts]
    tags = [tag for group in groups for tag in group]
    if len(groups) == 1:
        return tags, [i < settings.keep_tokens for i in range(len(tags))]
    loose = range(len(groups[0]), len(groups[0]) + len(groups[1]))
    return tags, [i not in loose for i in range(len(tags))]


def _contains(text: str, phrase: str) -> bool:
    """Whether the phrase stands in the text as whole words, in any case; one without letters, as it is."""
    if not _words(phrase):
        return phrase.strip() in text
    padded, wanted = (f" {' '.join(_words(t))} " for t in (text, phrase))
    return wanted in padded


def _words(text: str) -> list[str]:
    return "".join(c.lower() if c.isalnum() or c in "-_'" else " " for c in text).split()
