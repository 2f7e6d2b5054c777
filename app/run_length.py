"""How long a run should be, in what matters: how often each picture is seen. QtCore only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.texts import tr
from trainer import presets
from trainer.settings import TrainingSettings

if TYPE_CHECKING:
    from app.project import Project

FACTORS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
RECOMMENDED = FACTORS.index(1.0)
SAVES = 8  # checkpoints and rows of previews in a run
LEAST_STEPS = 10
_NICE = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)


@dataclass(frozen=True)
class Length:
    """A project's length. position: among FACTORS, the nearest one if `custom`; views: of each picture, 0 when unknown."""

    steps: int
    position: int
    custom: bool
    pictures: int
    views: float
    epochs: int = 0

    @property
    def sentence(self) -> str:
        """What a person reads."""
        length = tr("{n} epochs", n=f"{self.epochs:,}") if self.epochs else tr("{n} steps", n=f"{self.steps:,}")
        if not self.pictures:
            return tr("{length}. Add pictures to see how often each of them is seen.", length=length)
        times = (
            tr("once")
            if round(self.views) == 1
            else tr("less than once")
            if self.views < 0.5
            else tr("about {n} times", n=f"{round(self.views):,}")
        )
        if self.pictures == 1:
            return tr("{length}: your picture is seen {times}.", length=length, times=times)
        return tr(
            "{length}: each of your {pictures} pictures is seen {times}.",
            length=length,
            pictures=f"{self.pictures:,}",
            times=times,
        )


def name_of(position: int) -> str:
    """A position in words."""
    names = (tr("A quick look"), tr("Quick"), tr("Short"), tr("Recommended"), tr("Long"), tr("Longer"), tr("Thorough"))
    return names[position]


def of(project: Project, pictures: int) -> Length:
    """The length of a project with so many pictures."""
    steps, epochs = _whole(project, "steps"), _whole(project, "epochs", least=0)
    at = [steps_at(project, position) for position in range(len(FACTORS))]
    nearest = min(range(len(FACTORS)), key=lambda i: abs(math.log(at[i] / steps)))
    views = epochs * _whole(project, "repeats") if epochs else steps * _views_a_step(project) / max(1, pictures)
    return Length(steps, nearest, bool(epochs) or at[nearest] != steps, pictures, views, epochs)


def steps_at(project: Project, position: int) -> int:
    """The steps of a position: the pictures that the preset shows, times the factor, at the project's batch size."""
    steps = _preset_views(project) * FACTORS[position] / _views_a_step(project)
    return max(LEAST_STEPS, _two_digits(steps))


def values_at(project: Project, position: int) -> dict[str, Any]:
    """The settings of a position: steps, and what goes with them. What is switched off (0) stays off."""
    steps = steps_at(project, position)
    values: dict[str, Any] = {"steps": steps, "epochs": 0, "save_every_epochs": 0}
    for name in ("save_every_steps", "preview_every_steps"):
        if project.value(name) != 0:
            values[name] = nice(steps / SAVES)
    usual = _preset_value(project, "warmup_steps")
    if _whole(project, "warmup_steps", least=0) <= usual or _whole(project, "warmup_steps", least=0) >= steps:
        values["warmup_steps"] = min(usual, steps // 10)
    return values


def nice(number: float) -> int:
    """A round whole number near it, at least 1: 198 becomes 200, 162 becomes 150."""
    if number <= 1:
        return 1
    power = 10 ** math.floor(math.log10(number))
    near = [n * power for n in _NICE if n * power == int(n * power)]
    return int(min(near, key=lambda n: abs(n - number)))


def _two_digits(number: float) -> int:
    power = 10 ** max(0, math.floor(math.log10(max(1.0, number))) - 1)
    return int(round(number / power) * power)


def _preset_value(project: Project, name: str) -> int:
    values = presets.load(project.preset).values if project.preset in presets.NAMES else {}
    return int(values.get(name, TrainingSettings.model_fields[name].default))


def _preset_views(project: Project) -> int:
    return _preset_value(project, "steps") * _preset_value(project, "batch_size")


def _views_a_step(project: Project) -> int:
    return _whole(project, "batch_size") * _whole(project, "accumulation")


def _whole(project: Project, name: str, least: int = 1) -> int:
    """The value, or the default when the user typed something that is no number."""
    value = project.value(name)
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return value
    return max(least, int(TrainingSettings.model_fields[name].default))
