"""A folder or zip that can be uploaded to Civitai: the LoRA, pictures that tell how they were drawn, words. Imports no torch.

zorblin for Civitai/
  zorblin.safetensors  zorblin_01.png ...  description.md  settings.toml  zorblin_data.zip
"""

from __future__ import annotations

import hashlib
import re
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainer import __version__, bundle_texts, captions, lora_file, picture_text, pixels
from trainer.bundle_data import write_data, zip_files
from trainer.errors import DataError, RunError
from trainer.run_folder import write_atomically, write_folder_atomically
from trainer.tasks import each

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from trainer.run_folder import RunFolder
    from trainer.settings import PreviewPrompt
    from trainer.tasks import Tell

MOST_PREVIEWS = 8


@dataclass(frozen=True)
class Preview:
    """A picture that the run drew. prompt: what it was drawn from, with its size filled in."""

    path: Path
    prompt: PreviewPrompt


def check_target(target: Path, name: str, *, overwrite: bool) -> None:
    """Refuses a place where something else would be lost. name: of the LoRA file, without its ending.

    Raises:
        RunError: it exists and may not be replaced, or it is a folder with other files in it, which never may.
    """
    if is_zip(target):
        if target.is_dir():
            raise RunError(f"{target} is a folder; choose another name for the bundle.")
    elif target.is_dir():
        other = next((p.name for p in sorted(target.iterdir()) if not _belongs(p, name)), None)
        if other is not None:
            raise RunError(
                f"{target} holds other files ({other}), so it is not replaced. Give the bundle a folder of its own."
            )
        if not any(target.iterdir()):
            return
    elif target.exists():
        raise RunError(f"{target} is a file. Give a folder, or a name that ends in .zip.")
    if target.exists() and not overwrite:
        raise RunError(f"{target} exists already. Choose another name, or add --force to replace it.")


def is_zip(target: Path) -> bool:
    """Whether the bundle becomes one file."""
    return target.suffix.lower() == ".zip"


def _belongs(path: Path, name: str) -> bool:
    """Whether a file is one that an earlier bundle of this LoRA left."""
    known = (f"{name}.safetensors", f"{name}_data.zip", "description.md", "settings.toml")
    return path.is_file() and (path.name in known or bool(re.fullmatch(rf"{re.escape(name)}_\d\d\.png", path.name)))


def write(target: Path, fill: Callable[[Path], object], tell: Tell) -> None:
    """Lets `fill` make the bundle's files in a fresh folder, which then is the target or is packed into it.

    Raises:
        OSError: it cannot be written; what was there before is intact.
        Cancelled: by `tell`.
    """
    if not is_zip(target):
        if target.is_dir() and not any(target.iterdir()):
            target.rmdir()
        write_folder_atomically(target, fill)
        return
    with staging(target) as folder:
        fill(folder)
        files = sorted(p for p in folder.iterdir())
        write_atomically(target, lambda partial: zip_files(partial, [(p.name, p) for p in files], "Packing", tell))


@contextmanager
def staging(target: Path) -> Iterator[Path]:
    """A fresh folder beside the target, on the same disk, which is gone afterwards."""
    folder = target.with_name(f".{target.name}.making")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def fill(folder: Path, lora: Path, run: RunFolder, previews: Sequence[Preview], *, data: bool, tell: Tell) -> None:
    """Adds pictures, words and perhaps the data set to the LoRA file that lies in the folder.

    Raises:
        DataError: a picture cannot be read, or the data set is wanted and cannot be found.
        OSError: something cannot be read or written.
        Cancelled: by `tell`.
    """
    settings, header = run.settings(), lora_file.read_header(lora)
    for number, preview in enumerate(each(previews, "Adding pictures", tell), 1):
        _write_preview(preview, folder / f"{lora.stem}_{number:02d}.png", lora.stem, header.metadata)
    if data:
        write_data(folder / f"{lora.stem}_data.zip", settings, tell)
    tell("Writing the description", 0, 0)
    text = bundle_texts.description(lora, header, settings)
    (folder / "description.md").write_text(text, encoding="utf-8", newline="\n")
    (folder / "settings.toml").write_text(bundle_texts.settings_text(settings), encoding="utf-8", newline="\n")


# Pictures


def previews_at(run: RunFolder, step: int, first: Path | None = None, most: int = MOST_PREVIEWS) -> list[Preview]:
    """Up to `most` of the pictures that the run drew at that step, each another one, spread over prompts, then over seeds.

    Those with the trigger word come before others of the same standing. first: the one that the user chose to stand first.
    """
    settings, found, seen = run.settings(), [], set()
    for path in sorted(run.samples.glob(f"{step:06d}_p*_s*.png")) if run.samples.is_dir() else []:
        name = re.fullmatch(r"\d+_p(\d+)_s(\d+)\.png", path.name)
        if name is None or int(name[1]) >= len(settings.previews):
            continue
        prompt = settings.previews[int(name[1])]
        drawn = _drawn(prompt, int(name[2]), path)
        if drawn is not None and drawn[0] not in seen:
            seen.add(drawn[0])
            found.append((int(name[1]), Preview(path, drawn[1])))
    rounds: dict[str, int] = {}
    ranked = []
    for number, preview in sorted(found, key=lambda pair: pair[0]):
        times = rounds[preview.prompt.prompt] = rounds.get(preview.prompt.prompt, -1) + 1
        shows = captions.with_trigger(preview.prompt.prompt, settings.trigger) == preview.prompt.prompt
        is_first = first is not None and preview.path == first.absolute()
        ranked.append(((not is_first, times, not shows, number), preview))
    return [preview for _, preview in sorted(ranked, key=lambda pair: pair[0])][:most]


def _drawn(prompt: PreviewPrompt, seed: int, path: Path) -> tuple[bytes, PreviewPrompt] | None:
    """What tells the picture's pixels from others', and the prompt with its true size; None when it cannot be read."""
    try:
        picture = pixels.open_rgb(path)
    except DataError:
        return None
    known = {"seed": seed, "width": picture.width, "height": picture.height}
    return hashlib.sha256(picture.tobytes()).digest(), prompt.model_copy(update=known)


def _write_preview(preview: Preview, target: Path, name: str, told: dict[str, str]) -> None:
    """The picture's pixels with parameters from which Civitai and A1111 find the LoRA and its base."""
    prompt = preview.prompt.model_copy(update={"prompt": f"{preview.prompt.prompt} <lora:{name}:1>".strip()})
    base, skip = told.get("ss_sd_model_name", ""), told.get("ss_clip_skip", "None")
    facts = {
        "Model hash": told.get("ss_new_sd_model_hash", "")[:10], "Model": re.sub(r"\.(safetensors|ckpt|pt)$", "", base),
        "Clip skip": "" if skip == "None" else skip, "Lora hashes": f"{name}: {told['sshs_model_hash'][:12]}",
        "Version": f"LoRA Atelier {__version__}",
    }  # fmt: skip
    text = picture_text.parameters_text(prompt, {key: value for key, value in facts.items() if value})
    picture_text.save(pixels.open_rgb(preview.path), target, text)
