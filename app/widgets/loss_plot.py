"""The live plot of the loss and the learning rate, with its switches, its legend and its export."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, Qt
from PySide6.QtWidgets import QHBoxLayout, QLabel, QMenu, QSlider, QStackedLayout, QToolButton, QVBoxLayout, QWidget

from app import theme
from app.texts import tr
from app.widgets.loss_canvas import MOVE_MS, LossCanvas
from app.widgets.loss_export import LossExport
from app.widgets.loss_series import LossSeries
from app.widgets.named import named

if TYPE_CHECKING:
    from app.run_record import RunRecord


class LossPlot(QWidget):
    """The plot with its name, its switches and its legend; the legend makes room for figures while the mouse is in the plot."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("loss_plot")
        self._record: RunRecord | None = None
        self._title = ""
        self.series = LossSeries()
        self.canvas = LossCanvas(self.series)
        self.export = LossExport(self)
        self.export.saved.connect(self._on_saved)
        self._empty = theme.role(QLabel(tr("The first point appears after the first step"), wordWrap=True), "muted")
        self._empty.setObjectName("loss_empty")
        self._empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._legend = theme.role(named(QLabel(wordWrap=True), "loss_legend"), "muted")
        self._legend.setMinimumHeight(2 * self._legend.fontMetrics().lineSpacing())
        self._layers = QStackedLayout()
        self._layers.addWidget(self._empty)
        self._layers.addWidget(self.canvas)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.space(0.5))
        column.addLayout(self._make_head())
        column.addLayout(self._layers, 1)
        column.addWidget(self._legend)
        self.canvas.hovered.connect(self._on_hovered)
        self.canvas.followChanged.connect(self._follow.setChecked)
        self._paint_theme()

    # ---- what others use

    def set_record(self, record: RunRecord | None, title: str = "") -> None:
        """Another run, or none; title: for the names of files."""
        self._record, self._title = record, title or tr("run")
        self.series.clear()
        self.canvas.set_record(record)
        self.refresh()

    @property
    def point_count(self) -> int:
        """How many steps have been drawn."""
        return len(self.series)

    def refresh(self) -> None:
        """Draws soon what is new; may be called as often as events come in."""
        begun = self._record is not None and bool(self._record.steps)
        if self._layers.currentIndex() != int(begun):
            self._layers.setCurrentIndex(int(begun))
            self._export.setEnabled(begun)
        if begun:
            self.canvas.refresh_soon()

    # ---- Qt

    def changeEvent(self, event: QEvent) -> None:
        """Another theme."""
        if event.type() == QEvent.Type.PaletteChange:
            self._paint_theme()
        super().changeEvent(event)

    # ---- inside

    def _make_head(self) -> QHBoxLayout:
        self._smoothing = named(QSlider(Qt.Orientation.Horizontal), "loss_smoothing")
        self._smoothing.setRange(0, 100)
        self._smoothing.setValue(57)
        self._smoothing.setAccessibleName(tr("Smoothing of the line"))
        self._smoothing.setToolTip(tr("How much the line is smoothed"))
        self._smoothing.setFixedWidth(theme.space(8))
        self._smoothing.setMinimumHeight(theme.space(2.75))
        self._smoothing.valueChanged.connect(self._on_smoothing)
        self._log = self._tool(
            "loss_log", tr("Log"), tr("Logarithmic scale: shows small losses better"), checkable=True
        )
        self._log.toggled.connect(self.canvas.set_log)
        self._follow = self._tool("loss_follow", tr("Follow"), tr("Keep the newest step in view"), checkable=True)
        self._follow.setChecked(True)
        self._follow.clicked.connect(self.canvas.follow)
        self._reset = self._tool("loss_reset", "", tr("Show the whole run (double click in the plot)"))
        self._reset.clicked.connect(self.canvas.show_all)
        self._export = self._tool("loss_export", "", tr("Save the plot as a picture (PNG) or a table (CSV)"))
        self._export.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self._export.setEnabled(False)
        menu = QMenu(self._export)
        menu.addAction(tr("Picture (PNG)…"), self._on_save_picture).setObjectName("loss_export_png")
        menu.addAction(tr("Table (CSV)…"), self._on_save_numbers).setObjectName("loss_export_csv")
        self._export.setMenu(menu)
        head = QHBoxLayout()
        head.setSpacing(theme.space(0.5))
        head.addWidget(theme.role(QLabel(tr("Loss")), "heading"), 1)
        for widget in (self._smoothing, self._log, self._follow, self._reset, self._export):
            head.addWidget(widget)
        return head

    def _tool(self, name: str, text: str, help_text: str, *, checkable: bool = False) -> QToolButton:
        button = named(QToolButton(), name, tip=help_text, spoken=text or help_text)
        button.setText(text)
        button.setCheckable(checkable)
        return button

    def _paint_theme(self) -> None:
        self._reset.setIcon(theme.icon("fit"))
        self._export.setIcon(theme.icon("export"))
        self.canvas.paint_theme()
        self._on_hovered(-1)

    def _on_hovered(self, index: int) -> None:
        c = theme.colours()
        if index < 0 or index >= len(self.series):
            parts = [
                (c.loss, "●", tr("each step")), (c.loss, "━", tr("smoothed")), (c.good, "◆", tr("held-out pictures")),
                (c.rate, "━", tr("learning rate")), (c.muted, "■", tr("checkpoint")), (c.text, "▲", tr("preview")),
            ]  # fmt: skip
            self._legend.setText(
                " &nbsp; ".join(f'<span style="color:{k}">{sign}</span>&nbsp;{_unbroken(w)}' for k, sign, w in parts)
            )
            return
        s = self.series
        figures = tr(
            "Step {step:,} · loss {loss:.4f} · smoothed {smoothed:.4f} · learning rate {rate:.2g}",
            step=int(s.steps[index]), loss=s.losses[index], smoothed=s.smoothed[index], rate=s.rates[index],
        )  # fmt: skip
        self._legend.setText(figures)

    def _on_smoothing(self, value: int) -> None:
        self.series.smooth_by(1 - 10 ** (-3 * value / 100))  # 57 is 0.98, 100 is 0.999
        self.canvas.refresh_soon(MOVE_MS)

    def _on_save_picture(self) -> None:
        self.export.save_picture(self.canvas.image(), self._title)

    def _on_save_numbers(self) -> None:
        if self._record is not None:
            self.series.take(self._record)
            self.export.save_numbers(self.series, self._record, self._title)

    def _on_saved(self, sentence: str) -> None:
        self._legend.setText(sentence)


def _unbroken(words: str) -> str:
    """Words that stay on one line."""
    return words.replace(" ", "\u00a0").replace("-", "\u2011")
