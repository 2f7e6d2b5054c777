"""How a model's proposal becomes a picture's caption: thresholds, blacklist, prefix, and what stood there before. Imports no torch."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Mode = Literal["only-empty", "append", "replace"]
MODES: tuple[Mode, ...] = get_args(Mode)
GENERAL, CHARACTER, RATING = "general", "character", "rating"
LEAST_CONFIDENCE = 0.05  # of tags that are told at all: a threshold above it can be changed without another look
_ORDER = {CHARACTER: 0, GENERAL: 1, RATING: 2}
_LETTERS = re.compile(r"[^\W_]{2}")
_ENDS = (".", "!", "?", ",", ";", ":")


class Tag(NamedTuple):
    """A tagger's word for something that it sees. kind: general, character or rating; confidence: 0 to 1."""

    name: str
    kind: str
    confidence: float


@dataclass(frozen=True)
class Proposal:
    """What a model says of one picture: a sentence, or tags, of which there are more than will be taken."""

    text: str = ""
    tags: tuple[Tag, ...] = ()

    @property
    def values(self) -> dict[str, Any]:
        """As a JSON object."""
        return {"said": self.text, "tags": [[t.name, t.kind, round(t.confidence, 4)] for t in self.tags]}

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Proposal:
        """From its JSON object.

        Raises:
            LookupError, TypeError, ValueError: it is damaged.
        """
        tags = tuple(Tag(str(name), str(kind), float(confidence)) for name, kind, confidence in values["tags"])
        return cls(str(values["said"]), tags)


@dataclass(frozen=True)
class Rules:
    """What is taken of a proposal, and where it goes.

    mode: only-empty leaves pictures alone that have a caption, append adds to it what it lacks, replace puts the proposal
    in its place. threshold, character_threshold: the least confidence of general and character tags; ratings: whether
    those are taken. blacklist: tags that are not taken, or words that are taken out of a sentence; `*` stands for any
    letters. prefix, suffix: before and after it all. spaces: for the underscores of tags. escape: a backslash before the
    brackets of tags, which otherwise are weights in prompts.
    """

    mode: Mode = "only-empty"
    threshold: float = 0.35
    character_threshold: float = 0.85
    ratings: bool = False
    blacklist: tuple[str, ...] = ()
    prefix: str = ""
    suffix: str = ""
    spaces: bool = True
    escape: bool = False


def parts_of(text: str) -> tuple[str, ...]:
    """The parts between commas, without those that are empty."""
    return tuple(part for part in map(str.strip, text.split(",")) if part)


def planned(before: str, proposal: Proposal, rules: Rules) -> str:
    """The caption that a picture gets; `before` itself when nothing is to be changed or nothing was proposed.

    Doing it again changes nothing more.
    """
    if rules.mode == "only-empty" and before.strip():
        return before
    kept = before.strip() if rules.mode == "append" else ""
    if proposal.tags:
        new = taken(proposal.tags, rules)
        return _with_tags(kept, new, rules) if new else before
    sentence = _without(proposal.text, rules.blacklist)
    return _with_sentence(kept, sentence, rules) if sentence else before


def taken(tags: Iterable[Tag], rules: Rules) -> list[str]:
    """The tags that are sure enough and wanted, as they are written: characters first, then by confidence."""
    least = {CHARACTER: rules.character_threshold, RATING: 0.0 if rules.ratings else 2.0}
    sure = [tag for tag in tags if tag.confidence >= least.get(tag.kind, rules.threshold)]
    ratings = [tag for tag in sure if tag.kind == RATING]
    likeliest = max(ratings, key=lambda tag: tag.confidence, default=None)
    sure = [tag for tag in sure if tag.kind != RATING or tag is likeliest]
    patterns = [_key(part) for part in rules.blacklist]
    wanted = [tag for tag in sure if not any(fnmatch.fnmatchcase(_key(tag.name), p) for p in patterns)]
    wanted.sort(key=lambda tag: (_ORDER.get(tag.kind, 1), -tag.confidence))
    return [_written(tag.name, rules) for tag in wanted]


def _written(name: str, rules: Rules) -> str:
    if rules.spaces and _LETTERS.search(name):  # a face such as >_< has no two letters in a row, and keeps its line
        name = name.replace("_", " ")
    return re.sub(r"(?<!\\)([()\[\]])", r"\\\1", name) if rules.escape else name


def _with_tags(kept: str, new: list[str], rules: Rules) -> str:
    known = {_key(part) for part in parts_of(kept)}

    def fresh(parts: Iterable[str]) -> list[str]:
        out = []
        for part in parts:
            if (key := _key(part)) not in known:
                known.add(key)
                out.append(part)
        return out

    front = fresh(parts_of(rules.prefix))
    last = {_key(part) for part in parts_of(rules.suffix)}
    middle = fresh(part for part in new if _key(part) not in last)
    end = fresh(parts_of(rules.suffix))
    return ", ".join([*front, *([kept.rstrip(", ")] if kept else []), *middle, *end])


def _with_sentence(kept: str, sentence: str, rules: Rules) -> str:
    out = kept if _has(kept, sentence) else _joined(kept, sentence)
    if not _has(out, rules.prefix):
        out = _joined(rules.prefix.strip(), out)
    return out if _has(out, rules.suffix) else _joined(out, rules.suffix.strip())


def _joined(one: str, other: str) -> str:
    if not one or not other:
        return one or other
    return f"{one}{' ' if one.endswith(_ENDS) else ', '}{other}"


def _has(text: str, phrase: str) -> bool:
    """Whether a phrase stands in the text as whole words."""
    phrase = phrase.strip().rstrip("".join(_ENDS)).casefold()
    return not phrase or re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", text.casefold()) is not None


def _without(sentence: str, blacklist: Iterable[str]) -> str:
    """The sentence without some phrases, and tidy again."""
    out = " ".join(sentence.split())
    for phrase in sorted(filter(None, map(str.strip, blacklist)), key=len, reverse=True):
        pattern = re.escape(" ".join(phrase.split())).replace(r"\*", r"\w*")
        out = re.sub(rf"(?<!\w){pattern}(?!\w)", "", out, flags=re.IGNORECASE)
    out = re.sub(r"\s+([.,;:!?])", r"\1", " ".join(out.split()))
    return re.sub(r"([,;:])(?:\s*[,;:])+", r"\1", out).lstrip(" .,;:!?")


def _key(tag: str) -> str:
    """What is the same of two tags that differ only in how they are written."""
    return " ".join(tag.replace("\\", "").replace("_", " ").casefold().split())
