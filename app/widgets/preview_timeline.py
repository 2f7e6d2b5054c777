"""The previews of a run as they grow: the newest large, all steps in a table, a slider that goes through time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, Qt, QTimer, Signal
from PySide6.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QSlider,
    QStackedLayout,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app import theme
from app.texts import tr
from app.widgets.compare_dialog import CompareDialog
from app.widgets.named import named
from app.widgets.picture_dialog import PictureDialog
from app.widgets.picture_loader import PictureLoader
from app.widgets.preview_stage import PreviewStage
from app.widgets.preview_table import PreviewTable
from app.widgets.previews import Previews, step_name

if TYPE_CHECKING:
    from app.run_record import RunRecord

PLAY_MS = 450
TABLE_SHARE = 0.42  # of the height, at most


class PreviewTimeline(QWidget):
    """Shows what the prompts look like, step after step, always from the same seed.

    Signals:
        stepShown(int): the large pictures are of this step now.
    """

    stepShown = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("preview_timeline")
        self._record: RunRecord | None = None
        self._previews = Previews()
        self._steps: list[int] = []
        self.loader = PictureLoader(self)
        self.stage = PreviewStage(self.loader)
        self.table = PreviewTable(self.loader)
        self.table.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Maximum)
        self._player = QTimer(self, interval=PLAY_MS)
        self._player.timeout.connect(self._on_play_tick)
        self._make_controls()
        full = QWidget()
        column = QVBoxLayout(full)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.space(0.75))
        column.addLayout(self._make_head())
        column.addWidget(self.stage, 1)
        column.addLayout(self._make_scrubber())
        column.addWidget(self.table)
        self._empty = theme.role(named(QLabel(wordWrap=True), "previews_empty"), "muted")
        self._empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._layers = QStackedLayout(self)
        self._layers.setContentsMargins(0, 0, 0, 0)
        self._layers.addWidget(self._empty)
        self._layers.addWidget(full)
        self.stage.enlarged.connect(self.enlarge)
        self.table.enlarged.connect(self.enlarge)
        self.table.stepChosen.connect(self.show_step)
        self._renew_icons()
        self.set_record(None)

    # ---- what others use

    def set_record(self, record: RunRecord | None, prompts: list[str] | None = None) -> None:
        """Another run, with the prompts of its settings; None empties it."""
        self._record = record
        self._steps = []
        self._previews = Previews(list(prompts or []))
        self._stop_playing()
        self.refresh()

    def refresh(self) -> None:
        """Shows what has been drawn since; a picture that was drawn anew is read again."""
        files = {row: dict(by_step) for row, by_step in self._record.previews.items()} if self._record else {}
        at_newest = not self._steps or self.slider.value() >= len(self._steps) - 1
        shown = self.step
        self._previews = Previews(self._previews.prompts, files)
        self._steps = self._previews.steps()
        self.table.refresh(self._previews)
        self._fit_table()
        self._layers.setCurrentIndex(1 if self._steps else 0)
        self._empty.setText(self._empty_words())
        if not self._steps:
            self.stage.show_step(self._previews, 0)
            return
        self.slider.blockSignals(True)
        self.slider.setRange(0, len(self._steps) - 1)
        keep = at_newest or shown not in self._steps
        self.slider.setValue(len(self._steps) - 1 if keep else self._steps.index(shown))
        self.slider.blockSignals(False)
        self.slider.setEnabled(len(self._steps) > 1)
        self._play.setEnabled(len(self._steps) > 1)
        self._compare.setEnabled(len(self._previews.pairs()) > 1)
        self._show_step()

    @property
    def steps(self) -> list[int]:
        """The steps at which something was drawn."""
        return list(self._steps)

    @property
    def step(self) -> int:
        """The step that the large pictures show."""
        at = self.slider.value()
        return self._steps[at] if at < len(self._steps) else 0

    def show_step(self, step: int) -> None:
        """Shows a step's pictures large."""
        if step in self._steps:
            self.slider.setValue(self._steps.index(step))

    def enlarge(self, row: int, step: int) -> PictureDialog:
        """Opens a picture in a dialog."""
        dialog = PictureDialog(self._previews, self.loader, self.window())
        dialog.compareWanted.connect(lambda row, step: self._compare_with_before(dialog, row, step))
        dialog.show_picture(row, step)
        dialog.open()
        return dialog

    def compare(self, left: tuple[int, int], right: tuple[int, int]) -> CompareDialog:
        """Opens two pictures (each prompt number and step) with a divider."""
        dialog = CompareDialog(self._previews, self.loader, self.window())
        dialog.choose(left, right)
        dialog.open()
        return dialog

    # ---- Qt

    def changeEvent(self, event: QEvent) -> None:
        """Another theme."""
        if event.type() == QEvent.Type.PaletteChange:
            self._renew_icons()
        super().changeEvent(event)

    def resizeEvent(self, event: QEvent) -> None:
        """The table takes its share."""
        self._fit_table()

    # ---- inside

    def _make_controls(self) -> None:
        self._title = theme.role(named(QLabel(), "previews_title"), "heading")
        self._compare = named(QPushButton(tr("Compare")), "previews_compare")
        self._compare.setToolTip(
            tr("Two pictures with a divider. Mark two in the table (Ctrl and click), or compare before with now.")
        )
        self._compare.clicked.connect(self._on_compare)
        self._play = named(QToolButton(), "previews_play")
        self._play.setAccessibleName(tr("Play: show one step after the other"))
        self._play.setToolTip(self._play.accessibleName())
        self._play.setCheckable(True)
        self._play.toggled.connect(self._on_play_toggled)
        self.slider = named(QSlider(Qt.Orientation.Horizontal), "previews_slider")
        self.slider.setAccessibleName(tr("Step of the large previews"))
        self.slider.setToolTip(tr("Drag to see the same seed change from step to step"))
        self.slider.setPageStep(1)
        self.slider.setMinimumHeight(theme.space(2.75))
        self.slider.valueChanged.connect(self._on_slid)
        self._first, self._last = theme.role(QLabel(tr("before")), "muted"), theme.role(QLabel(), "muted")

    def _make_head(self) -> QHBoxLayout:
        head = QHBoxLayout()
        head.addWidget(self._title, 1)
        head.addWidget(self._compare)
        return head

    def _make_scrubber(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(theme.space(1))
        for widget in (self._play, self._first, self.slider, self._last):
            row.addWidget(widget, 1 if widget is self.slider else 0)
        return row

    def _renew_icons(self) -> None:
        self._play.setIcon(theme.icon("pause" if self._play.isChecked() else "play"))
        self._compare.setIcon(theme.icon("compare"))

    def _fit_table(self) -> None:
        wanted = self.table.sizeHint().height()
        row = self.table.verticalHeader().defaultSectionSize()
        least = self.table.horizontalHeader().height() + row + theme.space(2)
        self.table.setFixedHeight(max(least, min(wanted, round(self.height() * TABLE_SHARE))))

    def _empty_words(self) -> str:
        if self._record is None or self._previews.prompts:
            return tr("The first previews appear here before the first step")
        return tr("This run draws no previews. Add preview prompts in the recipe to watch it learn.")

    def _stop_playing(self) -> None:
        self._play.setChecked(False)

    def _compare_with_before(self, dialog: PictureDialog, row: int, step: int) -> None:
        dialog.close()
        first = min(self._previews.files[row])
        newest = max(self._previews.files[row])
        self.compare((row, first), (row, step if step != first else newest))

    def _on_slid(self) -> None:
        if self._steps:
            self._show_step()
            self.table.show_step(self.step)

    def _show_step(self) -> None:
        step = self.step
        self.stage.show_step(self._previews, step)
        newest = self.slider.value() == len(self._steps) - 1
        words = tr("Before training") if step == 0 else step_name(step).capitalize()
        self._title.setText(tr("{words} (newest)", words=words) if newest and step else words)
        self._first.setText(step_name(self._steps[0]))
        self._last.setText(f"{self._steps[-1]:,}" if len(self._steps) > 1 else "")
        self.stepShown.emit(step)

    def _on_play_toggled(self, playing: bool) -> None:
        self._renew_icons()
        if playing:
            self.slider.setValue(0)
            self._player.start()
        else:
            self._player.stop()

    def _on_play_tick(self) -> None:
        if self.slider.value() >= self.slider.maximum():
            self._stop_playing()
        else:
            self.slider.setValue(self.slider.value() + 1)

    def _on_compare(self) -> None:
        chosen = self.table.chosen()
        if len(chosen) >= 2:
            self.compare(chosen[0], chosen[-1])
            return
        row = chosen[0][0] if chosen else next(iter(sorted(self._previews.files)))
        known = sorted(self._previews.files[row])
        self.compare((row, known[0]), (row, self.step if self.step in known and self.step != known[0] else known[-1]))
