"""Two pictures over one another with a divider between them that is dragged or moved by keys."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QFontMetricsF, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen, QPixmap
from PySide6.QtWidgets import QSizePolicy, QWidget

from app import theme
from app.texts import tr

KEY_STEP = 0.02


class CompareView(QWidget):
    """The left picture to the left of the divider, the right one to the right of it, at the same size and place.

    Signals:
        dividerMoved(float): where the divider is now, 0 (left edge of the pictures) to 1.
    """

    dividerMoved = Signal(float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("compare_view")
        self.setAccessibleName(tr("Two pictures with a divider between them"))
        self.setToolTip(tr("Drag the divider, or move it with the left and right arrow keys"))
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setCursor(Qt.CursorShape.SplitHCursor)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self._left, self._right = QPixmap(), QPixmap()
        self._labels = ("", "")
        self._divider = 0.5

    @property
    def divider(self) -> float:
        """Where the divider is, 0 to 1."""
        return self._divider

    def set_divider(self, share: float) -> None:
        """Moves the divider."""
        share = min(1.0, max(0.0, share))
        if share != self._divider:
            self._divider = share
            self.update()
            self.dividerMoved.emit(share)

    def set_pictures(self, left: QPixmap, right: QPixmap, left_label: str, right_label: str) -> None:
        """Shows two pictures; a null pixmap stands for one that is not there (yet)."""
        self._left, self._right, self._labels = left, right, (left_label, right_label)
        self.setAccessibleDescription(
            tr("{left} at the left, {right} at the right", left=left_label, right=right_label)
        )
        self.update()

    def sizeHint(self) -> QSize:
        """A square."""
        return QSize(theme.space(60), theme.space(60))

    def minimumSizeHint(self) -> QSize:
        """Small, but the labels can be read."""
        return QSize(theme.space(24), theme.space(24))

    def picture_rect(self) -> QRectF:
        """Where the pictures are."""
        size = (self._right if self._left.isNull() else self._left).size()
        if size.isEmpty():
            size = QSize(1, 1)
        fitted = size.toSizeF().scaled(self.size().toSizeF(), Qt.AspectRatioMode.KeepAspectRatio)
        out = QRectF(QPointF(), fitted)
        out.moveCenter(QRectF(self.rect()).center())
        return out

    # ---- Qt

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """The divider jumps to the mouse."""
        if event.button() == Qt.MouseButton.LeftButton:
            self._follow(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """The divider follows the mouse."""
        if event.buttons() & Qt.MouseButton.LeftButton:
            self._follow(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Arrow keys move it, Home and End show one picture whole."""
        moves = {
            Qt.Key.Key_Left: self._divider - KEY_STEP, Qt.Key.Key_Right: self._divider + KEY_STEP, Qt.Key.Key_Home: 0.0,
            Qt.Key.Key_End: 1.0, Qt.Key.Key_Space: 0.5,
        }  # fmt: skip
        if event.key() in moves:
            self.set_divider(moves[Qt.Key(event.key())])
        else:
            super().keyPressEvent(event)

    def changeEvent(self, event: QEvent) -> None:
        """Another theme."""
        if event.type() == QEvent.Type.PaletteChange:
            self.update()
        super().changeEvent(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Pictures, divider, labels."""
        painter = QPainter(self)
        painter.setRenderHints(QPainter.RenderHint.Antialiasing | QPainter.RenderHint.SmoothPixmapTransform)
        area = self.picture_rect()
        at = area.left() + area.width() * self._divider
        for pixmap, left, right in ((self._left, area.left(), at), (self._right, at, area.right())):
            painter.save()
            painter.setClipRect(QRectF(left, area.top(), right - left, area.height()))
            painter.fillRect(area, theme.colour("raised"))
            painter.drawPixmap(area, pixmap, QRectF(pixmap.rect()))
            painter.restore()
        self._paint_divider(painter, area, at)
        self._paint_label(painter, area, self._labels[0], left=True)
        self._paint_label(painter, area, self._labels[1], left=False)

    # ---- inside

    def _follow(self, event: QMouseEvent) -> None:
        area = self.picture_rect()
        self.set_divider((event.position().x() - area.left()) / max(1.0, area.width()))

    def _paint_divider(self, painter: QPainter, area: QRectF, at: float) -> None:
        painter.setPen(QPen(QColor(0, 0, 0, 90), 4))
        painter.drawLine(QPointF(at, area.top()), QPointF(at, area.bottom()))
        painter.setPen(QPen(QColor("white"), 2))
        painter.drawLine(QPointF(at, area.top()), QPointF(at, area.bottom()))
        radius = theme.space(1.4)
        middle = QPointF(at, area.center().y())
        painter.setPen(QPen(theme.colour("accent" if self.hasFocus() else "border"), 2))
        painter.setBrush(theme.colour("surface"))
        painter.drawEllipse(middle, radius, radius)
        painter.setPen(QPen(theme.colour("text"), 1.8, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap))
        for side in (-1, 1):
            tip = middle + QPointF(side * radius * 0.55, 0)
            back = QPointF(-side * radius * 0.3, radius * 0.3)
            painter.drawLine(tip, tip + back)
            painter.drawLine(tip, tip + QPointF(back.x(), -back.y()))

    def _paint_label(self, painter: QPainter, area: QRectF, text: str, *, left: bool) -> None:
        if not text:
            return
        metrics, gap = QFontMetricsF(self.font()), theme.space(1)
        text = metrics.elidedText(text, Qt.TextElideMode.ElideRight, area.width() / 2 - 4 * gap)
        box = QRectF(0, 0, metrics.horizontalAdvance(text) + 2 * gap, metrics.height() + gap)
        box.moveTop(area.top() + gap)
        if left:
            box.moveLeft(area.left() + gap)
        else:
            box.moveRight(area.right() - gap)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(0, 0, 0, 150))  # over any picture, in either theme
        painter.drawRoundedRect(box, box.height() / 2, box.height() / 2)
        painter.setPen(QColor("white"))
        painter.drawText(box, Qt.AlignmentFlag.AlignCenter, text)
