"""Measures of many pictures at once, remembered from one examination to the next. Imports no torch."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from trainer import pixel_measures
from trainer.pixel_measures import Measures
from trainer.run_folder import write_atomically
from trainer.tasks import each, quiet
from trainer.user_folders import user_cache_folder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from trainer.tasks import Tell

MAX_FILES = 20_000  # that are remembered; those that were not seen for longest are forgotten


class MeasureCache:
    """What is known of picture files, in one file in the user's cache folder. A damaged or missing one is empty.

    Attributes:
        fresh: how many pictures were measured, not remembered, since this was made.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or user_cache_folder() / "doctor" / "measures.json"
        self.fresh = 0
        self._known = self._read()

    def measure(self, paths: Sequence[Path], training_px: int, tell: Tell = quiet) -> dict[Path, Measures]:
        """The measures of the pictures; only those that are new or were changed are opened, on all cores.

        What was measured is kept, also when the work is given up.

        Raises:
            Cancelled: by `tell`.
        """
        stamps = {path: _stamp(path, training_px) for path in paths}
        out: dict[Path, Measures] = {}
        for path, stamp in stamps.items():
            known = self._known.pop(str(path), None)
            if known is not None and known[0] == stamp and (measures := _measures(known[1])) is not None:
                self._known[str(path)] = known  # the last seen are the last to be forgotten
                out[path] = measures
        missing = [path for path in stamps if path not in out]
        if missing:
            try:
                self._measure(missing, stamps, training_px, out, tell)
            finally:
                self._save()
        return {path: out[path] for path in stamps}

    def _measure(
        self,
        paths: Sequence[Path],
        stamps: dict[Path, list[int]],
        training_px: int,
        out: dict[Path, Measures],
        tell: Tell,
    ) -> None:
        with ThreadPoolExecutor(os.cpu_count() or 1, "measure") as pool:  # Pillow and NumPy let other threads run
            try:
                results = pool.map(lambda path: pixel_measures.measure(path, training_px), paths)
                for path, measures in zip(paths, each(results, "Looking at pictures", tell, len(paths)), strict=True):
                    out[path] = measures
                    self._known[str(path)] = (stamps[path], measures.to_json())
                    self.fresh += 1
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _read(self) -> dict[str, tuple[list[int], Any]]:
        try:
            values = json.loads(self.path.read_bytes())
            if values["version"] != pixel_measures.VERSION:
                return {}
            return {str(path): (list(stamp), measures) for path, (stamp, measures) in values["files"].items()}
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return {}

    def _save(self) -> None:
        """Keeps what is known, with what another process has found meanwhile; a full disk only costs time later."""
        known = self._read() | self._known
        newest = dict(list(known.items())[-MAX_FILES:])
        text = json.dumps({"version": pixel_measures.VERSION, "files": newest}, separators=(",", ":"))
        try:
            write_atomically(self.path, lambda p: p.write_text(text, encoding="ascii"))
        except OSError:
            return


def _measures(values: Any) -> Measures | None:
    """Remembered measures; None when they are damaged."""
    try:
        return Measures.from_json(values)
    except (LookupError, TypeError, ValueError):
        return None


def _stamp(path: Path, training_px: int) -> list[int]:
    """What makes a remembered measure void when it changes."""
    try:
        info = path.stat()
    except OSError:
        return [0, 0, training_px]
    return [info.st_size, info.st_mtime_ns, training_px]
