"""The download of a base model from the Hugging Face Hub: every byte checked, and resumed where it stopped. Imports no torch.

huggingface_hub itself throws away what an interrupted download has brought; a model has gigabytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from typing import TYPE_CHECKING, Any

from trainer import hub, hub_listing
from trainer.errors import ModelError
from trainer.run_folder import write_atomically
from trainer.tasks import quiet
from trainer.user_folders import free_bytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trainer.hub_listing import HubFile, Listing
    from trainer.tasks import Tell

RETRIES = 5  # in a row without a single new byte; then the network counts as gone
PAUSE_S = 1.0  # before the first of them; each waits a little longer
BLOCK = 1 << 20
LOCK_PATIENCE_S = 2.0
_LATER = (408, 429, 500, 502, 503, 504)  # answers after which it is worth trying again


def download(name: str, tell: Tell = quiet) -> Path:
    """Downloads what training needs of a model and returns its folder or single file; `tell` hears bytes.

    What is here already is not transferred again, not even half a file.

    Raises:
        ModelError: it cannot be downloaded, or the disk has no room for it.
        Cancelled: by `tell`; what was transferred is kept.
    """
    listing = hub_listing.look_up(name)
    check_space(listing)
    told = _Told(tell, listing)
    with hub.sentences(name):
        for file in listing.files:
            _fetch(listing, file, told)
            told.leave(file)
        for file in listing.files:  # at the end, so that a version is here as a whole or not at all
            _place(listing, file)
        reference = listing.folder / "refs" / "main"
        write_atomically(reference, lambda p: p.write_text(listing.commit, encoding="utf-8"))
    found = hub.cached(name)
    if found is None:
        raise ModelError(f"{name} is not whole after the download. Remove {listing.folder} and try again.")
    return found


def check_space(listing: Listing) -> None:
    """Refuses a download that the disk has no room for.

    Raises:
        ModelError: the disk is too full.
    """
    free = free_bytes(listing.folder)
    if listing.missing_bytes > free:
        raise ModelError(
            f"{listing.name} needs {listing.missing_bytes / 1e9:.1f} GB more, but the disk of {listing.folder} has only "
            f"{free / 1e9:.1f} GB free. Free some space, or set HF_HOME to a folder on another disk and start again."
        )


class _Told:
    """Bytes of one file to bytes of all. what: is done with them now."""

    def __init__(self, tell: Tell, listing: Listing) -> None:
        self.what = "Downloading"
        self._tell, self._name, self._before, self._total = tell, listing.name, 0, listing.total_bytes

    def here(self, done: int) -> None:
        """So many bytes of the file of now are here."""
        self._tell(f"{self.what} {self._name}", self._before + done, self._total)

    def leave(self, file: HubFile) -> None:
        """The file is here; the next one begins."""
        self.here(file.size_bytes)
        self._before += file.size_bytes


class _Partial:
    """A file that grows, with the hash of what it has."""

    def __init__(self, path: Path, file: HubFile, told: _Told) -> None:
        self.path, self._file, self._told, self.done = path, file, told, 0
        self._digest = self._fresh()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._out = path.open("a+b")
        try:
            self._out.seek(0)
            told.what = "Checking"
            while block := self._out.read(BLOCK):
                self._count(block)
        except BaseException:
            self._out.close()
            raise
        finally:
            told.what = "Downloading"

    def __enter__(self) -> _Partial:
        return self

    def __exit__(self, *_error: object) -> None:
        self._out.close()

    def add(self, block: bytes) -> None:
        """Appends what has come."""
        self._out.write(block)
        self._count(block)

    def restart(self) -> None:
        """Forgets all: the server sends the file from its beginning."""
        self._out.seek(0)
        self._out.truncate()
        self.done, self._digest = 0, self._fresh()

    def sync(self) -> None:
        """Has it written to the disk."""
        self._out.flush()
        os.fsync(self._out.fileno())

    @property
    def is_right(self) -> bool:
        """Whether it is the file that was asked for, byte by byte."""
        return self.done == self._file.size_bytes and self._digest.hexdigest() == self._file.oid

    def _count(self, block: bytes) -> None:
        self.done += len(block)
        self._digest.update(block)
        self._told.here(min(self.done, self._file.size_bytes))

    def _fresh(self) -> Any:
        if len(self._file.oid) == 64:
            return hashlib.sha256()
        return hashlib.sha1(b"blob %d\0" % self._file.size_bytes, usedforsecurity=False)  # git's name of a small file


def _fetch(listing: Listing, file: HubFile, told: _Told) -> None:
    """Brings a file into the folder `blobs`, under its hash as huggingface_hub keeps it."""
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    folder = listing.folder
    blob, pointer = folder / "blobs" / file.oid, folder / "snapshots" / listing.commit / file.path
    if blob.is_file() or pointer.is_file():
        return
    lock = folder.parent / ".locks" / folder.name / f"{file.oid}.lock"  # the one of huggingface_hub
    lock.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(WeakFileLock(lock, timeout=LOCK_PATIENCE_S))
        except TimeoutError:
            raise ModelError(
                f"Another program is downloading {listing.name} now. Wait until it is done, then try again."
            ) from None
        if blob.is_file():
            return
        with _Partial(hub_listing.partial_of(folder, file), file, told) as partial:
            _transfer(listing, file, partial, lambda: told.here(partial.done))
            partial.sync()
        if not partial.is_right:
            partial.path.unlink()
            raise ModelError(f"{file.path} of {listing.name} was damaged on its way and is removed. Try again.")
        partial.path.replace(blob)


def _transfer(listing: Listing, file: HubFile, partial: _Partial, still: Callable[[], None]) -> None:
    """Lets the file grow until it has its size, also over a bad network. still: is called while waiting, and may cancel."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    failures = 0
    while partial.done < file.size_bytes:
        before = partial.done
        problem: Exception | None = None
        try:
            _stream(listing, file, partial)
        except OfflineModeIsEnabled:
            raise
        except HfHubHTTPError as error:
            if error.response.status_code not in _LATER:
                raise
            problem = error
        except hub.network_error() as error:
            problem = error
        failures = 0 if partial.done > before else failures + 1
        if failures > RETRIES:
            raise problem or ModelError(f"{hub.page_of(listing.name)} sends nothing. Try again later.")
        for _ in range(failures):
            still()
            time.sleep(PAUSE_S)


def _stream(listing: Listing, file: HubFile, partial: _Partial) -> None:
    """One request, for what is still missing."""
    with hub.opened(listing.name, listing.commit, file.path, partial.done) as answer:
        if partial.done and answer.status_code != 206:
            partial.restart()
        for block in answer.iter_bytes():
            partial.add(block)


def _place(listing: Listing, file: HubFile) -> None:
    """Shows a file under its own name in the folder of its version."""
    blob, pointer = listing.folder / "blobs" / file.oid, listing.folder / "snapshots" / listing.commit / file.path
    if pointer.is_file():
        return
    pointer.parent.mkdir(parents=True, exist_ok=True)
    pointer.unlink(missing_ok=True)  # a link to nowhere
    try:
        pointer.symlink_to(os.path.relpath(blob, pointer.parent))
    except OSError:  # Windows wants a privilege for it
        try:
            pointer.hardlink_to(blob)
        except OSError:  # a file system without links
            write_atomically(pointer, lambda p: shutil.copyfile(blob, p))
