"""`lora-atelier fetch`: downloads a base model or captioner from Hugging Face, after it was told what comes and the user has agreed."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app import task_command
from trainer import captioner_files, hub, hub_download, hub_listing, user_folders
from trainer.errors import ConfigError, ModelError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

    from trainer.hub_listing import Listing
    from trainer.tasks import Tell

KB = 1000  # programs are told kilobytes, as a window's signals take no larger numbers than 2,147,483,647


def add(commands: Any) -> None:
    """Adds the sub-command to the parser."""
    parser = commands.add_parser(
        "fetch",
        help="download a base model or captioner from Hugging Face",
        description=(
            "Shows what is needed of a model, how large it is and where it will be kept; downloads it when you agree. "
            "An interrupted download goes on where it stopped. HF_HOME, HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE are respected."
        ),
    )
    parser.add_argument("name", metavar="OWNER/NAME", help="or the address of its page")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--yes", action="store_true", help="download without asking")
    how.add_argument("--look", action="store_true", help="only show what would be downloaded")
    task_command.add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Does it; returns the exit code.

    Raises:
        AtelierError: a sentence.
    """
    name = hub.name_in(options.name)
    if options.look:
        return task_command.run(options, lambda _tell: _seen(name), _described)
    if options.json:
        return task_command.run(options, lambda tell: _fetched(name, options.yes, _in_kb(tell)), str)
    if not options.yes and not _agreed(name):
        return 1
    try:
        return task_command.run(options, lambda tell: _fetched(name, True, _in_words(tell)), _said)
    except KeyboardInterrupt:
        print("Stopped. What was downloaded is kept; the same command goes on from there.", file=sys.stderr)
        raise


def _agreed(name: str) -> bool:
    """Shows what would come and asks.

    Raises:
        ConfigError: there is nobody to ask.
    """
    listing = hub_listing.look_up(name)
    print(_described(_table(listing)))
    if listing.missing_bytes == 0:
        return True
    hub_download.check_space(listing)
    if not sys.stdin.isatty():
        raise ConfigError("", "Nothing was downloaded. Add --yes to download it without being asked.")
    try:
        answer = input("Download it? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() in ("y", "yes"):
        return True
    print("Nothing was downloaded.")
    return False


def _seen(name: str) -> Mapping[str, Any]:
    """What would come, and under "path" what is here; only that when the hub cannot be asked about a model that is here."""
    here = hub.cached(name) if hub.is_name(name) else None
    try:
        table = _table(hub_listing.look_up(name))
    except ModelError:
        if here is None:
            raise
        table = {"name": name, "files": []}
    return table | {"path": str(here or "")}


def _fetched(name: str, agreed: bool, tell: Tell) -> Mapping[str, Any]:
    if not agreed:
        raise ConfigError("", "Nothing was downloaded. Add --yes to download, or --look to see what would be.")
    try:
        return {"name": name, "path": str(hub_download.download(name, tell))}
    except ModelError as error:
        here = hub.cached(name) if hub.is_name(name) else None
        if here is None:
            raise
        return {"name": name, "path": str(here), "note": str(error)}


def _table(listing: Listing) -> dict[str, Any]:
    """What a program wants to know of it."""
    return {
        "name": listing.name, "title": listing.title, "resolution": listing.resolution, "licence": listing.licence,
        "gated": listing.gated, "page": hub.page_of(listing.name), "folder": str(listing.folder),
        "total_bytes": listing.total_bytes, "missing_bytes": listing.missing_bytes,
        "free_bytes": user_folders.free_bytes(listing.folder),
        "files": [{"path": file.path, "size_bytes": file.size_bytes} for file in listing.files],
    }  # fmt: skip


def _described(table: Mapping[str, Any]) -> str:
    if not table["files"]:
        return f"{table['name']} is here: {table['path']}"
    missing, total = table["missing_bytes"], table["total_bytes"]
    if missing == 0:
        state = "all of it is here already"
    elif missing < total:
        state = f"{_size(total - missing)} of it are here already, {_size(missing)} are to be downloaded"
    else:
        state = "to be downloaded"
    what = table["title"] or "a single file; its kind shows when it is here"
    if table["resolution"]:
        what += f", {table['resolution']} px"
    rows = {
        "model": f"{table['name']} ({what})", "licence": table["licence"] or "not told", "size": f"{_size(total)}; {state}",
        "kept in": table["folder"], "page": table["page"],
    }  # fmt: skip
    if table["gated"]:
        rows["note"] = "Its owner wants the licence accepted on the page; that you have accepted it goes by your token."
    width = max(len(file["path"]) for file in table["files"])
    files = [f"  {file['path']:<{width}}  {_size(file['size_bytes']):>8}" for file in table["files"]]
    return "\n".join([*(f"{key:<8} {value}" for key, value in rows.items()), "files", *files])


def _said(result: Mapping[str, Any]) -> str:
    note = f"Whether there is a newer version is not known. {result['note']}\n" if "note" in result else ""
    use = f"Train with it, also offline: --base {result['name']}"
    if captioner_files.is_whole(Path(result["path"])):
        use = f"Write captions with it, also offline: lora-atelier caption FOLDER --model {result['name']}"
    return f"{note}{result['name']} is here: {result['path']}\n{use}"


def _in_kb(tell: Tell) -> Callable[[str, int, int], None]:
    return lambda label, done, total: tell(label, done // KB, total // KB)


def _in_words(tell: Tell) -> Callable[[str, int, int], None]:
    """Sizes as people read them, ten times a second; a download is told of at every block that comes."""
    shown_at = 0.0

    def told(label: str, done: int, total: int) -> None:
        nonlocal shown_at
        now = time.monotonic()
        if now - shown_at >= task_command.INTERVAL_S or done == total:
            shown_at = now
            tell(f"{label}: {_size(done)} of {_size(total)}", 0, 0)

    return told


def _size(byte_count: int) -> str:
    """As `app.texts.size`, which needs Qt."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if byte_count >= scale:
            return f"{byte_count / scale:.1f} {unit}"
    return f"{max(1, round(byte_count / 1e3))} kB" if byte_count else "0 kB"
