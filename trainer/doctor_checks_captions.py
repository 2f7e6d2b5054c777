"""What the data set doctor finds in caption files and trigger words. Imports no torch."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from trainer import captions, preflight, prompt_syntax, tokens
from trainer.doctor_findings import finding
from trainer.errors import AtelierError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from trainer.doctor_findings import Finding
    from trainer.doctor_subject import Subject

# Format characters that nobody types: zero-width space and joiners' kin, marks that turn the writing direction, soft hyphen.
_INVISIBLE = {*"\u00ad\u200b\u2060\ufeff", *map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))}


def check(subject: Subject) -> Iterator[Finding]:
    """All findings about captions but those about tags."""
    yield from _absent(subject)
    yield from _odd(subject)
    yield from _too_long(subject)
    yield from _trigger(subject)
    if orphans := subject.files.orphans:
        yield finding(
            "orphan_caption",
            "Caption files for which there is no picture; training never sees them. Setting them aside moves them into a "
            "hidden folder, from where undo brings them back.",
            orphans,
        )


def readable(raw: bytes) -> str:
    """The whole text of a caption file, lines kept, mended: in whatever encoding it was, without invisible characters."""
    encoding = captions.decode(raw).encoding
    text = raw.decode(encoding, errors="replace")
    if mended := _unscrambled(text):
        text = mended
    text = "".join(c for c in text.replace("\r\n", "\n").replace("\r", "\n") if not _is_invisible(c))
    return text.strip(" \n") + ("\n" if text.endswith("\n") and text.strip() else "")


def _absent(subject: Subject) -> Iterator[Finding]:
    """Pictures without words. Regularisation pictures often have none, and need none."""
    pictures = [entry.picture for entry in subject.taught]
    without = [p for p in pictures if not p.caption]
    missing = [p for p in without if subject.raw[p.key] is None]
    empty = tuple(p.key for p in without if subject.raw[p.key] is not None)
    if not any(subject.trigger(p) for p in pictures) and len(without) == len(pictures):
        if pictures:
            yield finding(
                "no_captions",
                "No picture has a caption, and there is no trigger word: nothing would call what is learnt. Write captions into "
                ".txt files beside the pictures, or give a trigger word.",
                tuple(p.key for p in pictures),
            )
        return
    trained = "the trigger word alone" if any(subject.trigger(p) for p in without) else "no words at all"
    repair = {} if any(subject.trigger(p) for p in without) else {"repair": ""}
    if missing and len(missing) == len(pictures):
        yield finding(
            "missing_caption",
            f"No picture has a caption; all are trained with {trained}. That works, but then the backdrop is learnt with the "
            "subject; captions keep them apart.",
            tuple(p.key for p in missing), severity="note", **repair,
        )  # fmt: skip
    elif missing:
        shown = ", ".join(captions.CAPTION_SUFFIXES)
        yield finding(
            "missing_caption",
            f"{len(missing)} of {len(pictures)} pictures have no caption file ({shown}) beside them; they are trained with {trained}.",
            tuple(p.key for p in missing), **repair,
        )  # fmt: skip
    if empty:
        yield finding(
            "empty_caption",
            f"Caption files with nothing in them; their pictures are trained with {trained}.",
            empty,
            **repair,
        )


def _odd(subject: Subject) -> Iterator[Finding]:
    encodings: dict[str, str] = {}
    invisible: dict[str, str] = {}
    for key, raw in subject.raw.items():
        if raw is None:
            continue
        encoding = captions.decode(raw).encoding
        text = raw.decode(encoding, errors="replace")
        if encoding == "utf-8" and text.isascii() and text.isprintable():  # nearly all
            continue
        if encoding not in ("utf-8", "utf-8-sig"):
            encodings[key] = "Windows-1252" if encoding == "cp1252" else encoding.upper()
        elif _unscrambled(text):
            encodings[key] = "UTF-8 that was read as Windows-1252 and saved again"
        elif "\ufffd" in text:
            encodings[key] = "letters that an earlier conversion has lost (\ufffd)"
        if not captions.decode(raw).text:
            continue
        found = sorted({c for c in text if _is_invisible(c)})
        if encoding == "utf-8-sig" or found:
            names = ["byte order mark"] if encoding == "utf-8-sig" else []
            invisible[key] = ", ".join(
                [*names, *(unicodedata.name(c, f"control character {ord(c)}").lower() for c in found)]
            )
    if encodings:
        yield finding(
            "encoding",
            "These captions are not plain UTF-8. They are read as well as can be guessed here, but other programs stumble over "
            "them. Mending them writes them anew as UTF-8.",
            encodings,
        )
    if invisible:
        yield finding(
            "invisible",
            "Characters that nobody sees and the model reads all the same, or that hide the first word from other programs. "
            "Mending takes them out.",
            invisible,
        )


def _is_invisible(character: str) -> bool:
    return character in _INVISIBLE or (unicodedata.category(character) == "Cc" and character not in "\n\r\t")


def _unscrambled(text: str) -> str:
    """The text as it was meant, when UTF-8 was once taken for Windows-1252 ("cafÃ©"); else empty.

    That a text in any language passes this test by chance needs a pair such as "Ã©" in each of its letters beyond ASCII.
    """
    if text.isascii():
        return ""
    try:
        meant = text.encode("cp1252").decode("utf-8")
    except UnicodeError:
        return ""
    return meant


def _too_long(subject: Subject) -> Iterator[Finding]:
    """Counted as the base model's own tokenizer does, trigger word and all."""
    limit = subject.settings.max_tokens
    folder = _tokenizer(subject)
    about = "" if folder else "about "
    over: dict[str, str] = {}
    for entry in subject.entries:
        text = max(entry.texts, key=len)
        if subject.settings.prompt_weights:
            text = prompt_syntax.unweighted(text)
        if len(text) <= limit:  # a token has at least a character
            continue
        count = tokens.count(text, folder) if folder else tokens.estimate(text)
        if count > limit:
            over[entry.picture.key] = f"{about}{count} tokens"
    if over:
        higher = " Or set prompt length to 150 or 225." if limit < 225 else ""
        yield finding(
            "too_long",
            f"The model reads {limit} tokens and never sees what comes after; what these captions say at their end is lost. Put "
            f"what matters in front, or shorten them.{higher}",
            over,
        )


