"""The data set doctor: examines the pictures and captions of a run, and says what is wrong and how to mend it.

Imports no torch. `examine` gives a report; `doctor_repairs` mends what it names, and `doctor_undo` takes that back.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from trainer import dataset, doctor_checks_captions, doctor_checks_files, doctor_checks_set, doctor_checks_tags
from trainer.doctor_findings import KINDS, SEVERITIES, Report, finding
from trainer.doctor_measures import MeasureCache
from trainer.doctor_subject import Subject, entries_of, other_files, raw_captions
from trainer.errors import DataError
from trainer.settings import info
from trainer.tasks import quiet

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trainer.dataset import DataSet
    from trainer.doctor_findings import Finding
    from trainer.settings import TrainingSettings
    from trainer.tasks import Tell

_ORDER = {kind: place for place, kind in enumerate(KINDS)}


def examine(
    data: DataSet | None,
    settings: TrainingSettings,
    cache: MeasureCache | None = None,
    tell: Tell = quiet,
    preset: str = "",
) -> Report:
    """Looks at every picture and caption; only pictures that are new or were changed since the last time are opened.

    Args:
        data: the training pictures, when they are known already; else they are scanned.
        settings: of the run; what is left out there is not examined.
        cache: of measures; the user's own unless given.
        tell: hears where the work stands.
        preset: the recipe that was chosen, or empty.

    Raises:
        Cancelled: by `tell`.
        DataError: the folder does not exist, or none was given.
    """
    tell("Reading the folder", 0, 0)
    if data is None:
        try:
            data = dataset.scan_training(settings)
        except DataError as error:
            return _without_pictures(settings, error)
    cache = cache or MeasureCache()
    fresh = cache.fresh
    prior, problems = _prior(settings)
    measured = cache.measure([p.path for p in data.pictures], settings.resolution, tell)
    measured_prior = cache.measure([p.path for p in prior], settings.resolution, tell)
    tell("Comparing", 0, 0)
    subject = Subject(
        settings, preset, entries_of(data, settings), {p.key: measured[p.path] for p in data.pictures},
        raw_captions(data), other_files(data, settings), prior,
        {Path(p.path).absolute().as_posix(): measured_prior[p.path] for p in prior},
    )  # fmt: skip
    if all(m.problem for m in subject.measures.values()):
        problems.append(
            finding("nothing_usable", "None of the pictures can be read to its end, so that nothing can be trained.")
        )
    checks = (doctor_checks_files, doctor_checks_captions, doctor_checks_tags, doctor_checks_set)
    found = [f for check in checks for f in check.check(subject)]
    return Report(_sorted([*problems, *found]), len(data.pictures), cache.fresh - fresh)


def _without_pictures(settings: TrainingSettings, error: DataError) -> Report:
    """The report when the scan has found nothing; what lies in the folder instead may say why."""
    roots = [settings.data, *settings.more_data, *(c.folder for c in settings.concepts)]
    if any(root != Path() and not root.expanduser().exists() for root in roots) or all(
        root == Path() for root in roots
    ):
        raise error
    nobody = Subject(settings, "", (), {}, {}, other_files(None, settings))
    found = [
        finding("nothing_usable", str(error)),
        *doctor_checks_files.check(nobody),
        *doctor_checks_captions.check(nobody),
    ]
    return Report(_sorted(found), 0)


def _prior(settings: TrainingSettings) -> tuple[tuple[dataset.Picture, ...], list[Finding]]:
    """The regularisation folder's pictures, or why there are none."""
    if settings.regularization is None:
        return (), []
    try:
        return dataset.scan(settings.regularization, what=info("regularization").label).pictures, []
    except DataError as error:
        return (), [finding("regularization", str(error))]


def _sorted(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda f: (SEVERITIES.index(f.severity), _ORDER[f.kind], f.tag)))
