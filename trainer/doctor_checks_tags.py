"""What the data set doctor finds in the tags of a set: in every caption, in only one, in several spellings. Imports no torch."""

from __future__ import annotations

import re
import statistics
from collections import defaultdict
from functools import lru_cache
from typing import TYPE_CHECKING

from trainer import captions
from trainer.doctor_findings import finding
from trainer.families import vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from trainer.batches import Entry
    from trainer.doctor_findings import Finding
    from trainer.doctor_subject import Subject

FEWEST_FOR_EVERYWHERE = 5  # captions, for "in every one" to mean anything
FEWEST_FOR_ONCE = 10
LONG_TAG = 7  # letters; in a shorter one another letter is another word
SHORT_PHRASE = 4  # words; a longer one is a sentence, which need not come again
TYPO_SHARE = 4  # a misspelt tag is so many times rarer than the right one
COMMON_WORDS = 25_000  # of the vocabulary, by frequency: who writes one of these means it
_NOT_PLURALS = {"arms", "glasses", "hands", "legs", "shorts", "feathers", "horns", "wings", "clothes", "pants", "news"}


def check(subject: Subject) -> Iterator[Finding]:
    """All findings about tags, concept by concept, as each has words of its own."""
    by_concept: dict[int, list[Entry]] = defaultdict(list)
    for entry in subject.taught:
        by_concept[entry.picture.concept].append(entry)
    for entries in by_concept.values():
        tags = {e.picture.key: subject.tags(e.picture) for e in entries if e.picture.caption}
        if tags:
            trigger = subject.trigger(entries[0].picture)
            yield from _check(tags, trigger)


def _check(tags: Mapping[str, Sequence[str]], trigger: str) -> Iterator[Finding]:
    holders: dict[str, list[str]] = defaultdict(list)  # of each tag, letter by letter
    for key, own in tags.items():
        for tag in own:
            if not _calls(tag, trigger):
                holders[tag].append(key)
    variants = _spellings({tag: len(keys) for tag, keys in holders.items()})
    for right, wrong in variants.items():
        yield _spelling(right, wrong, holders)
    yield from _everywhere(holders, len(tags), trigger)
    odd = {tag for right, wrong in variants.items() for tag in (right, *wrong)}
    yield from _once(holders, tags, odd)


def _everywhere(holders: Mapping[str, list[str]], count: int, trigger: str) -> Iterator[Finding]:
    if count < FEWEST_FOR_EVERYWHERE:
        return
    for tag, keys in holders.items():
        if len(keys) < count:
            continue
        explanation = (
            f'"{tag}" is in every caption, so that the model cannot tell it from the trigger word: "{trigger}" absorbs it and '
            "will always bring it. Remove the tag if you want that; if not, add pictures without it."
            if trigger
            else f'"{tag}" is in every caption and works like a trigger word. If it is meant as one, set it as trigger word, so '
            "that it stays in front; if not, what all pictures share is learnt under it."
        )
        yield finding("tag_everywhere", explanation, tuple(keys), tag=tag, **({} if trigger else {"repair": ""}))


def _once(holders: Mapping[str, list[str]], tags: Mapping[str, Sequence[str]], odd: set[str]) -> Iterator[Finding]:
    """Only where captions are lists of tags; sentences are all different."""
    if len(tags) < FEWEST_FOR_ONCE or statistics.median(map(len, tags.values())) < 3:
        return
    single: dict[str, list[str]] = defaultdict(list)
    for tag, keys in holders.items():
        if len(keys) == 1 and tag not in odd and len(tag.split()) <= SHORT_PHRASE:
            single[keys[0]].append(tag)
    if single:
        yield finding(
            "tag_once",
            "Tags that no other caption has. From one picture a word is hardly learnt; perhaps another tag says the same, or it "
            "is a slip.",
            {key: ", ".join(own) for key, own in single.items()},
        )


def _spelling(right: str, wrong: Sequence[str], holders: Mapping[str, list[str]]) -> Finding:
    remarks = {key: tag for tag in wrong for key in holders[tag]}
    counted = ", ".join(f'"{tag}" ({len(holders[tag])})' for tag in wrong)
    if all(tag.casefold() == right.casefold() for tag in wrong):
        reason, severity = "the model reads them alike, but tag lists and other programs tell them apart.", "note"
    else:
        reason, severity = "the model learns each spelling as something of its own.", "warn"
    explanation = f'{counted} beside "{right}" ({len(holders[right])}): {reason} Unifying writes "{right}" everywhere.'
    return finding("tag_spelling", explanation, remarks, tag=right, spellings=tuple(wrong), severity=severity)


