"""`lora-atelier doctor`: examines a data set, says what is wrong with it, mends it when asked, and takes that back.

The engine is imported only when it runs, as it needs NumPy.
"""

from __future__ import annotations

import shutil
import textwrap
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app import task_command
from trainer import presets, settings_file
from trainer.doctor_findings import KINDS, SEVERITIES, Report
from trainer.errors import ConfigError, DataError, os_message

if TYPE_CHECKING:
    import argparse

    from trainer.doctor_findings import Finding
    from trainer.settings import TrainingSettings
    from trainer.tasks import Tell

SHOWN = 5  # files of a finding
WIDEST = 110
BLOCKS = 2  # exit code when something is in the way of training
_HEADINGS = {"stop": "In the way of training", "warn": "To look at", "note": "Good to know"}


def add(commands: Any) -> None:
    """Adds the sub-command to the parser."""
    mendable = [kind for kind, row in KINDS.items() if row.repair]
    parser = commands.add_parser(
        "doctor",
        help="find and mend what is wrong with a folder of pictures",
        description="Looks at every picture and caption and says what is wrong. Nothing is changed without --repair, and "
        "every repair can be taken back. The exit code is 2 when something is in the way of training.",
    )
    parser.add_argument(
        "folder",
        type=Path,
        metavar="FOLDER",
        help="with the pictures; or a run.toml or project.toml, for all its folders",
    )
    parser.add_argument("--trigger", metavar="WORD", help="the trigger word")
    parser.add_argument(
        "--preset", choices=presets.NAMES, help="what is to be learnt, for its usual number of pictures"
    )
    parser.add_argument("--resolution", type=int, metavar="PX", help="training size")
    parser.add_argument("--batch", type=int, metavar="N", help="pictures in a step")
    parser.add_argument("--base", metavar="MODEL", help="the base model, whose tokens are counted")
    parser.add_argument("--regularization", type=Path, metavar="FOLDER", help="regularisation pictures")
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--repair", nargs="+", metavar="KIND", default=[], help=f"mend these kinds of findings: {', '.join(mendable)}"
    )
    how.add_argument("--undo", action="store_true", help="take the last repair back")
    task_command.add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Does it; returns the exit code: 2 when something is in the way of training.

    Raises:
        AtelierError: a sentence.
    """
    from trainer import doctor

    settings, preset = _settings(options)
    wanted = [_checked(word) for word in options.repair]
    reports: list[Report] = []

    def work(tell: Tell) -> dict[str, Any]:
        said = _undo(settings) if options.undo else _mend(wanted, settings, preset, tell)
        report = doctor.examine(None, settings, tell=tell, preset=preset)
        reports.append(report)
        return report.to_json() | {"done": said}

    code = task_command.run(options, work, lambda result: _text(reports[0], result["done"]))
    return BLOCKS if code == 0 and reports[0].blocks else code


def _settings(options: argparse.Namespace) -> tuple[TrainingSettings, str]:
    """The settings and the preset's name: the flags win over the file, the file over the preset."""
    path: Path = options.folder.expanduser()
    values: dict[str, Any] = {"data": str(path.absolute())}
    preset = options.preset or ""
    if path.suffix == ".toml" and path.is_file():
        values, named = _read(path)
        preset = preset or named
    if preset:
        values = presets.load(preset).values | values
    flags = {
        "trigger": options.trigger,
        "resolution": options.resolution,
        "batch_size": options.batch,
        "base": options.base,
    }
    if options.regularization is not None:
        flags["regularization"] = str(options.regularization.expanduser().absolute())
    values |= {name: value for name, value in flags.items() if value is not None}
    return settings_file.from_dict(values, where="the command line"), preset


def _read(path: Path) -> tuple[dict[str, Any], str]:
    """The values in a run's or a project's file, and the name of the project's preset."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("", f"{path} is not a TOML file: {error}.") from None
    except OSError as error:
        raise ConfigError("", os_message(f"{path} cannot be read", error)) from None
    if not isinstance(raw.get("settings"), dict):
        return settings_file.read_dict(path), ""
    named = str(raw.get("preset", ""))
    return dict(raw["settings"]), named if named in presets.NAMES else ""


def _checked(word: str) -> str:
    kind = word.partition(":")[0]
    if kind not in KINDS or not KINDS[kind].repair:
        mendable = ", ".join(k for k, row in KINDS.items() if row.repair)
        raise ConfigError("", f'"{word}" cannot be mended; --repair takes {mendable}.')
    return word


def _mend(wanted: list[str], settings: TrainingSettings, preset: str, tell: Tell) -> list[str]:
    """Mends one kind after the other, looking again in between, as one repair may make another needless."""
    from trainer import dataset, doctor, doctor_repairs

    said = []
    for word in wanted:
        data = dataset.scan_training(settings)
        report = doctor.examine(data, settings, tell=tell, preset=preset)
        found = [f for f in report.findings if word in (f.kind, f.id) and f.repair]
        if not found:
            said.append(f"{KINDS[word.partition(':')[0]].title}: nothing to mend.")
        for finding in found:
            done = doctor_repairs.carry_out(doctor_repairs.plan(finding, data, settings), settings, by_moving=True)
            said += [done.sentence, *done.problems]
    return said


def _undo(settings: TrainingSettings) -> list[str]:
    from trainer import doctor_repairs, doctor_undo

    root = doctor_repairs.root_of(settings)
    steps = doctor_undo.steps(root)
    if not steps:
        raise DataError(f"There is no repair to take back in {root}.")
    outcome = doctor_undo.undo(root)
    return [f"Taken back: {steps[0].label}.", *outcome.problems]


def _text(report: Report, done: list[str]) -> str:
    """The report for people."""
    width = min(WIDEST, shutil.get_terminal_size().columns)
    lines = [*done, ""] if done else []
    lines.append(report.headline)
    for severity in SEVERITIES:
        found = [f for f in report.findings if f.severity == severity]
        if found:
            lines += ["", _HEADINGS[severity].upper()]
        for finding in found:
            lines += ["", *_paragraph(finding, width)]
    return "\n".join(lines)


def _paragraph(finding: Finding, width: int) -> list[str]:
    count = f" ({len(finding.pictures):,})" if finding.pictures else ""
    tag = f": {finding.tag}" if finding.tag else ""
    out = [f"{finding.title}{tag}{count}"]
    out += textwrap.wrap(finding.explanation, width, initial_indent="  ", subsequent_indent="  ")
    for group in finding.groups[:SHOWN]:
        out.append(f"    {' = '.join(group)}")
    for key in () if finding.groups else finding.pictures[:SHOWN]:
        remark = finding.remarks.get(key, "")
        out.append(f"    {key}" + (f": {remark}" if remark else ""))
    if (more := len(finding.groups or finding.pictures) - SHOWN) > 0:
        out.append(f"    and {more:,} more")
    if finding.repair:
        word = f'"{finding.id}"' if finding.tag else finding.kind
        out.append(f"  Mend: --repair {word}")
    return out
