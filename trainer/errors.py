"""The errors that a user can cause, each one sentence: what is wrong, where, what to do. Imports no torch."""

from __future__ import annotations


class AtelierError(Exception):
    """Something the user can mend; the text is shown as it is, without a traceback."""


class ConfigError(AtelierError):
    """A setting that cannot be used.

    Attributes:
        field: name of the field in `TrainingSettings`, so that a form can put the message under its row; empty for the
            file as a whole.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class DataError(AtelierError):
    """Pictures or captions that cannot be trained on."""


class ModelError(AtelierError):
    """A base model or LoRA file that cannot be used."""


class RunError(AtelierError):
    """A run folder that cannot be used, or a run that cannot go on."""


class DivergedError(RunError):
    """The loss or the weights are no longer finite numbers."""


def os_message(what: str, error: OSError) -> str:
    """An operating-system error as a sentence, e.g. for a full disk or a read-only folder."""
    import errno

    where = f" ({error.filename})" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"{what}: the disk is full{where}. Free some space and resume the run; the last checkpoint is intact."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{what}: no permission to write there{where}. Choose another folder or change its permissions."
    return f"{what}: {error.strerror or error}{where}."
