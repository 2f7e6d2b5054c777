"""The results page: the checkpoints of a run side by side, and the export of the one that is chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLabel, QPushButton, QStackedLayout, QVBoxLayout, QWidget

from app import places, run_results, theme
from app.background import Background
from app.texts import tr
from app.widgets.checkpoint_grid import BASE, CheckpointGrid, Column
from app.widgets.compare_dialog import CompareDialog
from app.widgets.export_panel import ExportPanel
from app.widgets.message_card import MessageCard
from app.widgets.named import named
from app.widgets.picture_dialog import PictureDialog
from app.widgets.previews import Previews
from trainer.errors import AtelierError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PySide6.QtCore import QEvent
    from PySide6.QtGui import QShowEvent

    from app.run_results import Results
    from trainer.run_folder import RunFolder


class ResultsPage(QWidget):
    """Chooses a checkpoint by looking, and exports it. It finds the runs by itself each time it is shown.

    Signals:
        exported(Path): a LoRA file was written.
    """

    exported = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("results_page")
        self._folder: RunFolder | None = None
        self._runs: list[RunFolder] = []
        self._results: Results | None = None
        self._reader = Background("results")
        self._reader.done.connect(self._on_read)
        self.grid = CheckpointGrid()
        self.grid.stepChosen.connect(self._on_step_chosen)
        self.grid.enlargeWanted.connect(self._on_enlarge)
        self.panel = ExportPanel()
        self.panel.exported.connect(self.exported)
        self.runs = named(QComboBox(), "results_runs", spoken=tr("Run"), tip=tr("Another run"))
        self.runs.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.runs.currentIndexChanged.connect(self._on_run_chosen)
        self._message = MessageCard("results")
        self._lay_out()
        self._show_message(tr("Nothing to choose from yet"), _HOW)

    # ---- what the window uses

    def show_run(self, folder: RunFolder | None) -> None:
        """Shows the results of a run; None shows the newest."""
        if folder is not None and folder not in self._runs:
            self._set_runs([folder, *self._runs])
        self._folder = folder
        self._select_in_combo()
        self.refresh()

    def set_runs(self, runs: Sequence[RunFolder]) -> None:
        """Offers these runs at the top."""
        self._set_runs(list(runs))
        if self._folder is None and self._runs:
            self.show_run(self._runs[0])

    def refresh(self) -> None:
        """Reads the runs and the shown one anew, in the background."""
        self._reader.drop_waiting()
        self._reader.run(_Reading(self._folder))
        if self._results is None or (self._folder is not None and self._results.folder != self._folder):
            self._message.set_busy(True)

    @property
    def results(self) -> Results | None:
        """What is shown."""
        return self._results

    # ---- building

    def _lay_out(self) -> None:
        self._title = theme.role(named(QLabel(), "results_title"), "title")
        self._hint = theme.role(
            QLabel(tr("Choose the step that looks best; click it again to enlarge."), wordWrap=True), "muted"
        )
        self.compare_button = named(
            QPushButton(tr("Compare with base")),
            "results_compare",
            tip=tr("The untrained base and the chosen step with a divider"),
        )
        self.compare_button.clicked.connect(self._on_compare)
        head = QHBoxLayout()
        head.setSpacing(theme.space(1.5))
        head.addWidget(self._title)
        head.addStretch(1)
        head.addWidget(self.runs)
        head.addWidget(self.compare_button)
        left = QVBoxLayout()
        left.setSpacing(theme.space(1))
        left.addWidget(self._hint)
        left.addWidget(self.grid, 1)
        body = QHBoxLayout()
        body.setSpacing(theme.space(2))
        body.addLayout(left, 1)
        self.panel.setFixedWidth(theme.space(40))
        body.addWidget(self.panel)
        full = QWidget()
        column = QVBoxLayout(full)
        column.setContentsMargins(theme.space(3), theme.space(2), theme.space(2), theme.space(2))
        column.setSpacing(theme.space(1))
        column.addLayout(head)
        column.addLayout(body, 1)
        self._full = full
        self._layers = QStackedLayout(self)
        self._layers.setContentsMargins(0, 0, 0, 0)
        self._layers.addWidget(self._message)
        self._layers.addWidget(full)
        self._restyle()

    # ---- Qt

    def showEvent(self, event: QShowEvent) -> None:
        """What a run has done meanwhile is read."""
        super().showEvent(event)
        self.refresh()

    def changeEvent(self, event: QEvent) -> None:
        """Renews the icons in the theme's colours."""
        if event.type() == event.Type.PaletteChange and hasattr(self, "compare_button"):
            self._restyle()
        super().changeEvent(event)

    def _restyle(self) -> None:
        self.compare_button.setIcon(theme.icon("compare"))

    # ---- inside

    def _show_message(self, text: str, detail: str) -> None:
        self._message.set_busy(False)
        self._message.set_text(text, detail)
        self._layers.setCurrentWidget(self._message)

    def _set_runs(self, runs: list[RunFolder]) -> None:
        self._runs = runs
        with QSignalBlocker(self.runs):
            self.runs.clear()
            for run in runs:
                self.runs.addItem(run.path.name, run)
                self.runs.setItemData(self.runs.count() - 1, str(run.path), Qt.ItemDataRole.ToolTipRole)
        self.runs.setVisible(len(runs) > 1)
        self._select_in_combo()

    def _select_in_combo(self) -> None:
        with QSignalBlocker(self.runs):
            self.runs.setCurrentIndex(self._runs.index(self._folder) if self._folder in self._runs else -1)

    def _on_run_chosen(self, index: int) -> None:
        if 0 <= index < len(self._runs):
            self.show_run(self._runs[index])

    def _on_read(self, reading: _Reading) -> None:
        if reading.asked not in (None, self._folder):
            return  # another run was chosen meanwhile
        shown = self._folder if self._folder is not None else reading.shown
        self._folder = shown
        self._set_runs(reading.runs if shown is None or shown in reading.runs else [shown, *reading.runs])
        if reading.results is None or not reading.results.checkpoints:
            self._results = None
            self.panel.set_results(None)
            if reading.problem:
                self._show_message(tr("This run cannot be shown"), reading.problem)
            elif shown is not None:
                self._show_message(
                    tr("No checkpoint yet"),
                    tr("“{name}” has saved nothing so far. Look again when it has.", name=shown.path.name),
                )
            else:
                self._show_message(tr("Nothing to choose from yet"), _HOW)
            return
        self._message.set_busy(False)
        self._show_results(reading.results)

    def _show_results(self, results: Results) -> None:
        new = self._results is None or self._results.folder != results.folder
        self._results = results
        self._title.setText(results.settings.title)
        self.grid.set_content(results.prompts, columns(results), results.pictures)
        if new and results.checkpoints:
            self.grid.choose(results.checkpoints[-1].step)
        self.panel.set_results(results)
        self.panel.set_step(self.grid.chosen)
        self._layers.setCurrentWidget(self._full)
        self._refresh_compare()

    def _on_step_chosen(self, step: int) -> None:
        self.panel.set_step(step)
        self._refresh_compare()

    def _refresh_compare(self) -> None:
        self.compare_button.setEnabled(self._comparable() is not None)

    def _comparable(self) -> int | None:
        """A prompt that was drawn with the base and at the chosen step."""
        if self._results is None:
            return None
        have = self._results.pictures
        return next((p for p in self._results.prompts if (p, BASE) in have and (p, self.grid.chosen) in have), None)

    def _previews(self) -> Previews:
        assert self._results is not None
        files: dict[int, dict[int, object]] = {}
        for (prompt, step), path in sorted(self._results.pictures.items()):
            files.setdefault(prompt, {})[step] = path
        return Previews([self._results.prompts[p] for p in sorted(self._results.prompts)], files)  # type: ignore[arg-type]

    def _on_enlarge(self, prompt: int, step: int) -> None:
        dialog = PictureDialog(self._previews(), self.grid.loader, self.window())
        dialog.compareWanted.connect(lambda row, at: self._compare_from(dialog, row, at))
        dialog.show_picture(prompt, step)
        dialog.open()

    def _compare_from(self, dialog: PictureDialog, prompt: int, step: int) -> None:
        dialog.close()
        self._compare((prompt, BASE), (prompt, step if step != BASE else self.grid.chosen))

    def _on_compare(self) -> None:
        prompt = self._comparable()
        if prompt is not None:
            self._compare((prompt, BASE), (prompt, self.grid.chosen))

    def _compare(self, left: tuple[int, int], right: tuple[int, int]) -> None:
        dialog = CompareDialog(self._previews(), self.grid.loader, self.window())
        dialog.choose(left, right)
        dialog.open()


