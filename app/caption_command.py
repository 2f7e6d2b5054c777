"""`lora-atelier caption`: a captioner describes the pictures of a folder; its captions are shown or written beside them.

The engine is imported only when it runs, as it needs torch. With --json every picture is a line of its own, as it comes:
{"type": "caption", "path", "before", "text", "said", "tags"} or {"type": "problem", "path", "message"}.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app import task_command
from trainer import caption_plan, captions, dataset, doctor_undo
from trainer.caption_plan import LEAST_CONFIDENCE, MODES, Rules
from trainer.dataset import Picture
from trainer.errors import ConfigError

if TYPE_CHECKING:
    from trainer.caption_plan import Proposal
    from trainer.tasks import Tell

SHOWN = 5  # problems that are named


def add(commands: Any) -> None:
    """Adds the sub-command to the parser."""
    parser = commands.add_parser(
        "caption",
        help="have a model write captions",
        description="BLIP, BLIP-2 and Florence-2 write sentences, WD taggers write tags. Captions that exist are kept unless "
        "--mode says otherwise; the last writing is taken back with: lora-atelier doctor FOLDER --undo.",
    )
    parser.add_argument("folder", nargs="?", type=Path, metavar="FOLDER", help="with the pictures")
    parser.add_argument("--model", required=True, metavar="FOLDER|OWNER/NAME", help="the captioner: its folder, or its name on Hugging Face after lora-atelier fetch")  # fmt: skip
    parser.add_argument("--mode", choices=MODES, default="only-empty", help="what becomes of captions that exist (only-empty)")  # fmt: skip
    parser.add_argument("--threshold", type=_share, default=0.35, metavar="X", help="least confidence of tags (0.35)")
    parser.add_argument("--character-threshold", type=_share, default=0.85, metavar="X", help="the same for names of characters (0.85)")  # fmt: skip
    parser.add_argument("--ratings", action="store_true", help="also take the tagger's rating of the picture")
    parser.add_argument("--blacklist", default="", metavar="A,B", help="tags to leave out, or phrases to take out of sentences; * stands for any letters")  # fmt: skip
    parser.add_argument("--prefix", default="", metavar="TEXT", help="in front of every caption, e.g. the trigger word")
    parser.add_argument("--suffix", default="", metavar="TEXT", help="at the end of every caption")
    parser.add_argument("--underscores", action="store_true", help="keep the underscores of tags")
    parser.add_argument("--escape", action="store_true", help="put a backslash before the brackets of tags")
    parser.add_argument("--prompt", default="", metavar="TEXT", help="Florence-2: short, detailed or long; BLIP: how sentences begin, or a question that ends in a colon")  # fmt: skip
    parser.add_argument("--batch", type=_count, default=0, metavar="N", help="pictures at once")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")
    parser.add_argument("--pictures", type=Path, metavar="FILE", help='for programs, instead of FOLDER: a JSON list of {"path", "box"}; nothing is written')  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="show the captions, write nothing")
    task_command.add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Does it; returns the exit code.

    Raises:
        AtelierError: a sentence.
    """
    if (options.folder is None) == (options.pictures is None):
        raise ConfigError("", "Say which pictures: a FOLDER, or a list of them with --pictures.")
    return task_command.run(options, lambda tell: _captioned(options, tell), lambda result: str(result["sentence"]))


def rules_of(options: argparse.Namespace) -> Rules:
    """What the flags say about captions."""
    return Rules(
        options.mode, options.threshold, options.character_threshold, options.ratings,
        caption_plan.parts_of(options.blacklist), options.prefix, options.suffix, not options.underscores, options.escape,
    )  # fmt: skip


def _captioned(options: argparse.Namespace, tell: Tell) -> dict[str, Any]:
    work = _Work(options)
    pictures = work.pictures()
    if not pictures:
        return work.result()
    from trainer import captioner

    folder = captioner.find(options.model)
    model = captioner.load(folder, prompt=options.prompt, batch=options.batch, where=options.device, tell=tell)
    wishes = [captioner.Wish(picture.path, picture.box) for picture in pictures]
    try:
        for picture, described in zip(pictures, captioner.describe(model, wishes, tell), strict=True):
            if described.proposal is None:
                work.take_problem(picture, described.problem)
            else:
                work.take(picture, described.proposal)
    except BaseException:  # cancelled, or out of memory after hours: what has come is not thrown away
        work.write()
        if work.written and not options.json:
            done = _counted(work.written, "caption")
            print(f"Ended early. {done} written by then; the same command goes on.", file=sys.stderr)
        raise
    work.write()
    return work.result()


