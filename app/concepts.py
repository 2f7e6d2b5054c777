"""The folders of a project: its own, further ones, concepts; who is seen how often. Imports neither torch nor Qt."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from trainer.batches import balanced
from trainer.settings import Concept

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from app.picture_scan import Item

Kind = Literal["own", "more", "concept", "prior"]
_PRIOR = -1  # stands for the run's regularisation folder, as the concepts' numbers do for concepts


@dataclass(frozen=True)
class Folder:
    """Where pictures come from.

    kind: the run's own folder, one of its further folders or pictures, a concept, or the run's regularisation folder.
    number: of the concept, 0 for those that are none. pictures: that are trained; views: how many are seen in an epoch.
    is_prior: whether they keep the model from forgetting instead of teaching.
    """

    kind: Kind
    number: int
    path: Path
    title: str
    pictures: int
    views: int
    is_prior: bool

    @property
    def times(self) -> float:
        """How often each of its pictures is seen in an epoch."""
        return self.views / self.pictures if self.pictures else 0.0


def of(values: Any) -> tuple[Concept, ...]:
    """The concepts in a project's values; one that cannot be used yet counts as its folder alone."""
    out = []
    for given in values if isinstance(values, list) else []:
        try:
            out.append(Concept.model_validate(given))
        except ValidationError:
            folder = given.get("folder") if isinstance(given, dict) else None
            out.append(Concept(folder=Path(folder) if isinstance(folder, str) else Path()))
    return tuple(out)


def folders(value: Callable[[str], Any], items: Sequence[Item], prior: Sequence[int]) -> list[Folder]:
    """The project's folders in the order of the training, the run's regularisation folder last.

    Args:
        value: gives the value of a setting, e.g. `Project.value`.
        items: its pictures.
        prior: how often each picture of the regularisation folder counts.
    """
    concepts = of(value("concepts"))
    data, more = _path(value("data")), [_path(p) for p in value("more_data") if p]
    roots = [*([data] if data != Path() else []), *more]
    repeats = _whole(value("repeats"))
    found: Counter[Path | int] = Counter()  # pictures, by root or concept
    views: Counter[Path | int] = Counter()
    forgetting: list[Path | int] = []  # the concept's number for each view of a regularisation picture
    for item in items:
        if not item.included:
            continue
        number = item.picture.concept
        place = number or _root_of(item.picture.path, roots)
        found[place] += 1
        if number and concepts[number - 1 : number] and concepts[number - 1].regularization:
            forgetting += [number] * item.picture.repeats
        else:
            views[place] += item.picture.repeats * (1 if number else repeats)
    forgetting += [_PRIOR for times in prior for _ in range(times)]
    views.update(balanced(forgetting, sum(views.values()), _whole(value("seed"))))
    out = [
        Folder("own" if i == 0 and root == data else "more", 0, root, root.name or str(root), found[root], views[root], False)
        for i, root in enumerate(roots)
    ]  # fmt: skip
    out += [
        Folder("concept", n, concept.folder, concept.title, found[n], views[n], concept.regularization)
        for n, concept in enumerate(concepts, 1)
    ]
    if (folder := _path(value("regularization"))) != Path():
        out.append(Folder("prior", 0, folder, folder.name, len(prior), views[_PRIOR], True))
    return out


def _root_of(path: Path, roots: Sequence[Path]) -> Path:
    """The root that a scan found the picture in: the first that holds it."""
    return next((root for root in roots if path == root or root in path.parents), roots[0] if roots else Path())


def _path(given: Any) -> Path:
    return Path(str(given or "")).expanduser()


def _whole(given: Any) -> int:
    return given if isinstance(given, int) and not isinstance(given, bool) and given > 0 else 1
