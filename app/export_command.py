"""`lora-atelier export`: writes the LoRA of a checkpoint as a file, or a bundle for Civitai. torch is imported only when it runs."""

from __future__ import annotations

import argparse
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app import places, task_command
from trainer import bundle, lora_file, sidecar
from trainer.errors import RunError
from trainer.metadata import Words
from trainer.run_folder import RunFolder, safe_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainer.publish import Published
    from trainer.tasks import Tell

PRECISIONS = ("fp16", "bf16", "fp32")
FORMATS = ("kohya", "peft")
ENDING = ".safetensors"


def add(commands: Any) -> None:
    """Adds the sub-command to the parser."""
    parser = commands.add_parser(
        "export",
        help="write a checkpoint of a run as a LoRA file to share, or as a bundle for Civitai",
        description="Writes the LoRA of one checkpoint, reads it back, and proves that other programs load it. A file that exists is never replaced without --force.",
    )
    parser.add_argument("folder", type=Path, metavar="RUN_FOLDER")
    parser.add_argument("--step", type=int, metavar="N", help="of which checkpoint; the last one unless given")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--out", type=Path, metavar="FILE", help="the new file, or a folder for it; LoRA Atelier/loras unless given"
    )
    where.add_argument(
        "--bundle",
        type=Path,
        nargs="?",
        const=Path(),
        metavar="FOLDER_OR_ZIP",
        help="instead of one file, all that Civitai wants: the LoRA, previews with their parameters, a description, the settings; in LoRA Atelier/loras unless given",
    )
    parser.add_argument(
        "--with-data", action="store_true", help="the pictures and captions go into the bundle as a zip, as they are"
    )
    _add_words(parser)
    parser.add_argument("--precision", choices=PRECISIONS, help="number format; the run's file precision unless given")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default=FORMATS[0],
        help="kohya (A1111, Forge, ComfyUI, InvokeAI, Civitai) unless given, or peft for scripts with diffusers or PEFT",
    )
    parser.add_argument(
        "--no-proof",
        action="store_true",
        help="do not load the base model to prove that the file does what was trained",
    )
    parser.add_argument("--force", action="store_true", help="replace what exists")
    task_command.add_json(parser)
    parser.set_defaults(run=run)


def _add_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", metavar="TEXT", help="title in the file; the run's unless given")
    parser.add_argument("--description", metavar="TEXT", help="written into the file")
    parser.add_argument("--tags", metavar="A,B", help="written into the file, separated by commas")
    parser.add_argument(
        "--picture",
        type=Path,
        metavar="PNG",
        help="copied beside the file as NAME.preview.png, which LoRA browsers show; the first one of a bundle",
    )
    parser.add_argument(
        "--sidecar",
        action=argparse.BooleanOptionalAction,
        help="NAME.json beside the file, from which A1111, Forge and InvokeAI know the trigger words; on with --picture",
    )


def run(options: argparse.Namespace) -> int:
    """Does it; returns the exit code.

    Raises:
        AtelierError: a sentence.
    """
    return task_command.run(options, functools.partial(_work, options), lambda result: str(result["sentence"]))


def _work(options: argparse.Namespace, tell: Tell) -> Mapping[str, Any]:
    folder = RunFolder(options.folder.absolute())
    step = chosen_step(folder, options.step)
    title = options.name or _title(folder, step)
    is_bundle = options.bundle is not None
    _check_words(options, is_bundle=is_bundle)
    name, with_words = safe_name(title), False
    if is_bundle:
        out = bundle_in(places.exports(), title) if options.bundle == Path() else options.bundle.expanduser().absolute()
        bundle.check_target(out, name, overwrite=options.force)
    else:
        out = file_for(options.out or places.exports(), title)
        with_words = options.sidecar if options.sidecar is not None else options.picture is not None
        with_words = with_words and options.format == "kohya"
        there = [p for p in targets(out, picture=options.picture is not None, words=with_words) if p.exists()]
        if there and not options.force:
            raise RunError(f"{there[0]} exists already. Choose another name, or add --force to replace it.")
    precision = options.precision or folder.settings().export_precision
    tell("Starting", 0, 0)
    from trainer import publish

    request = publish.Request(
        step, out, Words(options.name, options.description, options.tags), precision, options.format, _given(options.picture), with_words,
        is_bundle, options.with_data, not options.no_proof, options.force,
    )  # fmt: skip
    return _told(publish.publish(folder, name, request, tell), request)


def _check_words(options: argparse.Namespace, *, is_bundle: bool) -> None:
    if is_bundle and options.format != "kohya":
        raise RunError("Civitai and the programs of its users read kohya's names; leave --format peft out of a bundle.")
    if options.with_data and not is_bundle:
        raise RunError("--with-data belongs to --bundle: one file cannot hold the pictures.")
    if options.picture is not None and not options.picture.is_file():
        raise RunError(f"There is no picture {options.picture}. Choose another, or leave --picture out.")


def _told(made: Published, request: Any) -> dict[str, Any]:
    """What programs are told; `sentence` is for people."""
    out: Path = request.out
    size = (out if request.is_bundle and bundle.is_zip(out) else made.path).stat().st_size
    found = made.proof
    sentences = [
        f"Step {request.step} is in {out} ({size / 1e6:.1f} MB, {request.precision}; read back and compared)."
        if not request.is_bundle
        else f"Step {request.step} is ready for Civitai in {out} ({made.previews} {'picture' if made.previews == 1 else 'pictures'})."
    ]
    note = ""
    if request.is_bundle and not made.previews:
        note = f"The run drew no pictures at step {request.step}; add some of your own on Civitai."
        sentences.append(note)
    if found is not None:
        sentences.append(found.sentence())
    return {
        "path": str(made.path), "step": request.step, "size_bytes": size, "largest_difference": made.difference,
        "proof": found.sentence() if found else "", "proved": found is not None and not found.skipped,
        "programs": list(found.programs) if found else [], "bundle": str(out) if request.is_bundle else None, "with_data": request.with_data,
        "previews": made.previews, "note": note, "sentence": "\n".join(sentences),
    }  # fmt: skip


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


def bundle_in(folder: Path, title: str) -> Path:
    """The bundle's own folder in the one where LoRAs are kept."""
    return folder.expanduser().absolute() / f"{safe_name(title)} for Civitai"


def targets(out: Path, *, picture: bool, words: bool) -> list[Path]:
    """The files that an export writes which is no bundle."""
    beside = [sidecar.picture_beside(out)] if picture else []
    return [out, *beside, *([sidecar.words_beside(out)] if words else [])]


def _given(path: Path | None) -> Path | None:
    return None if path is None else path.expanduser().absolute()


def _title(folder: RunFolder, step: int) -> str:
    """The title that the checkpoint bears; the run's settings know it too, unless it was trained elsewhere."""
    file = folder.checkpoint(step) / "lora.safetensors"
    told = lora_file.read_header(file).metadata if file.is_file() else {}
    return told.get("modelspec.title") or folder.settings().title
