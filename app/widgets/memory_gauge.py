"""How much memory the run takes, as a small bar with figures."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QRectF, QSize, Qt
from PySide6.QtGui import QFontMetricsF, QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from app import theme
from app.texts import tr

NEARLY_FULL = 0.92


class MemoryGauge(QWidget):
    """A bar: filled as far as memory is taken now, with a mark at the peak; of the total where that is known."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("memory_gauge")
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self._now_gb = self._peak_gb = 0.0
        self._total_gb: float | None = None
        self.set_values(0.0, 0.0)

    def set_values(self, now_gb: float, peak_gb: float, total_gb: float | None = None) -> None:
        """What is taken now, the most so far, and what there is (None: unknown)."""
        self._now_gb, self._peak_gb, self._total_gb = now_gb, max(now_gb, peak_gb), total_gb
        name = tr("Memory of the run: {text}", text=self.text())
        self.setAccessibleName(name)
        self.setToolTip(
            tr("{name}. The bar is nearly full: a larger batch or resolution would not fit.", name=name)
            if self._is_nearly_full else name
        )  # fmt: skip
        self.update()

    def text(self) -> str:
        """As "3.2 GB, peak 3.9 GB", or what stands in its place before the first step."""
        if not self._peak_gb:
            return tr("Memory: not known yet")
        if self._total_gb:
            return tr(
                "{now:.1f} of {total:.0f} GB, peak {peak:.1f} GB",
                now=self._now_gb,
                total=self._total_gb,
                peak=self._peak_gb,
            )
        return tr("{now:.1f} GB, peak {peak:.1f} GB", now=self._now_gb, peak=self._peak_gb)

    @property
    def share(self) -> float:
        """How far the bar is filled, 0 to 1: of the total, or of the peak when the total is unknown."""
        whole = self._total_gb or self._peak_gb
        return min(1.0, self._now_gb / whole) if whole else 0.0

    @property
    def _is_nearly_full(self) -> bool:
        return bool(self._total_gb) and self.share > NEARLY_FULL

    def sizeHint(self) -> QSize:
        """Wide enough for the longest text."""
        return QSize(
            round(QFontMetricsF(self.font()).horizontalAdvance("88.8 of 88 GB, peak 88.8 GB")), theme.space(3.6)
        )

    def changeEvent(self, event: QEvent) -> None:
        """Another theme or font."""
        if event.type() in (QEvent.Type.PaletteChange, QEvent.Type.FontChange):
            self.updateGeometry()
            self.update()
        super().changeEvent(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Bar above, figures below."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        height = theme.space(0.8)
        bar = QRectF(0, 2, self.width(), height)
        painter.setBrush(theme.colour("raised"))
        painter.drawRoundedRect(bar, height / 2, height / 2)
        if self.share:
            painter.setBrush(theme.colour("bad" if self._is_nearly_full else "rate"))
            filled = QRectF(bar)
            filled.setWidth(max(height, bar.width() * self.share))
            painter.drawRoundedRect(filled, height / 2, height / 2)
        whole = self._total_gb or self._peak_gb
        if whole:
            at = min(bar.right() - 2, bar.width() * self._peak_gb / whole)
            painter.setBrush(theme.colour("text"))
            painter.drawRect(QRectF(at - 1, bar.top() - 2, 2, height + 4))
        painter.setPen(theme.colour("muted"))
        below = QRectF(0, bar.bottom() + 3, self.width(), self.height() - bar.bottom() - 3)
        painter.drawText(below, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, self.text())
