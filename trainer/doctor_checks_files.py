"""What the data set doctor finds in single picture files: broken, oddly stored, spoilt. Imports no torch."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from trainer import pixel_measures, pixels
from trainer.doctor_findings import finding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from trainer.doctor_findings import Finding
    from trainer.doctor_subject import Subject
    from trainer.pixel_measures import Measures

HIDDEN_SHARE = 0.001  # of the picture, from which on colours under transparency are worth a word


def check(subject: Subject) -> Iterator[Finding]:
    """All findings about single pictures."""
    yield from _unreadable(subject)
    readable = {key: m for key, m in subject.measures.items() if not m.problem}
    masked = subject.settings.masked_loss and subject.settings.alpha_mask  # then the user knows what is transparent
    for kind, (explanation, remark) in _KINDS.items():
        if kind == "transparent" and masked:
            continue
        if remarks := {key: words for key, m in readable.items() if (words := remark(m))}:
            yield finding(kind, explanation.replace("BACKGROUND", subject.settings.background), remarks)
    yield from _wrong_extension(readable)


def _unreadable(subject: Subject) -> Iterator[Finding]:
    broken = dict(subject.files.unreadable)
    broken |= {key: m.problem.rstrip(".") for key, m in subject.measures.items() if m.problem}
    if broken:
        yield finding(
            "unreadable",
            "These files cannot be read as pictures, or only in part; training leaves them out. Get them again from where they "
            "came from, or leave them out for good.",
            dict(sorted(broken.items())),
        )
    if others := subject.files.other_formats:
        suffixes = Counter(Path(key).suffix.lower() for key in others)
        shown = ", ".join(f"{count} {suffix}" for suffix, count in suffixes.most_common())
        yield finding(
            "other_format",
            f"Files of formats that are not trained: {shown}. Save them as one of {', '.join(pixels.supported_suffixes())} if they "
            "are meant to be.",
            others,
        )


def _wrong_extension(readable: Mapping[str, Measures]) -> Iterator[Finding]:
    wrong = {key: m.wrong_extension for key, m in readable.items() if m.wrong_extension}
    if wrong:
        yield finding(
            "wrong_extension",
            "Training looks at what is in a file, but other programs believe its name. Renaming gives these the ending that they "
            "should have.",
            {key: f"is {readable[key].format}: {ending}" for key, ending in wrong.items()},
            endings={key: ending for key, ending in wrong.items() if ending in pixels.SUFFIXES},
        )


def _rotated(m: Measures) -> str:
    turns = {3: "by 180°", 6: "to the right", 8: "to the left"}
    return turns.get(m.exif_rotation, "mirrored") if m.exif_rotation != 1 else ""


def _transparent(m: Measures) -> str:
    if not m.has_alpha:
        return ""
    return (
        f"colours lie hidden under {m.hidden_share:.0%} of it"
        if m.hidden_share > HIDDEN_SHARE
        else "nothing lies hidden under it"
    )


def _border(m: Measures) -> str:
    if not pixel_measures.has_border(m):
        return ""
    names = ("left", "top", "right", "bottom")
    return ", ".join(f"{px} px {name}" for name, px in zip(names, m.border, strict=True) if px)


def _overlay(m: Measures) -> str:
    _, top, _, bottom = m.overlay.box
    if not m.overlay.kind or bottom - top > m.height_px / 3:
        return m.overlay.kind
    middle = (top + bottom) / 2 / max(1, m.height_px)
    return f"{m.overlay.kind}, {'top' if middle < 1 / 3 else 'middle' if middle < 2 / 3 else 'bottom'}"


_KINDS: dict[str, tuple[str, Callable[[Measures], str]]] = {
    "rotated": (
        "The camera noted which side is up; training turns them accordingly. Some other programs do not.",
        _rotated,
    ),
    "transparent": (
        "Where these pictures are transparent, the colour BACKGROUND shows through, and is learnt as backdrop; what lies hidden "
        "there is never trained. Choose another colour behind transparency, or put them on real backgrounds.",
        _transparent,
    ),
    "cmyk": (
        "Colours for print. They are turned into RGB without their colour profile, so look whether they are right.",
        lambda m: "CMYK" if m.is_cmyk else "",
    ),
    "sixteen_bit": (
        "Finer steps of brightness than training uses; they are rounded to 8 bits.",
        lambda m: "16 bits" if m.is_16_bit else "",
    ),
    "animated": (
        "Only the first frame is trained. Save other frames that you want as pictures of their own.",
        lambda m: f"{m.frames} frames" if m.frames > 1 else "",
    ),
    "blurred": (
        "Out of focus, shaken or enlarged: there is no fine detail in them even at the training size. The LoRA learns softness "
        "from them.",
        lambda m: f"sharpness {m.sharpness:.2f}" if pixel_measures.is_blurred(m) else "",
    ),
    "blocky": (
        "Saved as a JPEG of poor quality once: its squares are in the picture, and are learnt. Look for the original.",
        lambda m: f"like JPEG quality {50 / m.blockiness:.0f}" if pixel_measures.is_blocky(m) else "",
    ),
    "border": (
        "Bars or an even frame at the edges; the LoRA learns to draw them. Crop the pictures to what is inside.",
        _border,
    ),
    "overlay": (
        "Lettering that was laid over the picture; the LoRA learns to draw it. Crop it away, find a clean picture, or say it in "
        "the caption if it belongs there.",
        _overlay,
    ),
}
