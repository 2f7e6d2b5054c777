"""A large place to drop things on, which also opens a file dialog when it is clicked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QRectF, Qt, Signal
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from app import theme
from app.texts import tr
from app.widgets.named import named

if TYPE_CHECKING:
    from PySide6.QtCore import QEvent, QMimeData


class DropZone(QWidget):
    """Invites to drop; the window itself takes the drop, wherever it falls.

    Signals:
        folderWanted: the user wants to choose a folder.
        filesWanted: the user wants to choose pictures.
    """

    folderWanted = Signal()
    filesWanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("drop_zone")
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumHeight(theme.space(18))
        self._icon = QLabel(alignment=Qt.AlignmentFlag.AlignCenter)
        title = theme.role(
            QLabel(tr("Drop a folder of pictures here"), alignment=Qt.AlignmentFlag.AlignCenter), "heading"
        )
        hint = QLabel(
            tr("10 to 40 pictures of one character, or 20 and more in one style. Captions in .txt files beside them are read."),
            alignment=Qt.AlignmentFlag.AlignCenter, wordWrap=True,
        )  # fmt: skip
        theme.role(hint, "muted")
        folder = named(QPushButton(tr("Choose a folder…")), "choose_folder")
        folder.clicked.connect(self.folderWanted)
        files = theme.role(named(QPushButton(tr("or pictures…")), "choose_pictures"), "quiet")
        files.clicked.connect(self.filesWanted)
        buttons = QHBoxLayout()
        buttons.addStretch(1)
        buttons.addWidget(folder)
        buttons.addWidget(files)
        buttons.addStretch(1)
        column = QVBoxLayout(self)
        column.setContentsMargins(theme.space(3), theme.space(2), theme.space(3), theme.space(2))
        column.setSpacing(theme.space(1))
        column.addStretch(1)
        for widget in (self._icon, title, hint):
            column.addWidget(widget)
        column.addSpacing(theme.space(0.5))
        column.addLayout(buttons)
        column.addStretch(1)
        self.setFocusProxy(folder)
        self._restyle()

    def paintEvent(self, event: QPaintEvent) -> None:
        """A dashed frame with round corners."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(theme.colour("border"), 2, Qt.PenStyle.DashLine))
        painter.setBrush(theme.colour("surface"))
        painter.drawRoundedRect(QRectF(self.rect()).adjusted(1, 1, -1, -1), 14, 14)

    def changeEvent(self, event: QEvent) -> None:
        """Renews the icon in the theme's colours."""
        if event.type() == event.Type.PaletteChange:
            self._restyle()
        super().changeEvent(event)

    def _restyle(self) -> None:
        self._icon.setPixmap(theme.pixmap("drop", theme.space(5), "accent"))


class DropOverlay(QWidget):
    """Covers the window while something is dragged over it, and says what will happen."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self._text = ""
        self.hide()

    def appear(self, text: str) -> None:
        """Covers the parent and shows the text."""
        self._text = text
        parent = self.parentWidget()
        assert parent is not None
        self.setGeometry(parent.rect())
        self.raise_()
        self.show()

    def paintEvent(self, event: QPaintEvent) -> None:
        """A veil, an accent frame, and the text."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        veil = QColor(theme.colours().window)
        veil.setAlphaF(0.88)
        painter.fillRect(self.rect(), veil)
        inner = QRectF(self.rect()).adjusted(16, 16, -16, -16)
        painter.setPen(QPen(theme.colour("accent"), 3))
        painter.drawRoundedRect(inner, 16, 16)
        font = self.font()
        font.setPointSizeF(font.pointSizeF() * 1.8)
        painter.setFont(font)
        painter.setPen(theme.colour("text"))
        painter.drawText(inner, Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap, self._text)


def dropped_paths(mime: QMimeData) -> list[Path]:
    """The local files of a drag."""
    return [Path(url.toLocalFile()) for url in mime.urls() if url.isLocalFile()]
