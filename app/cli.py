"""The command line: lora-atelier [open] | train | forecast | demo | fetch | export | merge | resize | convert | bake | extract | doctor | caption | generate | inspect | worker | --version."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import resources
from app import (
    arguments,
    caption_command,
    doctor_command,
    export_command,
    fetch_command,
    forecast_command,
    generate_command,
    overview,
    tools_command,
)
from app.progress import Progress
from app.worker_process import WorkerProcess, command_words, missing_program
from trainer import __version__, lora_description, preflight, run_folder, settings_file, weights_file
from trainer.errors import AtelierError, ConfigError, ModelError, RunError
from trainer.events import Stop
from trainer.run_folder import RunFolder

if TYPE_CHECKING:
    from trainer.settings import TrainingSettings


def main(words: list[str]) -> int:
    """Runs a sub-command; returns the exit code: 0, 1 after an error told in a sentence, 130 after Ctrl-C."""
    parser = _parser()
    options = parser.parse_args(words)
    try:
        if options.command is None:
            return _window(options)
        return int(options.run(options))
    except AtelierError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has gone, e.g. `| head`
        sys.stderr.close()
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lora-atelier", description="Trains Stable Diffusion LoRAs. Without a command the window opens."
    )
    parser.add_argument("--version", action="version", version=f"LoRA Atelier {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    window = commands.add_parser(
        "open",
        help="open the window with pictures, a project, a run.toml, a model or a LoRA",
        description="Opens the window with what the paths are, as if they were dropped on it.",
    )
    window.add_argument("paths", nargs="*", type=Path, metavar="PATH")
    window.set_defaults(run=_window)
    _add_train(commands)
    forecast_command.add(commands)
    demo = commands.add_parser(
        "demo",
        help="train the demo on the model that ships with the app",
        description="Trains the demo character (or style) in a few minutes.",
    )
    demo.add_argument("what", nargs="?", choices=("character", "style"), default="character")
    demo.add_argument("--runs-folder", default="runs", help="where the run folder is made")
    demo.set_defaults(run=_demo)
    export_command.add(commands)
    fetch_command.add(commands)
    tools_command.add(commands)
    doctor_command.add(commands)
    caption_command.add(commands)
    generate_command.add(commands)
    inspect = commands.add_parser(
        "inspect",
        help="show what a LoRA file holds",
        description="Shows base, rank, alpha, trigger words, settings and hashes.",
    )
    inspect.add_argument("file", type=Path, metavar="FILE.safetensors")
    inspect.set_defaults(run=_inspect)
    worker = commands.add_parser(
        "worker",
        help="train a run folder, speaking JSON lines on stdin and stdout",
        description="For programs: events on stdout, commands on stdin.",
    )
    worker.add_argument("folder", type=Path, metavar="RUN_FOLDER")
    worker.set_defaults(run=_worker)
    return parser


def _add_train(commands: Any) -> None:
    train = commands.add_parser(
        "train",
        help="train a LoRA",
        description="Trains a LoRA from a run file, or from a preset and flags. A run folder is resumed. Flags win over the file, the file over the preset.",
    )
    train.add_argument(
        "--worker",
        default="",
        metavar="COMMAND",
        help="what starts the worker: another machine, or several GPUs; {run} is the run folder, else `worker RUN_FOLDER` follows",
    )
    arguments.add_run(train, "settings of a new run, or the folder of a run to resume")
    train.set_defaults(run=_train)


def _window(options: argparse.Namespace) -> int:
    try:
        from app import window
    except ImportError as error:  # a machine without a screen may lack the system's graphics libraries
        raise RunError(
            f"The window cannot open: {error}. On a machine without a screen use the commands; see lora-atelier --help."
        ) from None
    return window.main([path.absolute() for path in getattr(options, "paths", [])])


def _train(options: argparse.Namespace) -> int:
    path: Path | None = options.run_file
    given = arguments.given(options)
    if path is not None and path.is_dir():
        if given or options.preset:
            raise ConfigError(
                "",
                f"{path} is a run folder; it is resumed with its own settings. To change them, start a new run from {path / 'run.toml'}.",
            )
        return _follow(RunFolder(path.absolute()), command_words(options.worker))
    return _start(arguments.settings_of(options), command_words(options.worker))


def _demo(options: argparse.Namespace) -> int:
    path = resources.path("demo", f"{options.what}.toml")
    values = settings_file.read_dict(path) | {"runs_folder": options.runs_folder}
    return _start(settings_file.from_dict(values, where=path.name))


def _inspect(options: argparse.Namespace) -> int:
    description = lora_description.describe(options.file)
    print(description.title)
    for heading, rows in description.rows.items():
        print(f"\n{heading}")
        for name, value in rows:
            print(f"  {name:<22} {value}")
    if bad := weights_file.not_finite(options.file):
        raise ModelError(
            f"{options.file.name} is damaged: {bad} holds numbers that are not finite. Do not use this file."
        )
    return 0


def _worker(options: argparse.Namespace) -> int:
    from trainer.worker import main as work

    return work(options.folder)


def _start(settings: TrainingSettings, wrapper: tuple[str, ...] = ()) -> int:
    """Checks what can be checked at once, then trains in a fresh run folder."""
    preflight.check(settings)
    if problem := missing_program(wrapper):
        raise RunError(f"The worker cannot be started: {problem}. Check --worker.")
    return _follow(run_folder.create(settings), wrapper, fresh=True)


def _follow(folder: RunFolder, wrapper: tuple[str, ...] = (), *, fresh: bool = False) -> int:
    """Trains in a worker process and shows its progress; Ctrl-C once stops and keeps, twice ends at once."""
    folder.settings()  # a run folder without readable settings is told before anything starts
    print(f"Run folder: {folder.path}", flush=True)
    try:
        worker, progress, stopping = WorkerProcess(folder, wrapper), Progress(folder.path), False
    except OSError as error:
        problem = missing_program(wrapper) or error.strerror or str(error)
        raise RunError(f"The worker cannot be started: {problem}. Check --worker.") from None
    events = worker.events()
    while True:
        try:
            event = next(events, None)
            if event is None:
                break
            progress.show(event)
        except KeyboardInterrupt:
            if stopping:
                worker.kill()
                raise
            stopping = True
            worker.tell(Stop(export=True))
            print("\nStopping after this step; the LoRA is kept. Ctrl-C again ends at once.", file=sys.stderr)
            events = worker.events()
    progress.close()
    worker.close()
    outcome = worker.outcome
    if not wrapper:
        outcome.lower_after_kill()
    if not outcome.was_successful:
        print(f"Error: {outcome.sentence()}", file=sys.stderr)
        if fresh and not progress.started and outcome.failed is not None and not outcome.failed.unforeseen:
            shutil.rmtree(folder.path)  # made by us a moment ago, and holds nothing
        if outcome.failed is None and (tail := outcome.log_tail()):
            print(f"The end of {folder.log_path}:\n{tail}", file=sys.stderr)
        return 1
    print(outcome.sentence())
    if progress.previews:
        sheet = overview.write(folder)
        print(f"Previews: {folder.samples}" + (f" (all on one sheet: {sheet.name})" if sheet else ""))
    if progress.exported is not None:
        print(f"LoRA file: {folder.path / progress.exported.path}")
        if progress.exported.proof:
            print(progress.exported.proof)
    return 0
