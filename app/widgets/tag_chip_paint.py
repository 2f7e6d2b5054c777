"""How the chips of a caption's tags look: fixed ones pinned, the divider, the gap where a dragged one would go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import QPointF, QRect, QRectF, Qt
from PySide6.QtGui import QPainter, QPen

from app import theme

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.caption_board import Board, Spot


@dataclass(frozen=True)
class Chip:
    """A tag or a divider in its place, px."""

    spot: Spot
    area: QRect
    is_divider: bool


@dataclass(frozen=True)
class Marks:
    """current: has the focus; hovered: under the mouse; dragged: on its way to before `target`."""

    current: Spot | None = None
    hovered: Spot | None = None
    dragged: Spot | None = None
    target: Spot | None = None


def paint_chips(painter: QPainter, board: Board, chips: Sequence[Chip], marks: Marks, width: int) -> None:
    """Paints them all. width: of the widget, px, for the lines between lines."""
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    line = 0
    for chip in chips:
        if chip.spot[0] != line:
            line = chip.spot[0]
            y = chip.area.top() - theme.space(0.5) * 1.5
            painter.setPen(QPen(theme.colour("border"), 1, Qt.PenStyle.DashLine))
            painter.drawLine(QPointF(0, y), QPointF(width, y))
        if chip.is_divider:
            _paint_divider(painter, chip)
        else:
            _paint_chip(painter, chip, board, marks)
    if marks.target is not None:
        _paint_target(painter, chips, marks.target)


def _paint_divider(painter: QPainter, chip: Chip) -> None:
    painter.setPen(QPen(theme.colour("accent"), 2))
    x = chip.area.center().x() + 0.5
    painter.drawLine(QPointF(x, chip.area.top() + 1), QPointF(x, chip.area.bottom()))


def _paint_chip(painter: QPainter, chip: Chip, board: Board, marks: Marks) -> None:
    chosen, fixed = chip.spot == marks.current, board.is_fixed(chip.spot)
    area = QRectF(chip.area).adjusted(0.75, 0.75, -0.75, -0.75)
    painter.setOpacity(0.45 if chip.spot == marks.dragged else 1)
    painter.setBrush(theme.colour("accent_soft" if fixed or chosen else "raised"))
    painter.setPen(
        QPen(theme.colour("accent" if chosen else "accent_soft" if fixed else "border"), 1.5 if chosen else 1)
    )
    painter.drawRoundedRect(area, theme.space(0.75), theme.space(0.75))
    side, pad = chip.area.height(), theme.space(1)
    words = QRectF(chip.area).adjusted(pad, 0, -side, 0)
    text = painter.fontMetrics().elidedText(board.tag(chip.spot), Qt.TextElideMode.ElideRight, int(words.width()) + 1)
    painter.setPen(theme.colour("text"))
    painter.drawText(words, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, text)
    painter.setPen(QPen(theme.colour("text" if chip.spot in (marks.hovered, marks.current) else "muted"), 1.4))
    middle, arm = QPointF(chip.area.right() - side / 2 + 1, chip.area.center().y() + 0.5), side * 0.13
    painter.drawLine(middle + QPointF(-arm, -arm), middle + QPointF(arm, arm))
    painter.drawLine(middle + QPointF(-arm, arm), middle + QPointF(arm, -arm))
    painter.setOpacity(1)


def _paint_target(painter: QPainter, chips: Sequence[Chip], target: Spot) -> None:
    at = next((chip for chip in chips if chip.spot == target), None)
    before = next((chip for chip in chips if chip.spot == (target[0], target[1] - 1)), None)
    if before is not None and (at is None or before.area.top() != at.area.top()):
        x, area = before.area.right() + theme.space(0.25), before.area
    elif at is not None:
        x, area = at.area.left() - theme.space(0.25), at.area
    else:
        return
    painter.setPen(QPen(theme.colour("accent"), 3, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap))
    painter.drawLine(QPointF(max(1.5, x), area.top() + 2), QPointF(max(1.5, x), area.bottom() - 1))
