"""The axes, lines and points of the loss plot. The only module that imports pyqtgraph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QEvent, QObject, QPointF, QRectF, Qt, QTimer, Signal
from PySide6.QtGui import QColor, QImage, QKeyEvent, QPainter, QPen, QPolygonF, QShowEvent

from app import theme
from app.texts import tr
from app.widgets import loss_series

if TYPE_CHECKING:
    from PySide6.QtWidgets import QWidget

    from app.run_record import RunRecord
    from app.widgets.loss_series import LossSeries, Numbers

REDRAW_MS = 100  # new figures are drawn at most so often
MOVE_MS = 16  # what the mouse does is drawn sooner
FIRST_SPAN = 20  # so many steps wide is the plot of a run that has just begun
POINTS = 2_500  # more are not told apart
SEEN_PX = 0.5  # a long run is not drawn again for less; at 100,000 steps that is every 100 steps
SMALLEST = 1e-9  # of the loss on a logarithmic axis


class _Points(pg.GraphicsObject):  # type: ignore[misc]
    """Faint points, drawn in one call; pyqtgraph's own scatter item costs ten times as much."""

    def __init__(self) -> None:
        super().__init__()
        self._polygon = QPolygonF()
        self.colour = QColor()

    def set_points(self, steps: Numbers, values: Numbers) -> None:
        self.prepareGeometryChange()
        known = np.isfinite(values)
        self._polygon = pg.functions.arrayToQPolygonF(steps[known], values[known])
        self.update()

    def boundingRect(self) -> QRectF:
        return self._polygon.boundingRect()

    def paint(self, painter: QPainter, *_: Any) -> None:
        pen = QPen(self.colour, 2)
        pen.setCosmetic(True)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        painter.setPen(pen)
        painter.drawPoints(self._polygon)


class _Box(pg.ViewBox):  # type: ignore[misc]
    """Wheel and drag move along the steps only, as the loss axis fits itself; a double click shows all again."""

    def __init__(self, plot: LossCanvas) -> None:
        super().__init__(enableMenu=False)
        self._plot_ref = plot
        self.setMouseEnabled(x=True, y=False)
        self.setLimits(minXRange=4)

    def mouseClickEvent(self, event: Any) -> None:
        if event.double():
            self._plot_ref.show_all()
            event.accept()


