"""The sizes pictures are trained at: each in its true shape, how many pictures it has, and what is cropped away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QPoint, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QHelpEvent, QPainter, QPen
from PySide6.QtWidgets import QLabel, QPushButton, QSizePolicy, QToolTip, QVBoxLayout, QWidget

from app import theme
from app.texts import counted, tr
from app.widgets.named import named
from app.widgets.scrolling import scrolling
from trainer import buckets

if TYPE_CHECKING:
    from PySide6.QtGui import QFocusEvent, QKeyEvent, QMouseEvent, QPaintEvent

    from app.pictures import Pictures

MUCH_CROPPED = 0.1


@dataclass(frozen=True)
class Bucket:
    """One training size. indexes: its pictures in `Pictures.items`; cropped: their mean cropped share."""

    size: tuple[int, int]
    indexes: tuple[int, ...]
    cropped: float

    @property
    def sentence(self) -> str:
        """For tooltips and screen readers."""
        text = tr(
            "{pictures} trained at {w} × {h} px",
            pictures=counted(len(self.indexes), "picture", "pictures"),
            w=self.size[0],
            h=self.size[1],
        )
        return (
            tr("{pictures}; {percent:.0f} % cropped on average", pictures=text, percent=100 * self.cropped)
            if self.cropped >= 0.005
            else text
        )


class BucketChart(QWidget):
    """A sentence about cropping, and the bars.

    Signals:
        picturesChosen(list[int]): select these pictures.
    """

    picturesChosen = Signal(object)

    def __init__(self, pictures: Pictures, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._pictures = pictures
        self._cropped: list[int] = []
        self._stale = True
        self._sentence = named(QLabel(wordWrap=True), "crop_sentence")
        self._show = theme.role(named(QPushButton(tr("Show them")), "show_cropped"), "link")
        self._show.clicked.connect(self._on_show_cropped)
        self.bars = BucketBars()
        self.bars.chosen.connect(self.picturesChosen)
        scroll = scrolling(self.bars)
        self.bars.scrollWanted.connect(lambda y: scroll.ensureVisible(0, y, 0, theme.space(3)))
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.space(0.5))
        column.addWidget(self._sentence)
        column.addWidget(self._show, 0, Qt.AlignmentFlag.AlignLeft)
        column.addSpacing(theme.space(0.5))
        column.addWidget(scroll, 1)
        for signal in (pictures.scanned, pictures.includedChanged, pictures.fitsChanged):
            signal.connect(self._on_changed)
        self._refresh()

    def _on_changed(self, _indexes: object = None) -> None:
        self._stale = True
        if self.isVisible():
            self._refresh()

    def showEvent(self, event: QEvent) -> None:
        """Computed only when it is looked at."""
        if self._stale:
            self._refresh()

    def _refresh(self) -> None:
        self._stale = False
        groups: dict[tuple[int, int], list[tuple[int, float]]] = {}
        for index, item in enumerate(self._pictures.items):
            if item.included:
                fit = self._pictures.fit(index)
                groups.setdefault(fit.size, []).append((index, buckets.cropped_share(fit)))
        shown = [
            Bucket(size, tuple(i for i, _ in group), sum(share for _, share in group) / len(group))
            for size, group in groups.items()
        ]
        self.bars.set_buckets(sorted(shown, key=lambda b: (-len(b.indexes), b.size)))
        self._cropped = sorted(i for group in groups.values() for i, share in group if share > MUCH_CROPPED)
        total = sum(len(b.indexes) for b in shown)
        self._sentence.setText(_sentence(len(self._cropped), total))
        self._show.setVisible(bool(self._cropped))

    def _on_show_cropped(self) -> None:
        self.picturesChosen.emit(self._cropped)


def _sentence(cropped: int, total: int) -> str:
    if not total:
        return tr("No pictures yet.")
    if not cropped:
        return tr("No picture loses more than a tenth by cropping.")
    text = (
        "{count} of {pictures} loses more than a tenth by cropping."
        if cropped == 1
        else "{count} of {pictures} lose more than a tenth by cropping."
    )
    return tr(text, count=cropped, pictures=counted(total, "picture", "pictures"))


class BucketBars(QWidget):
    """Painted rows, the fullest first; arrow keys go through them, Enter or a click selects their pictures.

    Signals:
        chosen(list[int]): the pictures of a row.
        scrollWanted(int): this y must be seen.
    """

    chosen = Signal(object)
    scrollWanted = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("buckets")
        self.setAccessibleName(tr("Training sizes"))
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.buckets: list[Bucket] = []
        self._current = 0
        self._hovered = -1

    def set_buckets(self, buckets: list[Bucket]) -> None:
        """Shows other sizes."""
        self.buckets = buckets
        self._current = min(self._current, max(0, len(buckets) - 1))
        self.setAccessibleDescription("; ".join(b.sentence for b in buckets))
        self.setMinimumHeight(len(buckets) * self.row_height)
        self.updateGeometry()
        self.update()

    @property
    def row_height(self) -> int:
        """Of one size, in px."""
        return theme.space(7)

    def sizeHint(self) -> QSize:
        """All rows."""
        return QSize(theme.space(24), max(1, len(self.buckets)) * self.row_height)

    def row_at(self, at: QPoint) -> int:
        """The row at a place, or -1."""
        row = at.y() // self.row_height
        return row if 0 <= row < len(self.buckets) else -1

    def paintEvent(self, event: QPaintEvent) -> None:
        """Only the rows that are seen."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        first, last = event.rect().top() // self.row_height, event.rect().bottom() // self.row_height
        most = max((len(b.indexes) for b in self.buckets), default=1)
        longest = max((max(b.size) for b in self.buckets), default=1)
        for row in range(first, min(last + 1, len(self.buckets))):
            area = QRectF(0, row * self.row_height, self.width(), self.row_height)
            if row == self._hovered or (row == self._current and self.hasFocus()):
                painter.setPen(
                    QPen(theme.colour("accent")) if self.hasFocus() and row == self._current else Qt.PenStyle.NoPen
                )
                painter.setBrush(theme.colour("raised"))
                painter.drawRoundedRect(area.adjusted(1, 1, -1, -1), 6, 6)
            self._paint_row(
                painter, area.adjusted(theme.space(0.5), 0, -theme.space(0.5), 0), self.buckets[row], most, longest
            )

    def _paint_row(self, painter: QPainter, area: QRectF, bucket: Bucket, most: int, longest: int) -> None:
        box = theme.space(4.5)
        width, height = (max(4.0, side * box / longest) for side in bucket.size)
        shape = QRectF(area.x() + (box - width) / 2, area.center().y() - height / 2, width, height)
        painter.setPen(QPen(theme.colour("accent"), 1.5))
        painter.setBrush(theme.colour("accent_soft"))
        painter.drawRoundedRect(shape, 3, 3)
        words = area.adjusted(box + theme.space(1.5), theme.space(0.75), 0, -theme.space(0.75))
        line = QRectF(words.x(), words.y(), words.width(), self.fontMetrics().height())
        painter.setPen(theme.colour("text"))
        painter.drawText(
            line, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, f"{bucket.size[0]} × {bucket.size[1]}"
        )
        painter.drawText(line, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, f"{len(bucket.indexes):,}")
        bar = QRectF(
            words.x(),
            line.bottom() + theme.space(0.5),
            max(4.0, words.width() * len(bucket.indexes) / most),
            theme.space(0.6),
        )
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(theme.colour("accent"))
        painter.drawRoundedRect(bar, 2, 2)
        if bucket.cropped >= 0.005:
            below = QRectF(words.x(), bar.bottom() + theme.space(0.15), words.width(), self.fontMetrics().height())
            painter.setPen(theme.colour("warn" if bucket.cropped > MUCH_CROPPED else "muted"))
            text = tr("{percent:.0f} % cropped", percent=100 * bucket.cropped)
            painter.drawText(below, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, text)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Marks the row below the pointer."""
        self._hovered = self.row_at(event.position().toPoint())
        self.setCursor(Qt.CursorShape.PointingHandCursor if self._hovered >= 0 else Qt.CursorShape.ArrowCursor)
        self.update()

    def leaveEvent(self, event: QEvent) -> None:
        """No row is marked any more."""
        self._hovered = -1
        self.update()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Selects the row's pictures."""
        row = self.row_at(event.position().toPoint())
        if row >= 0 and event.button() == Qt.MouseButton.LeftButton:
            self._choose(row)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Up, down, Enter."""
        step = {Qt.Key.Key_Up: -1, Qt.Key.Key_Down: 1}.get(Qt.Key(event.key()))
        if step is not None and self.buckets:
            self._current = min(max(self._current + step, 0), len(self.buckets) - 1)
            self.scrollWanted.emit(self._current * self.row_height + self.row_height // 2)
            self.update()
        elif event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space) and self.buckets:
            self._choose(self._current)
        else:
            super().keyPressEvent(event)

    def _choose(self, row: int) -> None:
        self._current = row
        self.update()
        self.chosen.emit(list(self.buckets[row].indexes))

    def focusInEvent(self, event: QFocusEvent) -> None:
        """Shows which row the keys act on."""
        self.update()
        super().focusInEvent(event)

    def event(self, event: QEvent) -> bool:
        """A tooltip for each row; new colours."""
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            row = self.row_at(event.pos())
            QToolTip.showText(event.globalPos(), self.buckets[row].sentence if row >= 0 else "", self)
            return True
        if event.type() == QEvent.Type.PaletteChange:
            self.update()
        return super().event(event)
