"""A caption as chips: dragged or moved with Alt+Left and Alt+Right, removed with Backspace or their ×, added in place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QPointF, QRect, QSize, Qt, Signal
from PySide6.QtGui import QKeySequence, QPainter
from PySide6.QtWidgets import QSizePolicy, QWidget

from app import theme
from app.caption_board import Board
from app.texts import tr
from app.widgets.tag_chip_paint import Chip, Marks, paint_chips
from app.widgets.tag_field import TagField

if TYPE_CHECKING:
    from PySide6.QtCore import QEvent
    from PySide6.QtGui import QFocusEvent, QKeyEvent, QMouseEvent, QPaintEvent, QResizeEvent

    from app.caption_board import Spot
    from app.caption_tags import Reading
    from app.pictures import Pictures
    from app.tag_names import TagNames

FIELD_LETTERS = 16


class TagChips(QWidget):
    """Lays tags out in rows, a new row for each line of the caption.

    Attributes:
        board: the tags. field: where new ones are written.

    Signals:
        edited(str): the user changed the caption.
        undoWanted, redoWanted: Ctrl+Z and its opposite.
        stepWanted(int): 1 for the next picture, -1 for the previous.
        left: the focus went elsewhere.
        lookedAt(QRect): here is what the user works on.
    """

    edited = Signal(str)
    undoWanted = Signal()
    redoWanted = Signal()
    stepWanted = Signal(int)
    left = Signal()
    lookedAt = Signal(QRect)

    def __init__(self, pictures: Pictures, names: TagNames, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("tag_chips")
        self.setAccessibleName(tr("Tags of the caption"))
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        self.board = Board()
        self.chips: list[Chip] = []
        self._current: Spot | None = None
        self._hovered: Chip | None = None
        self._pressed: Chip | None = None
        self._dragged_to: Spot | None = None
        self._pressed_at = QPointF()
        self._at: Spot = (0, 0)  # where the field stands
        self.field = TagField(pictures, names, self)
        self.field.setObjectName("tag_field")
        self.field.setAccessibleName(tr("Add a tag"))
        self.field.setPlaceholderText(tr("Add a tag"))
        self.field.given.connect(self._on_given)
        self.field.leftEmpty.connect(self._on_left_empty)
        self.field.left.connect(self.left)

    # ---- what it shows

    def set_caption(self, caption: str, reading: Reading) -> None:
        """Shows another caption."""
        if (caption, reading) == (self.board.caption, self.board.reading):
            return
        self.board = Board(caption, reading)
        self._current = None
        self._field_to_end()
        self._place()

    @property
    def current(self) -> Spot | None:
        """The tag that keys act on."""
        return self._current

    def select(self, spot: Spot | None) -> None:
        """Chooses the tag that keys act on; None gives them to the field."""
        self._current = spot
        (self.setFocus if spot is not None else self.field.setFocus)()
        if spot is not None:
            self.setAccessibleDescription(self.board.tag(spot))
        self._look()
        self.update()

    def _look(self) -> None:
        areas = [chip.area for chip in self.chips if chip.spot == self._current]
        self.lookedAt.emit(areas[0] if areas else self.field.geometry())

    # ---- editing

    def _change(self) -> None:
        self._place()
        self._look()
        self.edited.emit(self.board.caption)

    def _on_given(self, text: str) -> None:
        self._at = self.board.add(self._at, text)
        self._change()

    def _on_left_empty(self, to: int, remove: bool) -> None:
        y, x = self._at
        spots = [s for s in self.board.spots if (s < (y, x) if to < 0 else s >= (y, x))]
        if not spots:
            return
        spot = spots[-1 if to < 0 else 0]
        if remove:
            self._remove(spot)
            self.field.setFocus()
        else:
            self.select(spot)

    def _remove(self, spot: Spot) -> None:
        before = self.board.spots.index(spot)
        self.board.remove(spot)
        if self._at[0] == spot[0] and self._at[1] > spot[1]:
            self._at = (self._at[0], self._at[1] - 1)
        spots = self.board.spots
        if self._current is not None:
            self.select(spots[min(before, len(spots) - 1)] if spots else None)
        self._change()

    def _field_to_end(self) -> None:
        y = len(self.board.lines) - 1
        self._at = (y, len(self.board.lines[y]))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Left and Right choose, with Alt they move; Backspace and Delete remove; letters begin another tag after it."""
        key, current = Qt.Key(event.key()), self._current
        if event.matches(QKeySequence.StandardKey.Undo):
            self.undoWanted.emit()
        elif event.matches(QKeySequence.StandardKey.Redo):
            self.redoWanted.emit()
        elif key in (Qt.Key.Key_PageDown, Qt.Key.Key_PageUp):
            self.stepWanted.emit(1 if key == Qt.Key.Key_PageDown else -1)
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and not self.field.text():
            self.stepWanted.emit(1)
        elif current is None:
            self.field.setFocus()
        elif key in (Qt.Key.Key_Left, Qt.Key.Key_Right):
            by = 1 if key == Qt.Key.Key_Right else -1
            if event.modifiers() & Qt.KeyboardModifier.AltModifier:
                self._current = self.board.shift(current, by)
                self._field_to_end()
                self._change()
            else:
                self._step(by)
        elif key in (Qt.Key.Key_Backspace, Qt.Key.Key_Delete):
            self._remove(current)
        elif (
            event.text().isprintable() and event.text() and not event.modifiers() & Qt.KeyboardModifier.ControlModifier
        ):
            self._write_after(current, event.text())
        else:
            super().keyPressEvent(event)

    def _write_after(self, spot: Spot, text: str) -> None:
        self._at = (spot[0], spot[1] + 1)
        self.select(None)
        self._place()
        self.field.insert(text.strip())
        self.field.textEdited.emit(self.field.text())

    def _step(self, by: int) -> None:
        spots = self.board.spots
        at = spots.index(self._current) + by if self._current in spots else 0
        if at >= len(spots):
            self._field_to_end()
            self._place()
            self.select(None)
        else:
            self.select(spots[max(0, at)])

    # ---- the mouse

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Chooses a tag, or removes it when its × is hit; elsewhere in a line, one writes at its end."""
        chip = self._chip_at(event.position())
        self._pressed, self._pressed_at, self._dragged_to = None, event.position(), None
        if chip is None:
            y = self._line_at(event.position().y())
            self._at = (y, len(self.board.lines[y]))
            self._place()
            self.select(None)
        elif self._cross(chip).contains(event.position().toPoint()):
            self._current = None
            self._remove(chip.spot)
            self.field.setFocus()
        elif not chip.is_divider:
            self._pressed = chip
            self.select(chip.spot)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Drags."""
        if self._pressed is not None:
            if (event.position() - self._pressed_at).manhattanLength() > theme.space(0.75):
                self._dragged_to = self._target(event.position())
        else:
            self._hovered = self._chip_at(event.position())
            self.setCursor(Qt.CursorShape.ArrowCursor if self._hovered else Qt.CursorShape.IBeamCursor)
        self.update()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Drops."""
        pressed, to = self._pressed, self._dragged_to
        self._pressed = self._dragged_to = None
        if pressed is not None and to is not None and to not in (pressed.spot, (pressed.spot[0], pressed.spot[1] + 1)):
            self._current = self.board.move(pressed.spot, to)
            self._field_to_end()
            self._change()
        self.update()

    def leaveEvent(self, event: QEvent) -> None:
        """Nothing is under the mouse."""
        self._hovered = None
        self.update()
        super().leaveEvent(event)

    def _chip_at(self, at: QPointF) -> Chip | None:
        return next((chip for chip in self.chips if chip.area.contains(at.toPoint())), None)

    def _line_at(self, y_px: float) -> int:
        above = [chip.spot[0] for chip in self.chips if chip.area.top() <= y_px]
        return max(above, default=0)

    def _target(self, at: QPointF) -> Spot:
        """Before which place a tag that is dropped here goes."""
        rows = [chip for chip in self.chips if chip.area.top() <= at.y() <= chip.area.bottom() + theme.space(0.5)]
        for chip in rows:
            if at.x() < chip.area.center().x():
                return chip.spot
        if rows:
            return rows[-1].spot[0], rows[-1].spot[1] + 1
        y = self._line_at(at.y())
        return y, len(self.board.lines[y])

    def _cross(self, chip: Chip) -> QRect:
        side = chip.area.height()
        return QRect(0, 0, 0, 0) if chip.is_divider else chip.area.adjusted(chip.area.width() - side, 0, 0, 0)

    # ---- layout and paint

    def _arrange(self, width: int) -> tuple[list[Chip], QRect, int]:
        """The chips, the field's place, and the height of all, px."""
        metrics, gap = self.fontMetrics(), theme.space(0.5)
        height = metrics.height() + theme.space(0.75)
        field_width = min(width, metrics.averageCharWidth() * FIELD_LETTERS + theme.space(2))
        chips: list[Chip] = []
        x = y = 0
        place = QRect()

        def put(wide: int) -> QRect:
            nonlocal x, y
            if x and x + wide > width:
                x, y = 0, y + height + gap
            area = QRect(x, y, wide, height)
            x += wide + gap
            return area

        for row, line in enumerate(self.board.lines):
            for column in range(len(line) + 1):
                if (row, column) == self._at:
                    place = put(field_width)
                if column < len(line):
                    divider = self.board.is_separator((row, column))
                    text = metrics.horizontalAdvance(line[column])
                    wide = theme.space(1) if divider else text + theme.space(1.25) + height
                    chips.append(Chip((row, column), put(min(wide, width)), divider))
            if row < len(self.board.lines) - 1:
                x, y = 0, y + height + gap * 3
        return chips, place, y + height

    def _place(self) -> None:
        self.chips, place, height = self._arrange(max(1, self.width()))
        self.field.setGeometry(place)
        self.setMinimumHeight(height)
        self._hovered = None
        self.updateGeometry()
        self.update()

    def heightForWidth(self, width: int) -> int:
        """As high as its rows are."""
        return self._arrange(width)[2]

    def sizeHint(self) -> QSize:
        """Its rows in the width that it has."""
        width = max(self.width(), theme.space(20))
        return QSize(width, self.heightForWidth(width))

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Lays out anew."""
        super().resizeEvent(event)
        self._place()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        """No tag is chosen any more."""
        super().focusOutEvent(event)
        self.update()
        self.left.emit()

    def changeEvent(self, event: QEvent) -> None:
        """Another font needs other places."""
        super().changeEvent(event)
        if event.type() in (event.Type.FontChange, event.Type.StyleChange) and hasattr(self, "field"):
            self._place()

    def paintEvent(self, event: QPaintEvent) -> None:
        """The chips, dividers, lines between lines, and where a dragged one would go."""
        painter = QPainter(self)
        marks = Marks(
            self._current if self.hasFocus() else None,
            self._hovered.spot if self._hovered is not None else None,
            self._pressed.spot if self._pressed is not None and self._dragged_to is not None else None,
            self._dragged_to,
        )
        paint_chips(painter, self.board, self.chips, marks, self.width())
        painter.end()
