"""`lora-atelier export`: writes the LoRA of a checkpoint as a file to share. torch is imported only when it runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app import places
from trainer import lora_file
from trainer.errors import RunError, os_message
from trainer.metadata import Words
from trainer.run_folder import RunFolder, safe_name, write_atomically

if TYPE_CHECKING:
    import argparse

PRECISIONS = ("fp16", "bf16", "fp32")
ENDING = ".safetensors"


def add(commands: Any) -> None:
    """Adds the sub-command to the parser."""
    parser = commands.add_parser(
        "export",
        help="write a checkpoint of a run as a LoRA file to share",
        description="Writes the LoRA of one checkpoint, reads it back and compares it. A file that exists is never replaced without --force.",
    )
    parser.add_argument("folder", type=Path, metavar="RUN_FOLDER")
    parser.add_argument("--step", type=int, metavar="N", help="of which checkpoint; the last one unless given")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="the new file, or a folder for it; LoRA Atelier/loras unless given"
    )
    parser.add_argument("--name", metavar="TEXT", help="title in the file; the run's unless given")
    parser.add_argument("--description", metavar="TEXT", help="written into the file")
    parser.add_argument("--tags", metavar="A,B", help="written into the file, separated by commas")
    parser.add_argument("--precision", choices=PRECISIONS, help="number format; the run's file precision unless given")
    parser.add_argument(
        "--picture",
        type=Path,
        metavar="PNG",
        help="copied beside the file as NAME.preview.png, which LoRA browsers show",
    )
    parser.add_argument("--force", action="store_true", help="replace a file that exists")
    parser.add_argument("--json", action="store_true", help="print one line of JSON, for programs")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Does it; returns the exit code.

    Raises:
        AtelierError: a sentence.
    """
    folder = RunFolder(options.folder.absolute())
    step = chosen_step(folder, options.step)
    title = options.name or _title(folder, step)
    out = file_for(options.out or places.exports(), title)
    picture = preview_beside(out)
    if options.picture is not None and picture.exists() and not options.force:
        raise RunError(f"{picture} exists already. Choose another name, or add --force to replace it.")
    if out.exists() and not options.force:
        raise RunError(f"{out} exists already. Choose another name, or add --force to replace it.")
    precision = options.precision or folder.settings().export_precision
    words = Words(options.name, options.description, options.tags)
    from trainer import export

    difference = export.from_checkpoint(folder, step, out, words, precision, overwrite=options.force)
    if options.picture is not None:
        copy_picture(options.picture, picture)
    size = out.stat().st_size
    if options.json:
        print(json.dumps({"path": str(out), "step": step, "size_bytes": size, "largest_difference": difference}))
    else:
        print(f"Step {step} is in {out} ({size / 1e6:.1f} MB, {precision}; read back and compared).")
    return 0


def chosen_step(folder: RunFolder, step: int | None) -> int:
    """The step that was asked for, or the last checkpoint's.

    Raises:
        RunError: this is no run folder, or it has no checkpoint.
    """
    if not folder.settings_path.is_file():
        raise RunError(f"{folder.path} is not a run folder: it has no run.toml.")
    steps = folder.checkpoints()
    if not steps:
        raise RunError(f"The run {folder.path} has no checkpoint yet, so there is nothing to export.")
    return steps[-1] if step is None else step


def file_for(out: Path, title: str) -> Path:
    """The file to write: `out` itself, or in it when it is a folder (or has no ending that makes it a file)."""
    out = out.expanduser().absolute()
    if out.suffix == ENDING and not out.is_dir():
        return out
    return out / f"{safe_name(title)}{ENDING}"


def preview_beside(file: Path) -> Path:
    """Where A1111, Forge and Civitai helpers look for a LoRA's picture."""
    return file.with_name(f"{file.stem}.preview.png")


def copy_picture(source: Path, target: Path) -> None:
    """Copies the picture with its generation parameters.

    Raises:
        RunError: it cannot be read or written; the LoRA file is there already.
    """
    try:
        write_atomically(target, lambda p: shutil.copyfile(source, p))
    except OSError as error:
        raise RunError(os_message("The LoRA file is written, but not its picture", error)) from None


def _title(folder: RunFolder, step: int) -> str:
    """The title that the checkpoint bears; the run's settings know it too, unless it was trained elsewhere."""
    file = folder.checkpoint(step) / "lora.safetensors"
    told = lora_file.read_header(file).metadata if file.is_file() else {}
    return told.get("modelspec.title") or folder.settings().title
