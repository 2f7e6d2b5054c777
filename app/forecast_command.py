"""`lora-atelier forecast`: what a run with these settings would need and take, before anything is started."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from app import arguments
from trainer import forecast, forecast_run, preflight

if TYPE_CHECKING:
    import argparse

    from trainer.forecast_run import Forecast
    from trainer.settings import TrainingSettings

NO_FIT = 2  # exit code when it does not fit


def add(commands: Any) -> None:
    """Adds the sub-command to the parser."""
    parser = commands.add_parser(
        "forecast",
        help="tell what a run would need: memory, time, disk",
        description="Takes what train takes, and tells before anything starts how much memory, time and disk the run would "
        "need, whether it fits, and what would make it fit. The exit code is 2 when it does not.",
    )
    parser.add_argument("--json", action="store_true", help="all figures as JSON, sizes in bytes")
    arguments.add_run(parser, "settings of the run, or a run like it")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Does it; returns the exit code.

    Raises:
        AtelierError: a sentence.
    """
    if options.run_file is not None and options.run_file.is_dir():
        options.run_file /= "run.toml"
    return show(arguments.settings_of(options), as_json=options.json)


def show(settings: TrainingSettings, *, as_json: bool) -> int:
    """Prints the forecast; returns 0, or 2 when the run would not fit into memory.

    Raises:
        AtelierError: the pictures or the base model cannot be used.
    """
    looked = preflight.check(settings)
    assert looked.data is not None, "no problem was found"
    found = forecast_run.foretell(
        settings, looked.data, looked.prior, forecast.history(settings.runs_folder.expanduser())
    )
    print(json.dumps(to_json(found), indent=1) if as_json else text(found))
    return NO_FIT if found.memory.verdict == "no" else 0


def text(found: Forecast) -> str:
    """The forecast for people."""
    from app import forecast_words  # its words can be translated, for which it imports QtCore

    word = forecast_words.verdict(found.memory.verdict)
    lines = [f"{word}. {forecast_words.line(found)}." if word else f"{forecast_words.line(found)}.", ""]
    rows = forecast_words.details(found)
    width = max(len(name) for name, _ in rows)
    lines += [f"{name:<{width}}  {value}" for name, value in rows]
    if sentence := forecast_words.problem(found.memory):
        lines += ["", sentence]
    for mend in found.memory.mends:
        flags = " ".join(
            f"--{name.replace('_', '-')}{'' if value is True else f' {value}'}" for name, value in mend.changes.items()
        )
        lines.append(f"  {forecast_words.mend(mend, found.memory)}: {flags}")
    return "\n".join(lines)


def to_json(found: Forecast) -> dict[str, Any]:
    """The forecast for programs, sizes in bytes."""
    memory = found.memory
    peak = memory.need.peak
    return {
        "verdict": memory.verdict, "memory_bytes": memory.bytes, "free_bytes": memory.spot.memory and memory.spot.memory.free,
        "device": memory.spot.kind, "precision": memory.spot.precision, "packed": memory.need.packs, "phase": peak.title,
        "phases": {stage.title: {"bytes": stage.bytes, "parts": dict(stage.parts)} for stage in memory.need.stages},
        "mends": [{"changes": dict(m.changes), "memory_bytes": m.bytes, "slower": m.slower, "exact": m.exact} for m in memory.mends],
        "steps": found.length.total_steps, "seconds": found.seconds, "trained": found.trained,
        "disk": dataclasses.asdict(found.disk),
    }  # fmt: skip