def _spellings(counts: Mapping[str, int]) -> dict[str, tuple[str, ...]]:
    """For each tag to keep, the other spellings of it, the most frequent first."""
    alike: dict[str, list[str]] = defaultdict(list)
    for tag in counts:
        alike[_bare(tag)].append(tag)
    totals = {bare: sum(counts[tag] for tag in group) for bare, group in alike.items()}
    for rare, frequent in _slips(totals):
        if rare in alike and frequent in alike:
            alike[frequent] += alike.pop(rare)
    out = {}
    for group in alike.values():
        if len(group) > 1:
            right, *wrong = sorted(group, key=lambda tag: (-counts[tag], tag != tag.lower(), tag))
            out[right] = tuple(wrong)
    return dict(sorted(out.items()))


def _bare(tag: str) -> str:
    """The tag without what is a matter of spelling: capitals, underscores, hyphens, plural. Smileys stay as they are."""
    if sum(c.isalpha() for c in tag) < 3:
        return tag
    words = re.sub(r"(?<=\w)[_\-\s]+(?=\w)", " ", tag.casefold()).split()
    last = words[-1]
    if last.endswith("s") and not last.endswith(("ss", "us", "is")) and len(last) > 3 and last not in _NOT_PLURALS:
        stem = last[:-1]
        if stem.endswith(("she", "che", "xe", "sse")):
            stem = stem[:-1]
        words[-1] = stem[:-2] + "y" if stem.endswith("ie") and len(stem) > 4 else stem
    return " ".join(words)


def _slips(counts: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Pairs of a rare and a frequent tag of which the rare one is likely a slip of the pen.

    One letter differs, is missing, is too much, or has changed place with its neighbour.

    Pairs are found through the texts that both become with a letter less, as Garbe's SymSpell does (2012), so that
    thousands of tags take no time. A word that the model's vocabulary has is no slip: "white skirt" is no "white shirt".
    """
    shorter: dict[str, list[str]] = defaultdict(list)
    for tag in counts:
        if len(tag) >= LONG_TAG and len(tag.split()) <= SHORT_PHRASE:
            for text in {tag, *(tag[:i] + tag[i + 1 :] for i in range(len(tag)))}:
                shorter[text].append(tag)
    pairs = {
        tuple(sorted((a, b), key=lambda t: (counts[t], t)))
        for group in shorter.values()
        for a in group
        for b in group
        if a != b
    }
    for rare, frequent in sorted(pairs):
        if counts[rare] * TYPO_SHARE > counts[frequent] or _digits(rare) != _digits(frequent):
            continue
        if not _one_apart(rare, frequent):
            continue
        new = set(re.findall(r"\w+", rare)) - set(re.findall(r"\w+", frequent))
        if not new <= _common_words():
            yield rare, frequent


@lru_cache(maxsize=1)
def _common_words() -> frozenset[str]:
    """The most frequent whole words of CLIP's vocabulary; takes a tenth of a second."""
    known = vocabulary.vocabulary()
    return frozenset(
        t.removesuffix("</w>") for t, place in known.items() if place < COMMON_WORDS and t.endswith("</w>")
    )


def _one_apart(first: str, second: str) -> bool:
    """Whether one edit or one swap of neighbours makes one text the other (Damerau 1964)."""
    start = next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )
    a, b = first[start:], second[start:]
    if len(a) == len(b):
        return a[1:] == b[1:] or (a[2:] == b[2:] and a[:2] == b[1::-1])
    return a[1:] == b if len(a) > len(b) else a == b[1:]


def _digits(text: str) -> str:
    return "".join(filter(str.isdigit, text))


def _calls(tag: str, trigger: str) -> bool:
    """Whether the tag is, or holds, the trigger word or one of its parts."""
    parts: Iterable[str] = (part for part in trigger.split(",") if part.strip())
    return any(
        captions.with_trigger(tag, part.strip()) == tag or part.strip().casefold() in tag.casefold() for part in parts
    )
