"""Paints a picture of the grid: rounded thumbnail, name, first words of the caption, badges, selection ring."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QPoint, QPointF, QRect, QRectF, QSize, Qt
from PySide6.QtGui import QBrush, QColor, QFontMetrics, QImage, QPainter, QPen, QPixmap, QStaticText, QTransform
from PySide6.QtWidgets import QApplication, QStyle, QStyledItemDelegate, QStyleOptionViewItem

from app import theme
from app.texts import tr

if TYPE_CHECKING:
    from PySide6.QtCore import QObject

    from app.pictures import Item
    from app.thumbnails import Thumbnails
    from app.widgets.picture_list_model import PictureListModel

_VEIL = 0.7  # how much of a left-out picture is covered
_TEXTS_KEPT = 1000
_CAPTION_LETTERS = 120  # more never fits, and eliding a long text is slow


class ThumbnailDelegate(QStyledItemDelegate):
    """Draws the tiles of `ThumbnailGrid`; all of one size.

    It is called for every visible tile at every scroll step: what does not change is prepared once in `renew`.

    Attributes:
        zoom_px: the longest side of the thumbnails, in logical px.
        cell: the size of the grid's cells; the tile lies in the middle.
    """

    def __init__(self, model: PictureListModel, thumbnails: Thumbnails, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._model = model
        self._thumbnails = thumbnails
        self.zoom_px = 160
        self.renew()
        self.cell = self.tile_size()

    def renew(self) -> None:
        """Colours, icons and distances of now, after the palette or the font changed."""
        self._pad = theme.space(0.75)
        self._radius = theme.space(1)
        self._badge_px = theme.space(2.75)
        self._line = QFontMetrics(QApplication.font()).height()
        self._colours = {name: theme.colour(name) for name in (
            "text", "muted", "accent", "accent_soft", "raised", "surface", "border", "warn",
        )}  # fmt: skip
        self._veil = QColor(self._colours["surface"])
        self._veil.setAlphaF(_VEIL)
        self._laid_out: dict[tuple[str, int, bool], QStaticText] = {}
        icon_px = round(self._badge_px * 0.68)
        self._warning = theme.pixmap("warning", icon_px, "warn")
        self._marks = [theme.pixmap(name, icon_px, "text") for name in ("crop", "mask")]
        self._eye_off = theme.pixmap("eye_off", round(icon_px * 1.3), "text")

    def tile_size(self) -> QSize:
        """Of a tile without the space that the grid spreads between tiles."""
        side = self.zoom_px + 2 * self._pad
        return QSize(side, side + self._pad + 2 * self._line)

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> QSize:
        """The same for all."""
        return self.cell

    def request_px(self, ratio: float) -> int:
        """The side in device pixels that thumbnails are asked for in."""
        return math.ceil(self.zoom_px * ratio)

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        """Paints one tile, in the middle of the grid's cell."""
        row = index.row()
        item = self._model.item(row)
        size = self.tile_size()
        cell: QRect = option.rect
        state: QStyle.StateFlag = option.state
        left, above = (cell.width() - size.width()) // 2, (cell.height() - size.height()) // 2
        tile = QRect(cell.x() + left, cell.y() + above, size.width(), size.height())
        painter.setRenderHints(QPainter.RenderHint.Antialiasing | QPainter.RenderHint.SmoothPixmapTransform)
        self._paint_ground(painter, QRectF(tile).adjusted(1.5, 1.5, -1.5, -1.5), state)
        square = QRect(tile.x() + self._pad, tile.y() + self._pad, self.zoom_px, self.zoom_px)
        shape = _fitted(square, item.picture.width_px, item.picture.height_px)
        self._paint_thumbnail(painter, shape, item)
        self._paint_badges(painter, shape.toRect(), item)
        self._paint_words(
            painter, QRect(square.x(), square.bottom() + 1 + self._pad // 2, square.width(), self._line), item
        )

    def _paint_ground(self, painter: QPainter, tile: QRectF, state: QStyle.StateFlag) -> None:
        """What lies behind: a tint and a ring when selected, a thin ring where the keyboard is."""
        selected = bool(state & QStyle.StateFlag.State_Selected)
        focused = bool(state & QStyle.StateFlag.State_HasFocus)
        hovered = bool(state & QStyle.StateFlag.State_MouseOver)
        if not (selected or focused or hovered):
            return
        colours = self._colours
        ring = QPen(colours["accent"], 2) if selected else QPen(colours["muted"], 1) if focused else Qt.PenStyle.NoPen
        painter.setPen(ring)
        painter.setBrush(
            colours["accent_soft"] if selected else colours["raised"] if hovered else Qt.BrushStyle.NoBrush
        )
        painter.drawRoundedRect(tile, self._radius, self._radius)

    def _paint_thumbnail(self, painter: QPainter, target: QRectF, item: Item) -> None:
        image = self._thumbnails.request(item.picture.path, self.request_px(painter.device().devicePixelRatioF()))
        painter.setPen(Qt.PenStyle.NoPen)
        if image is None:
            painter.setBrush(self._colours["raised"])
        else:
            painter.setBrush(_filling(image, target))
        painter.drawRoundedRect(target, self._radius * 0.75, self._radius * 0.75)
        if not item.included:
            painter.setBrush(self._veil)  # a painter's opacity draws brushes that hold an image in pieces
            painter.drawRoundedRect(target, self._radius * 0.75, self._radius * 0.75)

    def _paint_badges(self, painter: QPainter, shape: QRect, item: Item) -> None:
        if not item.included:
            centre = shape.center() + QPoint(1, 1)
            self._paint_disc(painter, centre, round(self._badge_px * 1.4), self._eye_off)
        if item.problems:
            offset = self._badge_px // 2 + self._pad // 2
            self._paint_disc(
                painter, QPoint(shape.right() - offset, shape.top() + offset), self._badge_px, self._warning
            )

        if item.picture.concept:
            self._paint_concept(painter, shape, item.picture.concept)
        marks = (item.is_cropped, item.picture.mask is not None)
        if any(marks):
            offset = self._badge_px // 2 + self._pad // 2
            centre = QPoint(shape.left() + offset, shape.bottom() - offset)
            for icon in (icon for icon, wanted in zip(self._marks, marks, strict=True) if wanted):
                self._paint_disc(painter, centre, self._badge_px, icon)
                centre += QPoint(self._badge_px + self._pad // 2, 0)

    def _paint_concept(self, painter: QPainter, shape: QRect, number: int) -> None:
        """The concept's number on its colour, top left."""
        offset = self._badge_px // 2 + self._pad // 2
        side = self._badge_px * 0.8
        disc = QRectF(shape.left() + offset - side / 2, shape.top() + offset - side / 2, side, side)
        painter.setPen(QPen(self._colours["surface"], 1.5))
        painter.setBrush(theme.concept_colour(number))
        painter.drawEllipse(disc)
        painter.setPen(self._colours["surface"])
        painter.drawText(disc, Qt.AlignmentFlag.AlignCenter, str(number))

    def _paint_disc(self, painter: QPainter, centre: QPoint, diameter: int, icon: QPixmap) -> None:
        painter.setPen(QPen(self._colours["border"], 1))
        painter.setBrush(self._colours["surface"])
        painter.drawEllipse(QRectF(centre.x() - diameter / 2, centre.y() - diameter / 2, diameter, diameter))
        side = icon.deviceIndependentSize()
        painter.drawPixmap(round(centre.x() - side.width() / 2), round(centre.y() - side.height() / 2), icon)

    def _paint_words(self, painter: QPainter, line: QRect, item: Item) -> None:
        caption = item.caption[:_CAPTION_LETTERS].replace("\n", " ") or tr("no caption")
        for number, (text, colour) in enumerate(
            ((item.picture.path.name, "text" if item.included else "muted"), (caption, "muted"))
        ):
            words = self._words(text, line.width(), number == 0)
            left = line.x() + (line.width() - words.size().width()) / 2
            painter.setPen(self._colours[colour])
            painter.drawStaticText(QPointF(left, line.y() + number * self._line), words)

    def _words(self, text: str, width: int, is_name: bool) -> QStaticText:
        """The text cut to the width and laid out; kept, as that takes longer than all the rest of a tile."""
        key = (text, width, is_name)
        found = self._laid_out.get(key)
        if found is None:
            if len(self._laid_out) > _TEXTS_KEPT:
                self._laid_out.clear()
            cut = Qt.TextElideMode.ElideMiddle if is_name else Qt.TextElideMode.ElideRight
            found = QStaticText(QFontMetrics(QApplication.font()).elidedText(text, cut, width))
            found.setTextFormat(Qt.TextFormat.PlainText)
            found.prepare(QTransform(), QApplication.font())
            self._laid_out[key] = found
        return found


def _fitted(square: QRect, width: int, height: int) -> QRectF:
    """The picture's shape, as large as the square takes it, in its middle."""
    scale = square.width() / max(width, height, 1)
    out = QRectF(0, 0, max(2, round(width * scale)), max(2, round(height * scale)))
    out.moveTopLeft(QRectF(square).center() - out.center())
    return out.translated(-(out.x() % 1), -(out.y() % 1))  # on whole pixels, or the thumbnail would be blurred


def _filling(image: QImage, target: QRectF) -> QBrush:
    """A brush that lays the image over the target: a rounded clip has jagged edges, a filled shape has not."""
    brush = QBrush(image)
    scale_x, scale_y = target.width() / image.width(), target.height() / image.height()
    brush.setTransform(QTransform(scale_x, 0, 0, scale_y, target.x(), target.y()))
    return brush
