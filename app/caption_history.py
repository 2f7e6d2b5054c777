"""The history of caption edits in `captions.jsonl`: what stood in each file before and after, and going back and forth in it.

One JSON object a line: `{"label", "changes", "edits"}` is an edit of captions or of crops and masks, `{"changes"}` goes on with it, `{"failed": [paths]}` takes back what
could not be written, `{"undo"}` and `{"redo"}` move. Lines are only added; a line that was cut off by a crash is passed over.
Going back never destroys what another program wrote meanwhile. Imports neither torch nor Qt.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from app import edit_changes
from app.edit_changes import EditChange
from trainer import captions, edits
from trainer.run_folder import put, write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_ENTRIES = 500
MAX_BYTES = 8_000_000  # of a journal; when it has become longer, the oldest edits are forgotten at the next opening
LINE_CHANGES = 250  # in a line, as the JSON module stops every thread for a whole line


@dataclass(frozen=True)
class Change:
    """One caption file before and after an edit.

    before, after: the file's whole text; None when there is no file. exact: `before` is the file's bytes one by one
    (Latin-1), as it was in some other encoding than UTF-8.
    """

    picture: Path
    before: str | None
    after: str | None
    exact: bool = False

    @property
    def caption_before(self) -> str:
        """The caption, its lines parted by line breaks."""
        return "" if self.before is None else caption_of(self.before, exact=self.exact)

    @property
    def caption_after(self) -> str:
        """The caption, its lines parted by line breaks."""
        return "" if self.after is None else caption_of(self.after)


@dataclass(eq=False)
class Entry:
    """One step of undo. changes: complete once it was carried out. edits: of crops and masks."""

    label: str
    changes: tuple[Change, ...]
    edits: tuple[EditChange, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing of it could be done."""
        return not self.changes and not self.edits


@dataclass(frozen=True)
class Step:
    """An entry to be carried out on disk."""

    entry: Entry
    kind: Literal["edit", "undo", "redo"]


@dataclass(frozen=True)
class Outcome:
    """What came of a step. captions: of files in which something else stands now than was wanted; problems: sentences.

    edits: crops and masks that are others now than was wanted, by the picture's key.
    """

    step: Step
    captions: dict[Path, str]
    problems: tuple[str, ...]
    edits: dict[str, edits.Edit | None] = field(default_factory=dict)


