"""What was dropped on the window: pictures, a base model, a LoRA, a run's settings, a project. Imports neither torch nor Qt.

Looks at names and headers only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from trainer import families, pixels
from trainer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Kind = Literal["pictures", "base", "lora", "settings", "project", "archive"]
VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".wmv", ".gif")
_LOOK_AT = 5000  # entries of a folder that are looked at to find a picture


@dataclass(frozen=True)
class Intake:
    """What the paths are. paths: those of that kind; ignored: names of those that are nothing we know."""

    kind: Kind
    paths: tuple[Path, ...]
    ignored: tuple[str, ...] = ()


def classify(paths: Sequence[Path]) -> Intake:
    """What to do with the paths.

    Raises:
        DataError: nothing in them can be used; the sentence says what could be.
    """
    if len(paths) == 1 and (kind := _single(paths[0])) is not None:
        return Intake(kind, (paths[0],))
    if any(p.suffix.lower() == ".zip" for p in paths):
        raise DataError("Drop one zip file at a time, and nothing beside it.")
    usable = [p for p in paths if (p.is_dir() and _has_pictures(p)) or _is_picture(p)]
    if not usable:
        raise DataError(_nothing(paths))
    return Intake("pictures", tuple(usable), tuple(p.name for p in paths if p not in usable))


def title_for(paths: Sequence[Path]) -> str:
    """A project's name for dropped pictures: the folder's name without a `5_` in front."""
    first = paths[0] if paths[0].is_dir() else paths[0].parent
    name = first.name.partition("_")[2] if first.name.partition("_")[0].isdigit() else first.name
    return name or first.name or "pictures"


def data_values(paths: Sequence[Path]) -> dict[str, object]:
    """The settings for dropped pictures: the first folder, and the rest as more pictures."""
    folders = [p for p in paths if p.is_dir()]
    rest = [str(p) for p in paths if not folders or p != folders[0]]
    return {"data": str(folders[0]) if folders else "", "more_data": rest}


def _single(path: Path) -> Kind | None:
    if path.is_dir():
        if (path / "project.toml").is_file():
            return "project"
        if (path / "run.toml").is_file():
            return "settings"
        return "base" if (path / "model_index.json").is_file() or (path / "unet").is_dir() else None
    if path.suffix == ".toml":
        return "project" if path.name == "project.toml" else "settings"
    if path.suffix.lower() == ".zip":
        return "archive" if path.is_file() else None
    if path.suffix == ".safetensors":
        return "lora" if families.looks_like_lora(path) else "base"
    return "base" if path.suffix in (".ckpt", ".pt") else None


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in pixels.supported_suffixes() and path.is_file()


def _has_pictures(folder: Path) -> bool:
    suffixes = pixels.supported_suffixes()
    for i, path in enumerate(folder.rglob("*")):
        if path.suffix.lower() in suffixes:
            return True
        if i > _LOOK_AT:
            break
    return False


def _nothing(paths: Sequence[Path]) -> str:
    name = paths[0].name if paths else "nothing"
    if paths and paths[0].suffix.lower() in VIDEOS:
        frames = paths[0].with_suffix("")
        return (
            f'{name} is a video, which cannot be read here. Make pictures of it, two a second, with: mkdir "{frames}" && ffmpeg -i '
            f'"{paths[0]}" -vf fps=2 "{frames / "frame_%05d.png"}". Then choose Import video frames in the Projects menu.'
        )
    return (
        f"{name} holds no pictures ({', '.join(pixels.supported_suffixes())}). Drop a folder of pictures, pictures, a base model, "
        "a zip file, a LoRA (.safetensors) or a run.toml."
    )
