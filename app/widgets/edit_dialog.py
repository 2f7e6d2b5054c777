"""What the crop editor and the mask painter have in common: one picture after the other, decoded in the background."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QSize, Qt
from PySide6.QtGui import QImage, QKeySequence, QShortcut
from PySide6.QtWidgets import QDialog, QHBoxLayout, QLabel, QPushButton, QSizePolicy, QToolButton, QVBoxLayout, QWidget

from app import theme
from app.background import Background
from app.texts import tr
from app.widgets.named import named
from trainer import pixels
from trainer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from PIL import Image
    from PySide6.QtGui import QResizeEvent

    from app.pictures import Pictures
    from app.project import Project

SIDE_PX = 2048  # pictures are decoded no larger


@dataclass(frozen=True)
class Loaded:
    """A picture that was decoded, or why it could not be. image: no larger than SIDE_PX; extra: what an editor wants to know."""

    path: Path
    image: QImage | None
    problem: str = ""
    extra: object = None


class EditDialog(QDialog):
    """Shows the pictures of a list one at a time; what was done to one is kept before the next is shown.

    Subclasses fill `column` and `foot`, and say what is loaded, shown and kept.

    Attributes:
        column: for the editor itself, between head and foot.
        head, foot: rows above and below it.
    """

    def __init__(
        self, project: Project, pictures: Pictures, paths: Sequence[Path], start: Path, parent: QWidget | None = None
    ) -> None:
        """paths: the pictures to go through; start: the first that is shown."""
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._project, self._pictures, self._paths, self._path = project, pictures, list(paths), start
        self._is_loaded = False
        self._loader = Background("load picture to edit")
        self._loader.done.connect(self._on_loaded)
        self._name = theme.role(named(QLabel(), "edited_name"), "heading")
        self._name.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._facts = theme.role(named(QLabel(), "edited_facts"), "muted")
        self._place = theme.role(named(QLabel(), "edited_place"), "muted")
        self.head, self.column, self.foot = QHBoxLayout(), QVBoxLayout(), QHBoxLayout()
        self._icons: list[tuple[QToolButton, str]] = []
        self._lay_out()
        self._fit_to_screen()
        pictures.scanned.connect(self._on_scanned)

    def _lay_out(self) -> None:
        self.head.setSpacing(theme.space(1))
        self.head.addWidget(self._name, 1)
        self.head.addWidget(self._facts)
        self._undo = self.tool("edit_undo", "undo", tr("Undo  (Ctrl+Z)"), self.undo)
        self._redo = self.tool("edit_redo", "redo", tr("Redo  (Ctrl+Shift+Z)"), self.redo)
        self.head.addWidget(self._undo)
        self.head.addWidget(self._redo)
        self._previous = self.tool(
            "edit_previous", "chevron_left", tr("Previous picture  (Page Up)"), lambda: self.go(-1)
        )
        self._next = self.tool("edit_next", "chevron_right", tr("Next picture  (Page Down)"), lambda: self.go(1))
        done = theme.role(named(QPushButton(tr("Done"), autoDefault=False), "edit_done"), "primary")
        done.setToolTip(tr("What you do here is kept by itself, and can be undone.  (Escape)"))
        done.clicked.connect(self.close)
        last = QHBoxLayout()
        last.setSpacing(theme.space(1))
        last.addLayout(self.foot, 1)
        for widget in (self._previous, self._place, self._next):
            last.addWidget(widget)
        last.addSpacing(theme.space(1))
        last.addWidget(done)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(*[theme.space(1.75)] * 4)
        whole.setSpacing(theme.space(1))
        self.column.setSpacing(theme.space(1))
        self.foot.setSpacing(theme.space(1))
        whole.addLayout(self.head)
        whole.addLayout(self.column, 1)
        whole.addLayout(last)
        for keys, action in (
            ("Ctrl+Z", self.undo), ("Ctrl+Shift+Z", self.redo), ("Ctrl+Y", self.redo),
            ("PgUp", lambda: self.go(-1)), ("PgDown", lambda: self.go(1)),
        ):  # fmt: skip
            self.on_key(keys, action)

    def _fit_to_screen(self) -> None:
        room = self.screen().availableSize() if self.screen() else QSize(1280, 720)
        self.resize(min(theme.space(130), room.width() - 40), min(theme.space(95), room.height() - 60))

    # ---- for subclasses

    def tool(self, name: str, icon: str, tip: str, slot: Callable[[], object]) -> QToolButton:
        """A button with an icon that follows the theme."""
        button = named(QToolButton(), name, tip=tip, spoken=tip.split("  (")[0])
        button.setIcon(theme.icon(icon))
        button.setIconSize(QSize(theme.space(2.25), theme.space(2.25)))
        button.clicked.connect(slot)
        self._icons.append((button, icon))
        return button

    def on_key(self, keys: str, slot: Callable[[], object]) -> None:
        """A shortcut of the dialog."""
        QShortcut(QKeySequence(keys), self).activated.connect(slot)

    def undo(self) -> None:
        """Takes back what was done last here."""
        raise NotImplementedError

    def redo(self) -> None:
        """Does it again."""
        raise NotImplementedError

    def work(self, index: int) -> Callable[[], Loaded]:
        """What loads a picture, in a thread."""
        path, background = self._pictures.items[index].picture.path, str(self._project.value("background"))
        return lambda: load(path, background)[0]

    def facts(self) -> str:
        """What stands beside the name: its size."""
        picture = self._pictures.items[self.index].picture
        return tr("{w} × {h} px", w=picture.width_px, h=picture.height_px)

    def show_loaded(self, loaded: Loaded) -> None:
        """The picture is there, or turned out to be broken."""
        raise NotImplementedError

    def clear(self) -> None:
        """Another picture is on its way."""
        raise NotImplementedError

    def keep(self) -> None:
        """Keeps what was done to the picture that is shown."""
        raise NotImplementedError

    # ---- which picture

    @property
    def path(self) -> Path:
        """The picture that is shown."""
        return self._path

    @property
    def index(self) -> int:
        """Its place in `Pictures.items`; -1 when it is no longer there."""
        return self._pictures.index_of(self._path)

    @property
    def is_loaded(self) -> bool:
        """Whether the picture is there to be edited."""
        return self._is_loaded

    def go(self, by: int) -> None:
        """To the next (1) or previous (-1) picture."""
        at = self._paths.index(self._path) + by
        if 0 <= at < len(self._paths):
            self.show_path(self._paths[at])

    def show_path(self, path: Path) -> None:
        """Keeps what was done and shows another picture."""
        if self._is_loaded:
            self.keep()
        self._path, self._is_loaded = path, False
        self.clear()
        self.refresh_head()
        if self.index >= 0:
            self._loader.drop_waiting()
            self._loader.run(self.work(self.index))

    def refresh_head(self) -> None:
        """Name, size and place of the picture."""
        at = self._paths.index(self._path)
        width = max(theme.space(8), self._name.width())
        self._name.setText(self._name.fontMetrics().elidedText(self._path.name, Qt.TextElideMode.ElideMiddle, width))
        self._name.setToolTip(str(self._path))
        self._facts.setText(self.facts() if self.index >= 0 else "")
        self._place.setText(tr("{number} of {count}", number=at + 1, count=len(self._paths)))
        self._previous.setEnabled(at > 0)
        self._next.setEnabled(at < len(self._paths) - 1)

    def done(self, result: int) -> None:
        """Keeps what was done."""
        if self._is_loaded and self.index >= 0:
            self.keep()
        self._is_loaded = False
        super().done(result)

    def _on_loaded(self, loaded: Loaded) -> None:
        if loaded.path == self._path and self.index >= 0:
            self._is_loaded = loaded.image is not None
            self.show_loaded(loaded)

    def _on_scanned(self) -> None:
        self._paths = [path for path in self._paths if self._pictures.index_of(path) >= 0 or path == self._path]
        if self.index < 0:
            self._is_loaded = False
            self.close()
        else:
            self.refresh_head()

    # ---- looks

    def resizeEvent(self, event: QResizeEvent) -> None:
        """A long file name is shortened to the room there is."""
        super().resizeEvent(event)
        self.refresh_head()

    def changeEvent(self, event: QEvent) -> None:
        """Renews the icons in the theme's colours."""
        if event.type() == QEvent.Type.PaletteChange:
            for button, icon in getattr(self, "_icons", ()):
                button.setIcon(theme.icon(icon))
        super().changeEvent(event)


def load(path: Path, background: str) -> tuple[Loaded, Image.Image | None]:
    """A picture upright and no larger than SIDE_PX, for a thread; a file that is gone or broken gives a sentence."""
    try:
        picture = pixels.open_rgb(path, background)
    except DataError as error:
        return Loaded(path, None, tr("{error} It may have been moved.", error=error)), None
    picture.thumbnail((SIDE_PX, SIDE_PX))
    raw = picture.tobytes()
    image = QImage(raw, picture.width, picture.height, 3 * picture.width, QImage.Format.Format_RGB888)
    return Loaded(path, image.convertToFormat(QImage.Format.Format_RGB32)), picture