class LossCanvas(pg.PlotWidget):  # type: ignore[misc]
    """The axes and what is drawn between them.

    Signals:
        hovered(int): index of the step under the mouse; -1: none.
        followChanged(bool): the newest step is kept in view, or not any more.
    """

    hovered = Signal(int)
    followChanged = Signal(bool)

    def __init__(self, series: LossSeries, parent: QWidget | None = None) -> None:
        self._box = _Box(self)
        super().__init__(parent, viewBox=self._box)
        self.setObjectName("loss_canvas")
        self.setAccessibleName(tr("Plot of the loss over the steps"))
        self.setAccessibleDescription(tr("Arrow keys move, plus and minus zoom, Home shows all"))
        self._series, self._record = series, None  # type: LossSeries, RunRecord | None
        self._follow, self._whole, self._log = True, True, False
        self._asked = True  # by the user: drawn even if no new figure would be seen
        self._drawn = (0.0, 0, 0, 0)
        self._marked: tuple[int, int, int] | None = None  # what the marks stand for
        self._asked_to_fit = True
        self._points = _Points()
        self._line = pg.PlotCurveItem(antialias=True)
        self._held_out = pg.PlotDataItem(antialias=True, symbol="d", symbolSize=9)
        self._marks = (pg.ScatterPlotItem(symbol="s", size=8), pg.ScatterPlotItem(symbol="t1", size=9))
        self._cross = pg.InfiniteLine(angle=90, movable=False)
        self._rate_line = pg.PlotCurveItem()
        self._make_axes()
        self._timer = QTimer(self, singleShot=True)
        self._timer.timeout.connect(self._on_due)
        self._box.sigRangeChangedManually.connect(self._on_moved)
        self.scene().sigMouseMoved.connect(self._on_mouse)
        self.viewport().installEventFilter(self)
        self.paint_theme()

    # ---- what the panel uses

    def set_record(self, record: RunRecord | None) -> None:
        """Another run."""
        self._record, self._whole, self._asked_to_fit = record, True, True
        self.follow(True)

    def refresh_soon(self, delay_ms: int = REDRAW_MS) -> None:
        """Draws soon; many calls make one drawing."""
        self._asked = self._asked or delay_ms < REDRAW_MS
        if not self._timer.isActive() or self._timer.remainingTime() > delay_ms:
            self._timer.start(delay_ms)

    def follow(self, on: bool) -> None:
        """Whether the newest step stays in view."""
        if on != self._follow:
            self._follow = on
            self.followChanged.emit(on)
        self.refresh_soon(0)

    def show_all(self) -> None:
        """The whole run, and on with it as it grows."""
        self._whole, self._asked_to_fit = True, True
        self.follow(True)

    def set_log(self, on: bool) -> None:
        """Whether the loss axis is logarithmic."""
        self._log, self._asked_to_fit = on, True
        self.getAxis("left").setLogMode(x=False, y=on)
        self.refresh_soon(0)

    def image(self) -> QImage:
        """What is seen, at twice the size."""
        out = QImage(self.size() * 2, QImage.Format.Format_RGB32)
        out.setDevicePixelRatio(2)
        out.fill(theme.colour("surface"))
        painter = QPainter(out)
        self.render(painter, QRectF(QPointF(), out.deviceIndependentSize()), self.viewport().rect())
        painter.end()
        return out

    def steps_in_view(self) -> tuple[float, float]:
        """The first and last step of the axis."""
        first, last = self._box.viewRange()[0]
        return first, last

    def redraw(self) -> None:
        """Puts what is in view on the canvas, thinned to the canvas's width."""
        series = self._series
        if not len(series):
            return
        self._place()
        first, last = self.steps_in_view()
        part = series.visible(first, last)
        steps, width = series.steps[part], max(200, self.width())
        at, losses = loss_series.sampled(steps, series.losses[part], POINTS, part.start)
        losses = self._scaled(losses)
        self._points.set_points(at, losses)
        at, smoothed = loss_series.thinned(steps, series.smoothed[part], width // 4)
        smoothed = self._scaled(smoothed)
        self._line.setData(at, smoothed, connect="finite")
        self._rate_line.setData(*loss_series.thinned(steps, series.rates[part], width // 6))
        assert self._record is not None
        measured = np.array(self._record.validations, dtype=float).reshape(-1, 2)
        self._held_out.setData(measured[:, 0], self._scaled(measured[:, 1]))
        near = measured[(measured[:, 0] >= first) & (measured[:, 0] <= last), 1]
        span = loss_series.fitting_range(np.concatenate((losses, self._scaled(near))), smoothed)
        if span is not None:
            self._fit(*span)
        top = float(np.nanmax(series.rates)) if np.isfinite(series.rates).any() else 0.0
        self._rate_box.setYRange(0, (top or 1.0) * 1.08, padding=0)
        self._drawn = self._state()

    def paint_theme(self) -> None:
        """The colours of now."""
        self.setBackground(theme.colour("surface"))
        faint = theme.colour("loss")
        faint.setAlpha(90)
        self._points.colour = faint
        self._line.setPen(pg.mkPen(theme.colour("loss"), width=2))
        self._held_out.setPen(pg.mkPen(theme.colour("good"), width=1.4, style=Qt.PenStyle.DashLine))
        self._held_out.setSymbolBrush(theme.colour("good"))
        self._held_out.setSymbolPen(None)
        self._rate_line.setPen(pg.mkPen(theme.colour("rate"), width=1))
        self._cross.setPen(pg.mkPen(theme.colour("muted"), style=Qt.PenStyle.DotLine))
        for marks, name in zip(self._marks, ("muted", "text"), strict=True):
            marks.setBrush(theme.colour(name))
            marks.setPen(None)
        for name, text in (("left", "muted"), ("bottom", "muted"), ("right", "rate")):
            self.getAxis(name).setTextPen(theme.colour(text))
            self.getAxis(name).setPen(theme.colour("border"))

    # ---- Qt

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Moves and zooms."""
        first, last = self.steps_in_view()
        span, middle = last - first, (first + last) / 2
        match event.key():
            case Qt.Key.Key_Left | Qt.Key.Key_Right:
                way = span * (0.2 if event.key() == Qt.Key.Key_Right else -0.2)
                self._move_to(first + way, last + way)
            case Qt.Key.Key_Plus | Qt.Key.Key_Equal:
                self._move_to(middle - span / 3, middle + span / 3)
            case Qt.Key.Key_Minus:
                self._move_to(middle - span * 0.75, middle + span * 0.75)
            case Qt.Key.Key_Home:
                self.show_all()
            case _:
                super().keyPressEvent(event)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """The mouse leaves."""
        if event.type() == QEvent.Type.Leave:
            self._cross.hide()
            self.hovered.emit(-1)
        return bool(super().eventFilter(watched, event))

    def showEvent(self, event: QShowEvent) -> None:
        """What came while it was hidden is drawn now."""
        super().showEvent(event)
        self.refresh_soon(0)

    # ---- inside

    def _make_axes(self) -> None:
        plot = self.getPlotItem()
        plot.hideButtons()
        self._rate_box = pg.ViewBox(enableMenu=False, enableMouse=False)
        plot.showAxis("right")
        plot.scene().addItem(self._rate_box)
        self._rate_box.setZValue(-200)  # behind the other box (-100), which is the one that hears the mouse
        plot.getAxis("right").linkToView(self._rate_box)
        self._rate_box.setXLink(self._box)
        self._box.sigResized.connect(self._on_resized)
        for name in ("left", "bottom", "right"):
            plot.getAxis(name).enableAutoSIPrefix(False)
            plot.getAxis(name).setStyle(tickLength=-4, maxTickLevel=1)
        for box in (self._box, self._rate_box):
            box.disableAutoRange()
        self._cross.hide()
        for item in (self._points, self._held_out, self._line, *self._marks, self._cross):
            self._box.addItem(item, ignoreBounds=True)
        self._rate_box.addItem(self._rate_line, ignoreBounds=True)

    def _place(self) -> None:
        """Moves along with a run that grows."""
        newest = max(float(self._series.steps[-1]), FIRST_SPAN)
        if self._whole:
            self._box.setXRange(0, newest, padding=0.01)
        elif self._follow:
            first, last = self.steps_in_view()
            self._box.setXRange(newest - (last - first) * 0.98, newest + (last - first) * 0.02, padding=0)

    def _scaled(self, values: Numbers) -> Numbers:
        return np.log10(np.maximum(values, SMALLEST)) if self._log else values

    def _fit(self, low: float, high: float) -> None:
        """Lets the loss axis go from low to high, unless it fits well enough: a steady axis is calm, and cheap to draw."""
        low -= (high - low) * 0.12  # room for two rows of marks
        shown_low, shown_high = self._box.viewRange()[1]
        fits = shown_low <= low and high <= shown_high and high - low >= 0.8 * (shown_high - shown_low)
        if self._asked_to_fit or not fits:
            self._asked_to_fit = False
            gap = 0.04 * (high - low)
            low, high = low - gap, high + gap
            self._box.setYRange(low, high, padding=0)
            self._marked = None
        if self._marked != self._state()[1:]:
            self._marked = self._state()[1:]
            low, high = self._box.viewRange()[1]
            self._draw_marks(low, high - low)

    def _draw_marks(self, low: float, height: float) -> None:
        """Checkpoints along the bottom, previews above them."""
        assert self._record is not None
        rows = ((self._record.checkpoints, 0.022), (self._record.preview_steps, 0.065))
        for marks, (steps, share) in zip(self._marks, rows, strict=True):
            marks.setData(np.array(steps, dtype=float), np.full(len(steps), low + height * share))

    def _move_to(self, first: float, last: float) -> None:
        self._box.setXRange(first, last, padding=0)
        self._on_moved()

    def _on_moved(self, *_: object) -> None:
        """The user has moved or zoomed: the newest step is followed only while it is in view."""
        self._whole = False
        last = self.steps_in_view()[1]
        follow = len(self._series) > 0 and last >= float(self._series.steps[-1])
        if follow != self._follow:
            self._follow = follow
            self.followChanged.emit(follow)
        self.refresh_soon(MOVE_MS)

    def _on_resized(self) -> None:
        self._rate_box.setGeometry(self._box.sceneBoundingRect())
        self.refresh_soon(MOVE_MS)

    def _on_mouse(self, at: QPointF) -> None:
        index = None
        if self._box.sceneBoundingRect().contains(at):
            index = self._series.nearest(self._box.mapSceneToView(at).x())
        self._cross.setVisible(index is not None)
        if index is not None:
            self._cross.setPos(float(self._series.steps[index]))
        self.hovered.emit(-1 if index is None else index)

    def _state(self) -> tuple[float, int, int, int]:
        """What a drawing depends on besides the view: the newest step, and how many marks there are."""
        assert self._record is not None
        record = self._record
        newest = float(self._series.steps[-1]) if len(self._series) else 0.0
        return newest, len(record.validations), len(record.checkpoints), len(record.preview_steps)

    def _on_due(self) -> None:
        if not self.isVisible() or self._record is None:
            return
        went_on = self._series.take(self._record)
        first, last = self.steps_in_view()
        moved = abs(self._state()[0] - self._drawn[0]) * self.width() / max(1e-9, last - first)
        if self._asked or self._state()[1:] != self._drawn[1:] or (went_on and moved >= SEEN_PX):
            self._asked = False
            self.redraw()
