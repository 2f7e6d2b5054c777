"""What the data set doctor can find: the table of kinds, a finding, and the report of an examination. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Severity = Literal["stop", "warn", "note"]
SEVERITIES: tuple[Severity, ...] = ("stop", "warn", "note")


@dataclass(frozen=True)
class Kind:
    """A row of the table. severity: "stop" would certainly fail or waste the run. repair: of `doctor_repairs`, or empty."""

    severity: Severity
    title: str
    repair: str = ""


# fmt: off
KINDS: dict[str, Kind] = {
    "nothing_usable":    Kind("stop", "Nothing to train on"),
    "no_captions":       Kind("stop", "No captions and no trigger word"),
    "regularization":    Kind("stop", "Regularisation pictures cannot be used"),
    "other_format":      Kind("note", "Pictures of other formats"),
    "unreadable":        Kind("warn", "Unreadable or cut off", "leave_out"),
    "exact_duplicate":   Kind("warn", "The same file twice", "leave_out"),
    "near_duplicate":    Kind("warn", "The same picture twice", "leave_out"),
    "flipped_duplicate": Kind("warn", "The same picture mirrored", "leave_out"),
    "blurred":           Kind("warn", "Blurred", "leave_out"),
    "blocky":            Kind("warn", "Blocks of strong JPEG compression", "leave_out"),
    "overlay":           Kind("warn", "Text or watermark", "leave_out"),
    "border":            Kind("warn", "Border or bars"),
    "small":             Kind("warn", "Too small for the training size", "leave_out"),
    "cropped":           Kind("warn", "Much is cut away", "leave_out"),
    "transparent":       Kind("warn", "Transparency"),
    "animated":          Kind("warn", "Animated"),
    "missing_caption":   Kind("warn", "No caption", "add_trigger"),
    "empty_caption":     Kind("warn", "Empty caption", "add_trigger"),
    "encoding":          Kind("warn", "Oddly encoded caption", "recode"),
    "invisible":         Kind("warn", "Invisible characters in a caption", "recode"),
    "too_long":          Kind("warn", "Caption longer than the model reads"),
    "trigger_hidden":    Kind("warn", "Trigger word inside another word", "add_trigger"),
    "tag_spelling":      Kind("warn", "A tag in several spellings", "unify_tag"),
    "prior_overlap":     Kind("warn", "Regularisation pictures that are trained too", "set_aside"),
    "too_few":           Kind("warn", "Few pictures"),
    "repeats":           Kind("warn", "Repeats tip the balance of the folders"),
    "too_many":          Kind("note", "Many pictures"),
    "thin_bucket":       Kind("note", "Small buckets"),
    "wrong_extension":   Kind("note", "Wrong file extension", "rename"),
    "rotated":           Kind("note", "Turned by its EXIF data"),
    "cmyk":              Kind("note", "CMYK colours"),
    "sixteen_bit":       Kind("note", "16 bits a channel"),
    "orphan_caption":    Kind("note", "Caption without a picture", "set_aside"),
    "trigger_missing":   Kind("note", "Trigger word missing", "add_trigger"),
    "tag_everywhere":    Kind("note", "A tag in every caption", "remove_tag"),
    "tag_once":          Kind("note", "Tags in a single caption"),
}
# fmt: on


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a data set.

    Attributes:
        kind: a key of `KINDS`.
        explanation: what it means and what to do, a sentence or two.
        pictures: keys of the files concerned, as `dataset.Picture.key` has them, or such paths of other files.
        remarks: a few words about one of them, by key.
        groups: of duplicates: keys that belong together, the best one first.
        tag: of a finding about a tag: the tag, or the spelling to keep.
        spellings: the other spellings of the tag.
        endings: of wrongly named files: the right ending, by key.
        severity: the kind's, unless the case is milder.
    """

    kind: str
    explanation: str
    pictures: tuple[str, ...] = ()
    remarks: Mapping[str, str] = field(default_factory=dict)
    groups: tuple[tuple[str, ...], ...] = ()
    tag: str = ""
    spellings: tuple[str, ...] = ()
    endings: Mapping[str, str] = field(default_factory=dict)
    severity: Severity = "warn"
    repair: str = ""

    @property
    def title(self) -> str:
        """A few words."""
        return KINDS[self.kind].title

    @property
    def id(self) -> str:
        """Tells it from the others of a report, and stays the same in the next."""
        return f"{self.kind}:{self.tag}" if self.tag else self.kind


def finding(kind: str, explanation: str, pictures: Mapping[str, str] | tuple[str, ...] = (), **more: Any) -> Finding:
    """A finding with its kind's severity and repair. pictures: keys, or a remark for each."""
    remarks = dict(pictures) if not isinstance(pictures, tuple) else {}
    usual = {"severity": KINDS[kind].severity, "repair": KINDS[kind].repair}
    return Finding(kind, explanation, tuple(pictures), {k: r for k, r in remarks.items() if r}, **(usual | more))


@dataclass(frozen=True)
class Report:
    """What an examination found, the most severe first. pictures: how many were examined; measured: afresh, not remembered."""

    findings: tuple[Finding, ...]
    pictures: int
    measured: int = 0

    @property
    def blocks(self) -> bool:
        """Whether training would certainly fail or be wasted."""
        return any(f.severity == "stop" for f in self.findings)

    @property
    def headline(self) -> str:
        """The result in a sentence."""
        counts = {s: sum(f.severity == s for f in self.findings) for s in SEVERITIES}
        pictures = f"{self.pictures:,} {'picture' if self.pictures == 1 else 'pictures'}"
        if not self.findings:
            return f"{pictures}: nothing to complain about."
        words = {"stop": "in the way of training", "warn": "to look at", "note": "good to know"}
        return f"{pictures}: {', '.join(f'{n} {words[s]}' for s, n in counts.items() if n)}."

    def of(self, kind: str) -> tuple[Finding, ...]:
        """The findings of a kind."""
        return tuple(f for f in self.findings if f.kind == kind)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "headline": self.headline,
            "blocks": self.blocks,
            "pictures": self.pictures,
            "measured": self.measured,
            "findings": [_plain(f) for f in self.findings],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Report:
        """The report that `to_json` gave."""
        return cls(tuple(_found(v) for v in values["findings"]), values["pictures"], values["measured"])


def _plain(found: Finding) -> dict[str, Any]:
    return {
        "id": found.id, "kind": found.kind, "severity": found.severity, "title": found.title,
        "explanation": found.explanation, "pictures": list(found.pictures), "remarks": dict(found.remarks),
        "groups": [list(g) for g in found.groups], "tag": found.tag, "spellings": list(found.spellings), "endings": dict(found.endings),
        "repair": found.repair,
    }  # fmt: skip


def _found(values: Mapping[str, Any]) -> Finding:
    return Finding(
        values["kind"], values["explanation"], tuple(values["pictures"]), dict(values["remarks"]),
        tuple(tuple(g) for g in values["groups"]), values["tag"], tuple(values["spellings"]), dict(values["endings"]),
        values["severity"], values["repair"],
    )  # fmt: skip
