"""What is there before a project: a large drop zone, the demo, recent projects."""

from __future__ import annotations

import datetime
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QIcon, QPixmap
from PySide6.QtWidgets import (
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

import resources
from app import project, theme
from app.texts import tr
from app.widgets.drop_zone import DropZone
from app.widgets.named import named

if TYPE_CHECKING:
    from PySide6.QtCore import QEvent

MOST_RECENT = 12


class StartPage(QWidget):
    """The first screen.

    Signals:
        folderWanted, filesWanted: choose pictures with a dialog.
        demoWanted: open the demo project.
        projectChosen(Path): open a project file.
    """

    folderWanted = Signal()
    filesWanted = Signal()
    demoWanted = Signal()
    projectChosen = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.drop_zone = DropZone()
        self.drop_zone.folderWanted.connect(self.folderWanted)
        self.drop_zone.filesWanted.connect(self.filesWanted)
        self._recent = named(QListWidget(), "recent_projects", spoken=tr("Recent projects"))
        self._recent.setUniformItemSizes(True)
        self._recent.setIconSize(QSize(theme.space(2.5), theme.space(2.5)))
        self._recent.itemActivated.connect(self._on_chosen)
        self._recent.itemClicked.connect(self._on_chosen)
        self._recent_title = theme.role(QLabel(tr("Recent projects")), "heading")
        title = theme.role(QLabel(tr("Teach a model your style or your character.")), "title")
        title.setWordWrap(True)
        grid = QGridLayout(self)
        grid.setContentsMargins(theme.space(4), theme.space(3), theme.space(4), theme.space(3))
        grid.setHorizontalSpacing(theme.space(2))
        grid.setVerticalSpacing(theme.space(2))
        grid.addWidget(title, 0, 0, 1, 2)
        grid.addWidget(self.drop_zone, 1, 0)
        side = QVBoxLayout()
        side.setSpacing(theme.space(1))
        side.addWidget(self._demo_card())
        side.addSpacing(theme.space(0.5))
        side.addWidget(self._recent_title)
        side.addWidget(self._recent, 1)
        side.addStretch(1)
        grid.addLayout(side, 1, 1)
        grid.setColumnStretch(0, 3)
        grid.setColumnStretch(1, 2)
        grid.setRowStretch(1, 1)
        self.setFocusProxy(self.drop_zone)
        self.refresh()

    def refresh(self) -> None:
        """Lists the recent projects anew."""
        self._recent.clear()
        for path in project.recent()[:MOST_RECENT]:
            changed = datetime.datetime.fromtimestamp(path.stat().st_mtime)
            item = QListWidgetItem(QIcon(theme.icon("folder", "muted")), f"{_title(path)}\n{changed:%d %B %Y, %H:%M}")
            item.setData(Qt.ItemDataRole.UserRole, str(path))
            item.setToolTip(str(path.parent))
            self._recent.addItem(item)
        found = self._recent.count() > 0
        self._recent.setVisible(found)
        self._recent_title.setVisible(found)

    def _demo_card(self) -> QFrame:
        card = theme.role(QFrame(), "card")
        card.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        row = QHBoxLayout(card)
        row.setContentsMargins(theme.space(1.5), theme.space(1.5), theme.space(1.5), theme.space(1.5))
        row.setSpacing(theme.space(1.5))
        picture = QLabel()
        side = theme.space(9)
        shown = QPixmap(str(resources.path("demo", "character", "01.png"))).scaled(
            side * 2, side * 2, Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation
        )
        shown.setDevicePixelRatio(2)
        picture.setPixmap(shown)
        row.addWidget(picture)
        words = QVBoxLayout()
        words.addWidget(theme.role(QLabel(tr("New here?")), "heading"))
        text = theme.role(
            QLabel(
                tr(
                    "Watch a tiny model learn this creature in a few minutes. Nothing to download, no graphics card needed."
                )
            ),
            "muted",
        )
        text.setWordWrap(True)
        words.addWidget(text, 1)
        demo = named(QPushButton(tr("Try the demo")), "try_demo")
        demo.clicked.connect(self.demoWanted)
        words.addWidget(demo, 0, Qt.AlignmentFlag.AlignLeft)
        row.addLayout(words, 1)
        return card

    def _on_chosen(self, item: QListWidgetItem) -> None:
        self.projectChosen.emit(Path(item.data(Qt.ItemDataRole.UserRole)))

    def changeEvent(self, event: QEvent) -> None:
        """Renews the icons in the theme's colours."""
        if event.type() == event.Type.PaletteChange and hasattr(self, "_recent"):
            self.refresh()
        super().changeEvent(event)


def _title(path: Path) -> str:
    """A project's name; the folder's when the file cannot be read."""
    try:
        return str(tomllib.loads(path.read_text(encoding="utf-8")).get("title") or path.parent.name)
    except (OSError, ValueError):
        return path.parent.name
