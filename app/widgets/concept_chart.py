"""Bars that show how often the pictures of each folder are seen in an epoch, in their concepts' colours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QPoint, QRectF, QSize, Qt
from PySide6.QtGui import QBrush, QHelpEvent, QPainter, QPen
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from app import theme
from app.texts import counted, tr

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PySide6.QtGui import QPaintEvent

    from app.concepts import Folder


def sentence(folder: Folder) -> str:
    """How often a folder's pictures are seen, e.g. "24 pictures, each seen 3 times in an epoch: 72 views"."""
    pictures = counted(folder.pictures, "picture", "pictures")
    if not folder.pictures:
        return tr("No pictures are trained.")
    if folder.times < 1:
        return tr("{pictures}, of which {views} are seen in an epoch", pictures=pictures, views=f"{folder.views:,}")
    times = f"{folder.times:.1f}".rstrip("0").rstrip(".")
    text = (
        "{pictures}, each seen once in an epoch" if times == "1" else "{pictures}, each seen {times} times in an epoch"
    )
    return tr(text, pictures=pictures, times=times)


class ConceptChart(QWidget):
    """A bar for each folder, as long as its share of all views; regularisation pictures are hatched."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("concept_chart")
        self.setAccessibleName(tr("How often each folder's pictures are seen in an epoch"))
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.folders: list[Folder] = []

    def set_folders(self, folders: Sequence[Folder]) -> None:
        """Shows other numbers."""
        self.folders = list(folders)
        self.setAccessibleDescription("; ".join(f"{f.title}: {sentence(f)}" for f in folders))
        self.updateGeometry()
        self.update()

    @property
    def row_height(self) -> int:
        """Of one folder, in px."""
        return self.fontMetrics().height() + theme.space(1.75)

    def sizeHint(self) -> QSize:
        """All rows."""
        return QSize(theme.space(40), max(1, len(self.folders)) * self.row_height)

    def minimumSizeHint(self) -> QSize:
        """As tall as it is."""
        return QSize(theme.space(20), self.sizeHint().height())

    def paintEvent(self, event: QPaintEvent) -> None:
        """Name and number over a bar."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        most = max((f.views for f in self.folders), default=0) or 1
        for row, folder in enumerate(self.folders):
            self._paint_row(painter, row * self.row_height, folder, most)

    def _paint_row(self, painter: QPainter, top: int, folder: Folder, most: int) -> None:
        line = QRectF(0, top, self.width(), self.fontMetrics().height())
        number = counted(folder.views, "view", "views")
        room = self.width() - self.fontMetrics().horizontalAdvance(number) - theme.space(1)
        title = self.fontMetrics().elidedText(folder.title, Qt.TextElideMode.ElideMiddle, max(0, room))
        painter.setPen(theme.colour("text"))
        painter.drawText(line, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, title)
        painter.drawText(line, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, number)
        bar = QRectF(0, line.bottom() + theme.space(0.25), self.width(), theme.space(0.75))
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(theme.colour("raised"))
        painter.drawRoundedRect(bar, 3, 3)
        if not folder.views:
            return
        bar.setWidth(max(6.0, bar.width() * folder.views / most))
        hue = theme.colour("muted") if folder.kind == "prior" else theme.concept_colour(folder.number)
        if folder.is_prior:
            painter.setPen(QPen(hue, 1))
            painter.setBrush(QBrush(hue, Qt.BrushStyle.BDiagPattern))
        else:
            painter.setBrush(hue)
        painter.drawRoundedRect(bar, 3, 3)

    def event(self, event: QEvent) -> bool:
        """A tooltip for each row; new colours."""
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            row = self._row_at(event.pos())
            QToolTip.showText(event.globalPos(), sentence(self.folders[row]) if row >= 0 else "", self)
            return True
        if event.type() == QEvent.Type.PaletteChange:
            self.update()
        return super().event(event)

    def _row_at(self, at: QPoint) -> int:
        row = at.y() // self.row_height
        return row if 0 <= row < len(self.folders) else -1