def _tokenizer(subject: Subject) -> Path | None:
    """The base model's tokenizer; None when it cannot be found or read, which is for preflight to say."""
    try:
        folder = tokens.tokenizer_folder(preflight.base_path(subject.settings.base))
        if folder is not None:
            tokens.count("", folder)
    except AtelierError:
        return None
    return folder


def _trigger(subject: Subject) -> Iterator[Finding]:
    missing: list[str] = []
    hidden: dict[str, str] = {}
    words = set()
    for picture in (entry.picture for entry in subject.taught):
        trigger = subject.trigger(picture)
        lacking = [line for line in subject.lines(picture) if line and captions.with_trigger(line, trigger) != line]
        if not lacking:
            continue
        words.add(trigger)
        if inside := [word for line in lacking for word in line.split() if trigger.casefold() in word.casefold()]:
            hidden[picture.key] = inside[0].strip(",.;:")
        else:
            missing.append(picture.key)
    shown = " or ".join(f'"{word}"' for word in sorted(words))
    if hidden:
        yield finding(
            "trigger_hidden",
            f"The trigger word {shown} stands in these captions only as a part of another word, which the model reads as "
            "something else. Training puts the trigger in front, so that both are learnt; a trigger that no other word "
            "contains is better.",
            hidden,
        )
    if missing:
        yield finding(
            "trigger_missing",
            f"The trigger word {shown} is not in these captions. Training puts it in front by itself; write it into the files "
            "if you use them elsewhere too.",
            tuple(missing),
        )