_HOW = "When a run has saved its first checkpoint, you choose the best one here and export it."


def columns(results: Results) -> list[Column]:
    """The base and the checkpoints, each with how its loss stood."""
    out = [Column(BASE, tr("Base model"), tr("untrained"))]
    for checkpoint in results.checkpoints:
        note, best = "", checkpoint.step == results.best_step
        if checkpoint.validation is not None:
            note = tr("lowest {loss}" if best else "loss {loss}", loss=f"{checkpoint.validation:.3f}")
        elif checkpoint.loss is not None:
            note = tr("loss {loss}", loss=f"{checkpoint.loss:.3f}")
        out.append(Column(checkpoint.step, tr("Step {step}", step=f"{checkpoint.step:,}"), note, best))
    return out


class _Reading:
    """Called in the background; carries what it found."""

    def __init__(self, asked: RunFolder | None) -> None:
        self.asked = self.shown = asked
        self.runs: list[RunFolder] = []
        self.results: Results | None = None
        self.problem = ""

    def __call__(self) -> _Reading:
        self.runs = run_results.with_checkpoints(places.runs())
        self.shown = self.asked or (self.runs[0] if self.runs else None)
        if self.shown is not None:
            try:
                self.results = run_results.read(self.shown)
            except AtelierError as error:
                self.problem = str(error)
        return self
