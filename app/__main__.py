"""The one entry: the worker, a sub-command, or the window. The worker is dispatched before anything else is imported."""

from __future__ import annotations

import os
import sys


def main() -> int:
    """Runs what the command line asks for; returns the exit code."""
    words = sys.argv[1:]
    if words[:1] == ["worker"] and len(words) == 2 and not words[1].startswith("-"):
        from pathlib import Path

        from trainer.worker import main as work

        return work(Path(words[1]))
    if words[:1] == [
        "doctor"
    ]:  # before NumPy comes: its own threads would get in the way of those that measure pictures
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from app.cli import main as command

    return command(words)


if __name__ == "__main__":
    sys.exit(main())
