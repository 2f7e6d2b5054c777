"""`lora-atelier generate`: class (regularisation) pictures drawn by a base model, each with its caption.

The engine is imported only when it runs, as it needs torch. With --json every picture is a line of its own as it comes:
{"type": "picture", "path"}.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app import task_command
from trainer import settings_file
from trainer.errors import ConfigError
from trainer.settings import DEMO

if TYPE_CHECKING:
    from trainer.tasks import Tell

MOST = 99_999
_MODEL = ("vae", "precision", "prediction", "clip_skip", "device")


def add(commands: Any) -> None:
    """Adds the sub-command to the parser."""
    parser = commands.add_parser(
        "generate",
        help="draw class (regularisation) pictures with a base model",
        description="Draws pictures of a general class, which keep the base model from forgetting it in training. Pictures "
        "that are there already are kept and counted: the same command goes on where it was ended.",
    )
    parser.add_argument("--base", default=DEMO, metavar="MODEL", help="file, diffusers folder, name on Hugging Face after lora-atelier fetch, or demo")  # fmt: skip
    parser.add_argument("--prompt", required=True, metavar="TEXT", help='what to draw, e.g. "a photo of a woman"')
    parser.add_argument("--negative", default="", metavar="TEXT", help="what to keep out of the pictures")
    parser.add_argument("--count", type=_count, default=100, metavar="N", help="pictures in the folder in the end (100)")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where they are put")
    parser.add_argument("--seed", type=int, default=42, metavar="N", help="of the first picture; the next one has the next (42)")  # fmt: skip
    parser.add_argument("--steps", type=int, default=20, metavar="N", help="sampling steps (20)")
    parser.add_argument("--guidance", type=float, default=7.0, metavar="X", help="CFG scale (7)")
    parser.add_argument("--width", type=int, default=0, metavar="PX", help="what the model was made for, unless given")
    parser.add_argument("--height", type=int, default=0, metavar="PX", help="the same")
    for name in _MODEL:
        kind = int if name == "clip_skip" else str
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=None, help="as in train")
    parser.add_argument("--force", action="store_true", help="draw those anew that were drawn before")
    task_command.add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Does it; returns the exit code.

    Raises:
        AtelierError: a sentence.
    """
    return task_command.run(options, lambda tell: _drawn(options, tell), lambda result: str(result["sentence"]))


def _drawn(options: argparse.Namespace, tell: Tell) -> dict[str, Any]:
    if not options.prompt.strip():
        raise ConfigError("", 'Say what to draw, e.g. --prompt "a photo of a woman".')
    drawing = {name: getattr(options, name) for name in ("prompt", "negative", "seed", "steps", "guidance", "width", "height")}  # fmt: skip
    model = {name: value for name in _MODEL if (value := getattr(options, name)) not in (None, "")}
    try:
        settings = settings_file.from_dict(
            {"base": options.base, "previews": [drawing], **model}, where="the command line"
        )
    except ConfigError as error:
        raise ConfigError(error.field, str(error).removeprefix("Preview 1: ")) from None
    from trainer import generate

    made = generate.draw(
        settings, options.out.expanduser().absolute(), options.count, tell, force=options.force,
        shown=lambda path: task_command.say_more(options, {"type": "picture", "path": str(path)}),
    )  # fmt: skip
    some = f"{made.drawn:,} picture{'s' * (made.drawn != 1)}"
    sentence = f"{some} drawn in {made.folder}" + (f"; {made.kept:,} were there already." if made.kept else ".")
    return {"path": str(made.folder), "drawn": made.drawn, "kept": made.kept, "sentence": sentence}


def _count(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if not 1 <= value <= MOST:
        raise argparse.ArgumentTypeError(f"a whole number from 1 to {MOST:,}, not {text}")
    return value
