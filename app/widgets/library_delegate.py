"""Paints an entry of the library as a card: picture, title, base and date, how it stands and its size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFont, QFontMetrics, QPainter, QPainterPath, QPen, QResizeEvent
from PySide6.QtWidgets import QApplication, QListView, QStyle, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from app import library_details, theme
from app.texts import size
from app.widgets.library_model import ENTRY_ROLE

if TYPE_CHECKING:
    from PySide6.QtCore import QObject

    from app.library import Entry
    from app.widgets.picture_loader import PictureLoader

RADIUS = 10


class CardView(QListView):
    """Rows of cards that fill the width."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setViewMode(QListView.ViewMode.IconMode)
        self.setMovement(QListView.Movement.Static)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setUniformItemSizes(True)
        self.setVerticalScrollMode(QListView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFrameShape(QListView.Shape.NoFrame)
        self.setMouseTracking(True)
        theme.role(self, "cards")

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Another width for the cards; room for the scroll bar is always left, or its coming would move them."""
        delegate = self.itemDelegate()
        if isinstance(delegate, LibraryDelegate):
            delegate.fit(self.width() - self.verticalScrollBar().sizeHint().width() - 2)
            self.scheduleDelayedItemsLayout()
        super().resizeEvent(event)


class LibraryDelegate(QStyledItemDelegate):
    """All cards are of one size."""

    def __init__(self, loader: PictureLoader, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._loader = loader
        self._room = 0

    def fit(self, room_px: int) -> None:
        """Cards grow so that a row fills this width."""
        self._room = room_px

    def card_size(self) -> QSize:
        """Of a card, without the space between cards."""
        line = QFontMetrics(QApplication.font()).height()
        least, gap = theme.space(23), theme.space(1.5)
        width = max(least, self._room // max(1, self._room // (least + gap)) - gap)
        return QSize(width, width * 3 // 4 + 3 * line + theme.space(2.75))

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> QSize:
        """A card and the space around it."""
        return self.card_size() + QSize(theme.space(1.5), theme.space(1.5))

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        """The card."""
        entry: Entry = index.data(ENTRY_ROLE)
        area = QRectF(option.rect.topLeft(), self.card_size().toSizeF())
        state = option.state
        chosen, hovered = bool(state & QStyle.StateFlag.State_Selected), bool(state & QStyle.StateFlag.State_MouseOver)
        painter.save()
        painter.setRenderHints(QPainter.RenderHint.Antialiasing | QPainter.RenderHint.SmoothPixmapTransform)
        painter.setPen(QPen(theme.colour("accent" if chosen else "border"), 2 if chosen else 1))
        painter.setBrush(theme.colour("accent_soft" if chosen else "raised" if hovered else "surface"))
        painter.drawRoundedRect(area.adjusted(1, 1, -1, -1), RADIUS, RADIUS)
        picture = QRectF(area.left() + 2, area.top() + 2, area.width() - 4, area.width() * 3 / 4)
        self._paint_picture(painter, picture, entry)
        self._paint_trigger(painter, picture, entry.trigger)
        gap = theme.space(1.25)
        text = QRectF(area.left() + gap, picture.bottom() + theme.space(0.75), area.width() - 2 * gap, 0)
        self._paint_words(painter, text, entry)
        painter.restore()

    def _paint_picture(self, painter: QPainter, area: QRectF, entry: Entry) -> None:
        """Filled to the edges; what does not fit is cut off at the sides."""
        path = QPainterPath()
        path.addRoundedRect(area.adjusted(0, 0, 0, RADIUS), RADIUS - 1, RADIUS - 1)
        painter.save()
        painter.setClipRect(area)
        painter.setClipPath(path, Qt.ClipOperation.IntersectClip)
        painter.fillRect(area, theme.colour("raised"))
        ratio = painter.device().devicePixelRatio() if painter.device() else 1.0
        pixmap = self._loader.get(entry.picture, round(area.width() * ratio)) if entry.picture else None
        if pixmap is None or pixmap.isNull():
            side = theme.space(4)
            icon = theme.pixmap("training" if entry.kind == "run" else "picture", side, "muted")
            box = QRectF(0, 0, side, side)
            box.moveCenter(area.center())
            painter.drawPixmap(box, icon, QRectF(icon.rect()))
        else:
            cover = pixmap.size().toSizeF().scaled(area.size(), Qt.AspectRatioMode.KeepAspectRatioByExpanding)
            place = QRectF(area.topLeft(), cover)
            place.moveCenter(area.center())
            painter.drawPixmap(place, pixmap, QRectF(pixmap.rect()))
        painter.restore()

    def _paint_trigger(self, painter: QPainter, area: QRectF, trigger: str) -> None:
        """A chip over the picture's lower left corner."""
        if not trigger:
            return
        metrics, gap = QFontMetrics(QApplication.font()), theme.space(0.75)
        text = metrics.elidedText(trigger, Qt.TextElideMode.ElideRight, int(area.width() - 4 * gap))
        chip = QRectF(0, 0, metrics.horizontalAdvance(text) + 2 * gap, metrics.height() + theme.space(0.5))
        chip.moveBottomLeft(QPointF(area.left() + gap, area.bottom() - gap))
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(0, 0, 0, 150))  # over any picture, in either theme
        painter.drawRoundedRect(chip, chip.height() / 2, chip.height() / 2)
        painter.setFont(QApplication.font())
        painter.setPen(QColor("white"))
        painter.drawText(chip, Qt.AlignmentFlag.AlignCenter, text)

    def _paint_words(self, painter: QPainter, area: QRectF, entry: Entry) -> None:
        font = QApplication.font()
        bold = QFont(font)
        bold.setWeight(QFont.Weight.DemiBold)
        metrics = QFontMetrics(font)
        line = QRectF(area.left(), area.top(), area.width(), metrics.height())
        painter.setFont(bold)
        painter.setPen(theme.colour("text"))
        painter.drawText(
            line, QFontMetrics(bold).elidedText(entry.title, Qt.TextElideMode.ElideRight, int(line.width()))
        )
        line.translate(0, metrics.height() + theme.space(0.25))
        painter.setFont(font)
        painter.setPen(theme.colour("muted"))
        about = " · ".join(part for part in (entry.base, size(entry.size_bytes)) if part)
        painter.drawText(line, metrics.elidedText(about, Qt.TextElideMode.ElideRight, int(line.width())))
        line.translate(0, metrics.height() + theme.space(0.25))
        word, colour = library_details.state(entry)
        dot = metrics.height() * 0.5
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(theme.colour(colour))
        painter.drawEllipse(QRectF(line.left(), line.center().y() - dot / 2, dot, dot))
        painter.setPen(theme.colour("text"))
        room = line.adjusted(dot + theme.space(0.75), 0, 0, 0)
        words = " · ".join(part for part in (word, library_details.date(entry)) if part)
        painter.drawText(room, metrics.elidedText(words, Qt.TextElideMode.ElideRight, int(room.width())))