@dataclass
class _Work:
    """What comes of one call. planned: new captions by picture; seen: pictures that were described; there: that were found."""

    options: argparse.Namespace
    planned: dict[Path, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    there: int = 0
    seen: int = 0
    written: int = 0

    @property
    def _is_dry(self) -> bool:
        return self.options.dry_run or self.options.pictures is not None

    def pictures(self) -> list[Picture]:
        """Those to be described."""
        if self.options.pictures is not None:
            found = _listed(self.options.pictures)
        else:
            data = dataset.scan(self.options.folder.expanduser().absolute())
            self.problems += [p for p in data.problems if not p.endswith("no caption.")]
            found = list(data.pictures)
        self.there = len(found)
        return [p for p in found if self.options.mode != "only-empty" or not p.caption]

    def take_problem(self, picture: Picture, sentence: str) -> None:
        """A picture that could not be opened."""
        self.problems.append(sentence)
        task_command.say_more(self.options, {"type": "problem", "path": str(picture.path), "message": sentence})

    def take(self, picture: Picture, proposal: Proposal) -> None:
        """What the model says of a picture."""
        self.seen += 1
        rules = rules_of(self.options)
        # A caption file of several lines holds several captions, each of which is added to.
        lines = picture.lines if rules.mode == "append" and picture.lines else (picture.caption,)
        text = "\n".join(caption_plan.planned(line, proposal, rules) for line in lines)
        if text != "\n".join(lines):
            self.planned[picture.path] = text
        said = {"type": "caption", "path": str(picture.path), "before": picture.caption, "text": text}
        task_command.say_more(self.options, said | proposal.values)
        if self._is_dry and not self.options.json:
            print(f"{picture.relative}: {text}", flush=True)

    def write(self) -> None:
        """Writes the captions that are new, as one step that can be taken back."""
        if self._is_dry or not self.planned:
            return
        changes = []
        for path, text in self.planned.items():
            file = captions.caption_file(path)
            before = file.read_bytes() if file is not None else None
            target = file or path.with_suffix(captions.CAPTION_SUFFIXES[0])
            changes.append(doctor_undo.Write(target, before, text.encode("utf-8")))
        root = self.options.folder.expanduser().absolute()
        outcome = doctor_undo.carry_out(root, f"Captions by {Path(self.options.model).name}", changes)
        self.written = outcome.changed
        self.problems += outcome.problems
        self.planned = {}

    def result(self) -> dict[str, Any]:
        """For programs, with a sentence for people."""
        would = len(self.planned)
        if not self.there - self.seen and not self.seen:
            sentence = "There are no pictures."
        elif not self.seen and not self.problems:
            sentence = f"All {_counted(self.there, 'picture')} have captions. To change those: --mode append or --mode replace."
        elif self._is_dry:
            sentence = f"{_counted(self.seen, 'picture')} described; {_counted(would, 'caption')} would change. Nothing was written."
        else:
            sentence = f"{_counted(self.seen, 'picture')} described, {_counted(self.written, 'caption')} written."
            if self.written:
                sentence += f" To take that back: lora-atelier doctor {self.options.folder} --undo"
        shown = self.problems[:SHOWN] + (["…"] if len(self.problems) > SHOWN else [])
        return {
            "seen": self.seen, "changed": would or self.written, "written": self.written, "problems": self.problems,
            "sentence": "\n".join([*shown, sentence]),
        }  # fmt: skip


def _listed(path: Path) -> list[Picture]:
    """The pictures that a program wants described.

    Raises:
        ConfigError: the list cannot be read.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        out = []
        for row in rows:
            box = tuple(int(side) for side in row["box"]) if row.get("box") else None
            assert box is None or len(box) == 4
            file = Path(row["path"])
            out.append(Picture(file, 0, 0, "", relative=file.name, box=box))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
        raise ConfigError("", f"{path} is no list of pictures that can be read ({error}).") from None
    return [_with_caption(picture) for picture in out]


def _with_caption(picture: Picture) -> Picture:
    file = captions.caption_file(picture.path)
    try:
        found = captions.decode(file.read_bytes()) if file is not None else None
    except OSError:
        return picture
    return (
        picture
        if found is None
        else replace(picture, caption=found.text, lines=found.lines if len(found.lines) > 1 else ())
    )


def _counted(number: int, one: str) -> str:
    return f"{number:,} {one}{'' if number == 1 else 's'}"


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not LEAST_CONFIDENCE <= value <= 1:
        raise argparse.ArgumentTypeError(f"a number from {LEAST_CONFIDENCE} to 1, not {text}")
    return value


def _count(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"a whole number of at least 1, not {text}")
    return value
