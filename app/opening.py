"""How projects begin: from dropped pictures, the demo, a run's settings. QtCore only."""

from __future__ import annotations

import itertools
import shutil
from typing import TYPE_CHECKING, Any

import resources
from app import intake, places, preferences
from app.project import default, plain
from app.texts import tr
from trainer import presets, settings_file
from trainer.errors import ConfigError, os_message
from trainer.run_folder import safe_name
from trainer.settings import DEMO, TrainingSettings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from app.project import Project

DEMO_TITLE = "Zorblin, the demo"
FIRST_PRESET = "character"
IMPORTED = "imported"  # in the project's folder


def from_pictures(project: Project, paths: Sequence[Path]) -> None:
    """A new project for dropped pictures, with the usual values and the base model that was used last.

    Raises:
        ConfigError: the project folder cannot be made.
    """
    title = intake.title_for(paths)
    values = presets.load(FIRST_PRESET).values | intake.data_values(paths)
    values |= {
        "base": preferences.get("last_base", ""),
        "trigger": safe_name(title).lower(),
        "runs_folder": str(places.runs()),
    }
    project.create(title, values, preset=FIRST_PRESET)


def add_pictures(project: Project, paths: Sequence[Path]) -> int:
    """Adds folders or pictures to the open project; returns how many paths are new."""
    known = {project.value("data"), *project.value("more_data")}
    new = [str(p) for p in paths if str(p) not in known]
    if new and not project.value("data") and not project.value("more_data"):
        project.set_many(intake.data_values(paths))
    elif new:
        project.set("more_data", [*project.value("more_data"), *new])
    return len(new)


def imported(project: Project, folder: Path, *, is_new: bool) -> Path:
    """Moves an imported folder into the project's own `imported`, and adds it; into a new project's if `is_new`.

    Raises:
        ConfigError: the project folder cannot be made, or written to.
    """
    if is_new:
        from_pictures(project, [folder])
    parent = project.folder / IMPORTED
    names = (folder.name if number == 1 else f"{folder.name}_{number}" for number in itertools.count(1))
    target = next(path for name in names if not (path := parent / name).exists())
    try:
        parent.mkdir(parents=True, exist_ok=True)
        folder.rename(target)
    except OSError as error:
        raise ConfigError(
            "", os_message(tr("The pictures could not be kept in {folder}", folder=parent), error)
        ) from None
    if is_new:
        project.set("data", str(target))
        project.forget_history()
    else:
        add_pictures(project, [target])
    return target


def demo(project: Project) -> None:
    """The demo project: opened again, or made with pictures of its own, so that it can be played with.

    Raises:
        ConfigError: the project folder cannot be made.
    """
    folder = places.projects() / safe_name(DEMO_TITLE)
    if (folder / "project.toml").is_file():
        project.open(folder)
        return
    source = resources.path("demo", "character.toml")
    values = settings_file.read_dict(source)
    project.create(DEMO_TITLE, _plain(values) | {"base": DEMO, "runs_folder": str(places.runs())}, preset="character")
    pictures = {}
    for name, role in (("character", "data"), ("character_validation", "validation"), ("base", "regularization")):
        if role in values:
            pictures[role] = _copied(resources.path("demo", name), project.folder / name)
    project.set_many({role: str(path) for role, path in pictures.items()})
    project.forget_history()
    project.save()


def from_settings(project: Project, values: dict[str, Any], title: str) -> None:
    """A new project with the settings of a run or of a LoRA file; unknown settings are told by the form.

    Raises:
        ConfigError: the project folder cannot be made.
    """
    project.create(title, _plain(values) | {"runs_folder": str(places.runs())})


def from_run_file(project: Project, path: Path) -> None:
    """A new project with the settings of a run.toml or of a run folder.

    Raises:
        ConfigError: it cannot be read.
    """
    file = path / "run.toml" if path.is_dir() else path
    values = settings_file.read_dict(file)
    title = str(values.get("name") or values.get("trigger") or (path.name if path.is_dir() else file.parent.name))
    from_settings(project, values, title)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    known = {k: plain(v) for k, v in values.items()}
    return {k: v for k, v in known.items() if k not in TrainingSettings.model_fields or v != default(k)}


def _copied(source: Path, target: Path) -> Path:
    try:
        shutil.copytree(source, target, dirs_exist_ok=True, copy_function=shutil.copyfile)
    except OSError as error:
        raise ConfigError(
            "", os_message(tr("The demo's pictures could not be copied to {target}", target=target), error)
        ) from None
    return target
