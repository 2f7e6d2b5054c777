"""Saves the loss plot as a picture or as a table: asks where, writes off the main thread, says how it went."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QFileDialog, QMessageBox, QWidget

from app.background import Background
from app.texts import tr
from app.widgets import loss_series
from trainer.errors import os_message
from trainer.run_folder import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable

    from PySide6.QtGui import QImage

    from app.run_record import RunRecord
    from app.widgets.loss_series import LossSeries


class LossExport(QObject):
    """Writes files one after the other.

    Signals:
        saved(str): a sentence with the file's place, or with what went wrong.
    """

    saved = Signal(str)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._window = parent
        self._background = Background("loss plot export", must_finish=True)
        self._background.done.connect(self._on_done)

    def save_picture(self, image: QImage, title: str) -> None:
        """Asks for a place and writes a PNG."""

        def write(path: Path) -> None:
            if not image.save(str(path), "PNG"):  # type: ignore[call-overload]
                raise OSError(None, tr("the picture could not be written"))

        path = self._ask(tr("Save the plot as a picture"), title, ".png", tr("Pictures (*.png)"))
        if path is not None:
            self._background.run(functools.partial(_write, path, write))

    def save_numbers(self, series: LossSeries, record: RunRecord, title: str) -> None:
        """Asks for a place and writes a CSV table."""
        path = self._ask(tr("Save the figures as a table"), title, ".csv", tr("Tables (*.csv)"))
        if path is None:
            return
        count = len(series)
        columns = {
            "step": series.steps.tolist(), "loss": series.losses.tolist(), "smoothed_loss": series.smoothed.tolist(),
            "learning_rate": series.rates.tolist(), "seconds": record.seconds[:count].tolist(),
        }  # fmt: skip
        write = functools.partial(loss_series.write_csv, record_columns=columns, validations=list(record.validations))
        self._background.run(functools.partial(_write, path, write))

    def wait(self) -> None:
        """Until all is written; for tests."""
        self._background.wait(10)

    def _ask(self, title: str, name: str, suffix: str, kinds: str) -> Path | None:
        chosen, _ = QFileDialog.getSaveFileName(self._window, title, str(Path.home() / f"{name} loss{suffix}"), kinds)
        if not chosen:
            return None
        path = Path(chosen)
        if path.suffix.lower() == suffix:
            return path
        path = path.with_name(path.name + suffix)
        if path.exists():  # the dialog has asked about the name without the suffix only
            question = tr("{name} exists already. Replace it?", name=path.name)
            if QMessageBox.question(self._window, title, question) != QMessageBox.StandardButton.Yes:
                return None
        return path

    def _on_done(self, sentence: object) -> None:
        self.saved.emit(str(sentence))


def _write(path: Path, write: Callable[[Path], object]) -> str:
    try:
        write_atomically(path, write)
    except OSError as error:
        return os_message(tr("{name} could not be saved", name=path.name), error)
    return tr("Saved as {path}", path=path)
