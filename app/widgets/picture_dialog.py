"""One preview as large as the window allows; arrow keys go through steps and prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QGuiApplication, QKeyEvent, QPainter, QPaintEvent, QPixmap
from PySide6.QtWidgets import QDialog, QHBoxLayout, QLabel, QPushButton, QSizePolicy, QToolButton, QVBoxLayout, QWidget

from app import theme
from app.texts import tr
from app.widgets.named import named
from app.widgets.previews import Previews, step_name

if TYPE_CHECKING:
    from pathlib import Path

    from app.widgets.picture_loader import PictureLoader


class PictureDialog(QDialog):
    """A picture with what it was drawn from.

    Left and right go to earlier and later steps of the same prompt, up and down to other prompts, Escape closes.

    Signals:
        compareWanted(int, int): compare the picture of this prompt and step with another.
    """

    compareWanted = Signal(int, int)

    def __init__(self, previews: Previews, loader: PictureLoader, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("picture_dialog")
        self.setWindowTitle(tr("Preview"))
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._previews, self._loader, self._row, self._step = previews, loader, 0, 0
        loader.loaded.connect(self._on_loaded)
        self._picture = _Picture(self)
        self._title = theme.role(named(QLabel(), "picture_title"), "heading")
        self._prompt = named(QLabel(wordWrap=True), "picture_prompt")
        self._prompt.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._earlier = self._arrow("picture_earlier", tr("Earlier step (left arrow)"), -1, "chevron_left")
        self._later = self._arrow("picture_later", tr("Later step (right arrow)"), 1, "chevron_right")
        middle = QHBoxLayout()
        middle.addWidget(self._earlier)
        middle.addWidget(self._picture, 1)
        middle.addWidget(self._later)
        column = QVBoxLayout(self)
        column.setContentsMargins(theme.space(1.5), theme.space(1.5), theme.space(1.5), theme.space(1.5))
        column.setSpacing(theme.space(1))
        column.addLayout(middle, 1)
        column.addWidget(self._prompt)
        column.addLayout(self._make_foot())
        self.resize(theme.space(80), theme.space(78))
        self._picture.setFocus()

    def show_picture(self, row: int, step: int) -> None:
        """Shows the picture of a prompt at a step."""
        self._row, self._step = row, step
        self._refresh()

    @property
    def shown(self) -> tuple[int, int]:
        """Prompt number and step."""
        return self._row, self._step

    def go(self, steps: int) -> None:
        """To another step of the same prompt."""
        known = sorted(self._previews.files.get(self._row, {}))
        at = known.index(self._step) + steps if self._step in known else -1
        if 0 <= at < len(known):
            self.show_picture(self._row, known[at])

    def go_to_row(self, row: int) -> None:
        """To another prompt, at the same step or the last one before."""
        found = self._previews.latest(row, self._step)
        if found is not None:
            self.show_picture(row, found[0])

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Arrow keys."""
        match event.key():
            case Qt.Key.Key_Left:
                self.go(-1)
            case Qt.Key.Key_Right:
                self.go(1)
            case Qt.Key.Key_Up:
                self.go_to_row(self._row - 1)
            case Qt.Key.Key_Down:
                self.go_to_row(self._row + 1)
            case _:
                super().keyPressEvent(event)

    # ---- inside

    def _make_foot(self) -> QHBoxLayout:
        foot = QHBoxLayout()
        foot.setSpacing(theme.space(1))
        foot.addWidget(self._title, 1)
        self._copy = named(QPushButton(theme.icon("copy"), tr("Copy parameters"), autoDefault=False), "picture_copy")
        self._copy.setToolTip(tr("Copy prompt, seed and settings, as other programs read them"))
        self._copy.clicked.connect(self._on_copy)
        compare = named(QPushButton(theme.icon("compare"), tr("Compare"), autoDefault=False), "picture_compare")
        compare.clicked.connect(lambda: self.compareWanted.emit(self._row, self._step))
        close = named(QPushButton(tr("Close"), autoDefault=False), "picture_close")
        close.clicked.connect(self.close)
        for button in (self._copy, compare, close):
            foot.addWidget(button)
        return foot

    def _arrow(self, name: str, help_text: str, steps: int, sign: str) -> QToolButton:
        button = named(QToolButton(), name, tip=help_text, spoken=help_text)
        button.setIcon(theme.icon(sign))
        button.setIconSize(QSize(theme.space(3), theme.space(3)))
        button.clicked.connect(lambda: self.go(steps))
        return button

    def _refresh(self) -> None:
        path = self._previews.path(self._row, self._step)
        side = round(max(self._picture.width(), self._picture.height(), 512) * self.devicePixelRatioF())
        pixmap = None if path is None else self._loader.get(path, side)
        broken = path is not None and self._loader.is_broken(path)
        self._picture.show_pixmap(pixmap, tr("This picture cannot be read") if broken else "")
        self._title.setText(step_name(self._step).capitalize() if self._step else tr("Before training"))
        self._prompt.setText(self._previews.prompt(self._row))
        parameters = "" if path is None else self._loader.parameters(path)
        self._prompt.setToolTip(parameters)
        self._copy.setEnabled(bool(parameters))
        known = sorted(self._previews.files.get(self._row, {}))
        self._earlier.setEnabled(bool(known) and self._step > known[0])
        self._later.setEnabled(bool(known) and self._step < known[-1])

    def _on_loaded(self, path: Path) -> None:
        if path == self._previews.path(self._row, self._step):
            self._refresh()

    def _on_copy(self) -> None:
        QGuiApplication.clipboard().setText(self._prompt.toolTip())


class _Picture(QWidget):
    """A pixmap, as large as fits."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAccessibleName(tr("Preview picture"))
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self._pixmap: QPixmap | None = None
        self._words = ""

    def show_pixmap(self, pixmap: QPixmap | None, words: str) -> None:
        self._pixmap, self._words = pixmap, words
        self.update()

    def minimumSizeHint(self) -> QSize:
        return QSize(theme.space(24), theme.space(24))

    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.PaletteChange:
            self.update()
        super().changeEvent(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        area = QRectF(self.rect())
        if self._pixmap is None:
            painter.setPen(theme.colour("muted"))
            painter.drawText(area, Qt.AlignmentFlag.AlignCenter, self._words)
            return
        size = self._pixmap.size().toSizeF().scaled(area.size(), Qt.AspectRatioMode.KeepAspectRatio)
        place = QRectF(QPointF(), size)
        place.moveCenter(area.center())
        painter.drawPixmap(place, self._pixmap, QRectF(self._pixmap.rect()))
