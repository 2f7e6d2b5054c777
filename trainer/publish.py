"""Writes a checkpoint for others: a LoRA file under either kind of names, or a bundle for Civitai; nothing is left half-made."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from trainer import bundle, export, lora_convert, lora_file, proof, proof_peft, sidecar
from trainer.errors import RunError, os_message
from trainer.tasks import Tell, quiet

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.metadata import Words
    from trainer.proof import Proof
    from trainer.run_folder import RunFolder


@dataclass(frozen=True)
class Request:
    """What to write.

    out: the file, or with `is_bundle` the bundle's folder or zip. names: whose layer names; kohya's are read by A1111, Forge,
    ComfyUI, InvokeAI and Civitai. picture: copied beside the file, or first in the bundle. with_words: the file with trigger
    words beside it. with_data: the pictures and captions in the bundle. overwrite: what is there may be replaced.
    """

    step: int
    out: Path
    words: Words
    precision: str
    names: Literal["kohya", "peft"] = "kohya"
    picture: Path | None = None
    with_words: bool = False
    is_bundle: bool = False
    with_data: bool = False
    prove: bool = True
    overwrite: bool = False


@dataclass(frozen=True)
class Published:
    """What was written. difference: the largest that rounding made. proof: None when it was not asked for."""

    path: Path
    difference: float
    proof: Proof | None
    previews: int = 0


def publish(run: RunFolder, name: str, request: Request, tell: Tell = quiet) -> Published:
    """Writes it. name: of the LoRA file in a bundle, without its ending.

    Raises:
        AtelierError: a sentence; what was there before is intact.
        Cancelled: by `tell`; nothing was written.
    """
    if request.out.absolute().is_relative_to((run.path / "checkpoints").absolute()):
        raise RunError(
            f"{request.out} lies among the run's checkpoints, which are kept as they are. Choose another folder."
        )
    try:
        return _bundle(run, name, request, tell) if request.is_bundle else _file(run, request, tell)
    except OSError as error:
        raise RunError(os_message(f"{request.out.name} could not be written", error)) from error


def _file(run: RunFolder, request: Request, tell: Tell) -> Published:
    out = request.out
    shown = request.picture or next((p.path for p in bundle.previews_at(run, request.step, most=1)), None)
    with bundle.staging(out) as folder:
        made = folder / out.name
        difference, found = _lora(run, made, replace(request, words=replace(request.words, picture=shown)), tell)
        if request.picture is not None:
            shutil.copyfile(request.picture, sidecar.picture_beside(made))
        if request.with_words:
            text = sidecar.words(lora_file.read_header(made).metadata)
            sidecar.words_beside(made).write_text(text, encoding="utf-8")
        written = sorted(folder.iterdir(), key=lambda path: path == made)  # the LoRA last: with it, all is there
        there = next((out.with_name(p.name) for p in written if out.with_name(p.name).exists()), None)
        if there is not None and not request.overwrite:
            raise RunError(f"{there} exists already. Choose another name, or allow it to be replaced.")
        for path in written:
            path.replace(out.with_name(path.name))
    return Published(out, difference, found)


def _bundle(run: RunFolder, name: str, request: Request, tell: Tell) -> Published:
    bundle.check_target(request.out, name, overwrite=request.overwrite)
    previews = bundle.previews_at(run, request.step, request.picture)
    shown = request.picture or (previews[0].path if previews else None)
    wanted = replace(request, words=replace(request.words, picture=shown))
    made: list[tuple[float, Proof | None]] = []

    def fill(folder: Path) -> None:
        file = folder / f"{name}.safetensors"
        made.append(_lora(run, file, wanted, tell))
        bundle.fill(folder, file, run, previews, data=request.with_data, tell=tell)

    bundle.write(request.out, fill, tell)
    inside = request.out if bundle.is_zip(request.out) else request.out / f"{name}.safetensors"
    return Published(inside, *made[0], len(previews))


def _lora(run: RunFolder, file: Path, request: Request, tell: Tell) -> tuple[float, Proof | None]:
    """Writes the file in a folder of our own and proves it."""
    tell("Writing the LoRA file", 0, 0)
    if request.names == "kohya":
        difference = export.from_checkpoint(run, request.step, file, request.words, request.precision)
    else:
        with bundle.staging(file) as folder:
            plain = folder / file.name
            export.from_checkpoint(run, request.step, plain, request.words, "fp32")
            difference = lora_convert.convert_file(plain, file, "peft", request.precision).difference
    if not request.prove:
        return difference, None
    prove = proof.prove_export if request.names == "kohya" else proof_peft.prove
    return difference, prove(run, request.step, file, tell)