class CaptionHistory:
    """The edits of one project. `edit`, `undo` and `redo` move at once, in memory; `carry_out` then does it on disk.

    The split lets the window show an edit of 5,000 captions before they are written. Steps are carried out in their order,
    by one thread at a time.
    """

    def __init__(self, path: Path) -> None:
        """Reads the journal; a missing or damaged one gives what can be read.

        Args:
            path: `captions.jsonl` in the project's folder; it need not exist.
        """
        self.path = path
        self.entries: list[Entry] = []
        self.position = 0
        self.problem = ""
        self._starts_new_line = True
        self._read()

    # ---- where we stand

    @property
    def can_undo(self) -> bool:
        """Whether there is an edit to take back."""
        return self.position > 0

    @property
    def can_redo(self) -> bool:
        """Whether an edit was taken back."""
        return self.position < len(self.entries)

    @property
    def undo_text(self) -> str:
        """What would be taken back."""
        return self.entries[self.position - 1].label if self.can_undo else ""

    @property
    def redo_text(self) -> str:
        """What would be done again."""
        return self.entries[self.position].label if self.can_redo else ""

    # ---- moving, in memory

    def edit(self, label: str, changes: Iterable[Change], edits: Iterable[EditChange] = ()) -> Step:
        """A new step. What was taken back before is forgotten; what stood in the files is read again by `carry_out`."""
        entry = Entry(label, tuple(changes), tuple(edits))
        del self.entries[self.position :]
        self.entries = [*self.entries[-MAX_ENTRIES + 1 :], entry]
        self.position = len(self.entries)
        return Step(entry, "edit")

    def undo(self) -> Step | None:
        """Back by one."""
        if not self.can_undo:
            return None
        self.position -= 1
        return Step(self.entries[self.position], "undo")

    def redo(self) -> Step | None:
        """Forth by one."""
        if not self.can_redo:
            return None
        self.position += 1
        return Step(self.entries[self.position - 1], "redo")

    def forget(self, entry: Entry) -> None:
        """Leaves out an edit of which nothing could be written."""
        if entry in self.entries:
            index = self.entries.index(entry)
            del self.entries[index]
            self.position -= index < self.position

    # ---- on disk

    def carry_out(self, step: Step) -> Outcome:
        """Writes what a step changes, and the journal. A file that fails does not stop the others."""
        if step.entry.edits:
            return self._carry_out_pictures(step)
        return self._carry_out_edit(step) if step.kind == "edit" else self._carry_out_move(step)

    def _carry_out_edit(self, step: Step) -> Outcome:
        """The journal first: what stood in the files is safe before they are touched."""
        problems: list[str] = []
        actual: dict[Path, str] = {}
        readable = []
        for change in step.entry.changes:
            try:
                before, exact = _text(change.picture)
                after = _shaped(change.after, before, exact=exact)
                readable.append(replace(change, before=before, after=after, exact=exact))
            except OSError as error:
                problems.append(_sentence(change.picture, error))
                actual[change.picture] = change.caption_before
        step.entry.changes = tuple(readable)
        self._add(_lines(step.entry), problems)
        failed = []
        for change in readable:
            try:
                _put(change.picture, change.after, exact=False)
            except OSError as error:
                problems.append(_sentence(change.picture, error))
                actual[change.picture] = change.caption_before
                failed.append(change.picture)
        if failed:
            step.entry.changes = tuple(c for c in readable if c.picture not in set(failed))
            self._add([{"failed": [str(p) for p in failed]}], problems)
        return Outcome(step, actual, tuple(problems))

    def _carry_out_move(self, step: Step) -> Outcome:
        problems: list[str] = []
        actual: dict[Path, str] = {}
        undo = step.kind == "undo"
        for change in reversed(step.entry.changes) if undo else step.entry.changes:
            expected, wanted = change.caption_after, change.caption_before
            if not undo:
                expected, wanted = wanted, expected
            try:
                text, exact = _text(change.picture)
                found = "" if text is None else caption_of(text, exact=exact)
                if found == expected:
                    _put(change.picture, change.before if undo else change.after, exact=undo and change.exact)
                elif found != wanted:
                    actual[change.picture] = found
                    problems.append(
                        f"The caption of {change.picture.name} was changed by another program meanwhile; it was left as it is."
                    )
            except OSError as error:
                problems.append(_sentence(change.picture, error))
                actual[change.picture] = expected
        self._add([{step.kind: True}], problems)
        return Outcome(step, actual, tuple(problems))

    def _carry_out_pictures(self, step: Step) -> Outcome:
        """Crops and masks, in the folder beside the journal."""
        problems: list[str] = []
        is_new = step.kind == "edit"
        self._add(_lines(step.entry) if is_new else [{step.kind: True}], problems)
        folder = self.path.with_name(edit_changes.FOLDER)
        actual, sentence = edit_changes.carry_out(folder, step.entry.edits, back=step.kind == "undo")
        if is_new and actual:
            step.entry.edits = tuple(e for e in step.entry.edits if e.key not in actual)
            self._add([{"failed": sorted(actual)}], problems)
        return Outcome(step, {}, (*([sentence] if sentence else []), *problems), actual)

    # ---- the journal

    def _add(self, lines: list[dict[str, Any]], problems: list[str]) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="ascii", newline="\n") as file:
                if not self._starts_new_line:
                    file.write("\n")
                for line in lines:
                    file.write(json.dumps(line) + "\n")
            self._starts_new_line = True
        except OSError as error:
            self._starts_new_line = False
            reason = error.strerror or str(error)
            problems.append(
                f"The history of caption edits in {self.path} cannot be written ({reason}): this edit cannot be undone after "
                "the project was closed."
            )

    def _read(self) -> None:
        try:
            raw = self.path.read_bytes() if self.path.exists() else b""
        except OSError as error:
            self.problem = f"The history of caption edits in {self.path} cannot be read ({error.strerror or error})."
            return
        self._starts_new_line = not raw or raw.endswith(b"\n")
        for line in raw.splitlines():
            try:
                self._take(json.loads(line))
            except (ValueError, LookupError, TypeError, AttributeError):
                continue
        for entry in [e for e in self.entries if e.is_empty]:
            self.forget(entry)
        if len(raw) > MAX_BYTES or len(self.entries) > MAX_ENTRIES:
            self._shorten()

    def _take(self, line: dict[str, Any]) -> None:
        """Does in memory what a line of the journal says."""
        if "undo" in line or "redo" in line:
            self.position = min(max(self.position + (1 if "redo" in line else -1), 0), len(self.entries))
        elif "failed" in line:
            entry, failed = self.entries[-1], {Path(p) for p in line["failed"]}
            entry.changes = tuple(c for c in entry.changes if c.picture not in failed)
            entry.edits = tuple(e for e in entry.edits if e.key not in line["failed"])
        else:
            changes = tuple(
                Change(Path(c["picture"]), c["before"], c["after"], bool(c.get("exact"))) for c in line["changes"]
            )
            edited = tuple(EditChange.from_values(e) for e in line.get("edits", ()))
            if "label" in line:
                del self.entries[self.position :]
                self.entries.append(Entry(str(line["label"]), changes, edited))
                self.position = len(self.entries)
            else:
                self.entries[-1].changes += changes
                self.entries[-1].edits += edited

    def _shorten(self) -> None:
        """Keeps the newest edits, in half of the room there is."""
        kept: list[list[dict[str, Any]]] = []
        room = MAX_BYTES // 2
        for entry in reversed(self.entries[-MAX_ENTRIES // 2 :]):
            lines = _lines(entry)
            room -= sum(len(json.dumps(line)) for line in lines)
            if room < 0 and kept:
                break
            kept.insert(0, lines)
        undone = len(self.entries) - self.position
        self.entries = self.entries[len(self.entries) - len(kept) :]
        undone = min(undone, len(kept))
        self.position = len(kept) - undone
        out = "".join(json.dumps(line) + "\n" for lines in [*kept, *([[{"undo": True}]] * undone)] for line in lines)
        try:
            write_atomically(self.path, lambda p: p.write_text(out, encoding="ascii", newline="\n"))
            self._starts_new_line = True
        except OSError as error:
            self.problem = (
                f"The history of caption edits in {self.path} cannot be shortened ({error.strerror or error})."
            )


def caption_of(text: str, *, exact: bool = False) -> str:
    """A caption file's text as the window shows it: the lines that training sees, parted by line breaks."""
    if not exact and text.isprintable():  # no marks, no line breaks: the same, quicker
        return " ".join(text.split())
    return "\n".join(captions.decode(text.encode("latin-1" if exact else "utf-8", "replace")).lines)


def read_caption(picture: Path) -> str:
    """The caption beside a picture, its lines parted by line breaks; empty when there is none or it cannot be read."""
    try:
        text, exact = _text(picture)
    except OSError:
        return ""
    return "" if text is None else caption_of(text, exact=exact)


def _shaped(after: str | None, before: str | None, *, exact: bool) -> str | None:
    """The new text with the old one's empty lines and kind of line breaks, when both have as many lines and several."""
    if after is None or before is None or "\n" not in after or exact:
        return after
    old, new = before.splitlines(keepends=True), iter(after.split("\n"))
    if sum(bool(line.strip()) for line in old) != after.count("\n") + 1:
        return after
    return "".join(next(new) + line[len(line.rstrip("\r\n")) :] if line.strip() else line for line in old)


def _lines(entry: Entry) -> list[dict[str, Any]]:
    """The journal's lines for an edit."""
    if entry.edits:
        edited = [e.values for e in entry.edits]
        several = [edited[i : i + LINE_CHANGES] for i in range(0, len(edited), LINE_CHANGES)]
        lines: list[dict[str, Any]] = [{"changes": [], "edits": part} for part in several]
        return [{"label": entry.label, **lines[0]}, *lines[1:]]
    changes = [_plain(c) for c in entry.changes]
    parts = [changes[i : i + LINE_CHANGES] for i in range(0, len(changes), LINE_CHANGES)] or [[]]
    return [{"label": entry.label, "changes": parts[0]}, *({"changes": part} for part in parts[1:])]


def _plain(change: Change) -> dict[str, Any]:
    out = {"picture": str(change.picture), "before": change.before, "after": change.after}
    return out | {"exact": True} if change.exact else out


def _text(picture: Path) -> tuple[str | None, bool]:
    """The caption file's text, byte for byte, and whether it is Latin-1 because it is no UTF-8; None without a file."""
    file = captions.caption_file(picture)
    if file is None:
        return None, False
    raw = file.read_bytes()
    try:
        return raw.decode("utf-8"), False
    except UnicodeDecodeError:
        return raw.decode("latin-1"), True


def _put(picture: Path, text: str | None, *, exact: bool) -> None:
    """Writes the caption file, or removes it when the text is None."""
    if not picture.exists():
        raise FileNotFoundError(2, "the picture is no longer there")
    file = captions.caption_file(picture) or picture.with_suffix(captions.CAPTION_SUFFIXES[0])
    put(file, None if text is None else text.encode("latin-1" if exact else "utf-8", "replace"))


def _sentence(picture: Path, error: OSError) -> str:
    return f"The caption of {picture.name} was not changed: {error.strerror or error}. It is in {picture.parent}."
