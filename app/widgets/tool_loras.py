"""LoRAs with a weight each: picture, name, slider and number, to be merged or baked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QPainter, QPainterPath, QPaintEvent
from PySide6.QtWidgets import (
    QDoubleSpinBox,
    QFileDialog,
    QFrame,
    QGridLayout,
    QMenu,
    QPushButton,
    QSlider,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app import places, theme
from app.field_base import NoStrayWheel
from app.texts import tr
from app.widgets.drop_zone import dropped_paths
from app.widgets.elided_label import ElidedLabel
from app.widgets.named import named
from app.widgets.tool_form import about_file
from trainer.run_folder import safe_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PySide6.QtGui import QDragEnterEvent, QDropEvent

    from app.library import Entry
    from app.lora_facts import Facts
    from app.widgets.picture_loader import PictureLoader

MOST = 2.0  # a weight, either way
OFFERED = 15  # LoRAs of the library in the menu


class LoraList(QWidget):
    """Rows that come and go.

    Signals:
        changed: another LoRA or another weight.
    """

    changed = Signal()

    def __init__(self, loader: PictureLoader, known: Sequence[Entry]) -> None:
        """known: the LoRAs that the library lists, the newest first."""
        super().__init__()
        self._loader = loader
        self._known = {entry.path: entry for entry in known}
        self._rows: list[_Row] = []
        self.setAcceptDrops(True)
        self.add_button = named(QPushButton(tr("Add a LoRA")), "tool_add_lora")
        self._menu = named(QMenu(self), "tool_add_menu")
        self._menu.aboutToShow.connect(self._fill_menu)
        self.add_button.setMenu(self._menu)
        self.add_button.setAutoDefault(False)
        self._column = QVBoxLayout()
        self._column.setSpacing(theme.space(0.75))
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(theme.space(1))
        whole.addLayout(self._column)
        whole.addWidget(self.add_button, 0, Qt.AlignmentFlag.AlignLeft)
        self._restyle()

    @property
    def paths(self) -> list[Path]:
        """The files, in order."""
        return [row.path for row in self._rows]

    @property
    def weights(self) -> list[float]:
        """One for each file."""
        return [row.weight.value() for row in self._rows]

    @property
    def words(self) -> list[str]:
        """FILE:WEIGHT for the sub-commands."""
        return [f"{row.path}:{row.weight.value():g}" for row in self._rows]

    def title(self, path: Path) -> str:
        """A LoRA's name for people."""
        return next((row.title for row in self._rows if row.path == path), path.stem)

    def add(self, paths: Sequence[Path]) -> None:
        """Adds files that are not there yet."""
        for path in dict.fromkeys(paths):
            if path in self.paths:
                continue
            row = _Row(path, self._known.get(path), self._loader)
            row.weight.valueChanged.connect(self.changed)
            row.remove.clicked.connect(lambda _checked=False, row=row: self._on_remove(row))
            self._rows.append(row)
            self._column.addWidget(row)
            row.show()  # its size counts at once
        self.changed.emit()

    def tell(self, facts: Facts) -> None:
        """What a file is has become known."""
        for row in self._rows:
            if row.path == facts.path:
                row.tell(facts)

    def first_field(self) -> QWidget:
        """The first weight, or the button."""
        return self._rows[0].slider if self._rows else self.add_button

    def _on_remove(self, row: _Row) -> None:
        at = self._rows.index(row)
        self._rows.remove(row)
        self._column.removeWidget(row)
        row.hide()
        row.deleteLater()
        next_one = self._rows[min(at, len(self._rows) - 1)].remove if self._rows else self.add_button
        next_one.setFocus()
        self.changed.emit()

    def _fill_menu(self) -> None:
        self._menu.clear()
        others = [entry for path, entry in self._known.items() if path not in self.paths]
        for i, entry in enumerate(others[:OFFERED]):
            names = " · ".join(part for part in (entry.title, _other_name(entry.path, entry.title)) if part)
            action = self._menu.addAction(names.replace("&", "&&"))
            action.setObjectName(f"tool_add_{i}")
            action.triggered.connect(lambda _checked=False, path=entry.path: self.add([path]))
        if others:
            self._menu.addSeparator()
        action = self._menu.addAction(theme.icon("folder"), tr("Choose a file…"))
        action.setObjectName("tool_add_file")
        action.triggered.connect(self._on_choose)

    def _on_choose(self) -> None:
        start = self.paths[-1].parent if self.paths else places.exports()
        names, _ = QFileDialog.getOpenFileNames(
            self, tr("Choose LoRA files"), str(start), tr("LoRA files (*.safetensors)")
        )
        self.add([Path(name) for name in names])

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Takes LoRA files."""
        if any(path.suffix == ".safetensors" for path in dropped_paths(event.mimeData())):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Adds what was dropped."""
        event.acceptProposedAction()
        self.add([path for path in dropped_paths(event.mimeData()) if path.suffix == ".safetensors"])

    def changeEvent(self, event: QEvent) -> None:
        """Renews the icon in the theme's colours."""
        if event.type() == QEvent.Type.PaletteChange:
            self._restyle()
        super().changeEvent(event)

    def _restyle(self) -> None:
        self.add_button.setIcon(theme.icon("plus"))


def _other_name(path: Path, title: str) -> str:
    """The file's name where its title does not tell it, as after a resize."""
    return "" if path.stem in (title, safe_name(title)) else path.stem


class _Row(QFrame):
    """One LoRA."""

    def __init__(self, path: Path, entry: Entry | None, loader: PictureLoader) -> None:
        super().__init__()
        theme.role(named(self, "tool_lora"), "card")
        self.path = path
        self.title = entry.title if entry is not None else path.stem
        self._name = ElidedLabel()
        self._about = theme.role(ElidedLabel(), "muted")
        self.slider = named(QSlider(Qt.Orientation.Horizontal), "tool_weight_slider")
        self.slider.setRange(round(-MOST * 100), round(MOST * 100))
        self.slider.setSingleStep(5)
        self.slider.setPageStep(25)
        self.slider.setMinimumWidth(theme.space(14))
        self.slider.setMinimumHeight(theme.space(3))
        self.weight = named(QDoubleSpinBox(minimum=-MOST, maximum=MOST, decimals=2, singleStep=0.05), "tool_weight")
        self.weight.setAlignment(Qt.AlignmentFlag.AlignRight)
        for widget in (self.slider, self.weight):
            widget.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
            widget.installEventFilter(NoStrayWheel(widget))
        self.remove = named(QToolButton(), "tool_remove_lora")
        self.slider.valueChanged.connect(lambda value: self.weight.setValue(value / 100))
        self.weight.valueChanged.connect(lambda value: self.slider.setValue(round(value * 100)))
        self.weight.setValue(1.0)
        self._thumb = _Thumb(loader, entry.picture if entry is not None else None)
        grid = QGridLayout(self)
        grid.setContentsMargins(theme.space(1), theme.space(0.75), theme.space(0.75), theme.space(0.75))
        grid.setHorizontalSpacing(theme.space(1.25))
        grid.setVerticalSpacing(0)
        grid.addWidget(self._thumb, 0, 0, 2, 1)
        grid.addWidget(self._name, 0, 1, Qt.AlignmentFlag.AlignBottom)
        grid.addWidget(self._about, 1, 1, Qt.AlignmentFlag.AlignTop)
        for column, control in enumerate((self.slider, self.weight, self.remove), start=2):
            grid.addWidget(control, 0, column, 2, 1, Qt.AlignmentFlag.AlignVCenter)
        grid.setColumnStretch(1, 1)
        self._name_all()
        self._restyle()

    def tell(self, facts: Facts) -> None:
        self.title = facts.title
        self._name_all()
        names = (_other_name(self.path, facts.title), about_file(facts))
        self._about.set_whole(facts.problem or " · ".join(name for name in names if name))
        theme.role(self._about, "bad" if facts.problem else "muted")

    def _name_all(self) -> None:
        self._name.set_whole(self.title)
        self._name.setToolTip(str(self.path))
        for widget in (self.slider, self.weight):
            widget.setAccessibleName(tr("Weight of {title}", title=self.title))
            widget.setToolTip(tr("1 is its full strength, 0.5 half of it; below 0 it does the opposite"))
        self.remove.setAccessibleName(tr("Take {title} away", title=self.title))
        self.remove.setToolTip(tr("Take it away"))

    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.PaletteChange:
            self._restyle()
        super().changeEvent(event)

    def _restyle(self) -> None:
        self.remove.setIcon(theme.icon("close", "muted"))


class _Thumb(QWidget):
    """The LoRA's picture, cut to a square."""

    def __init__(self, loader: PictureLoader, picture: Path | None) -> None:
        super().__init__()
        self._loader, self._picture = loader, picture
        self.setFixedSize(QSize(theme.space(5), theme.space(5)))
        loader.loaded.connect(self._on_loaded)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHints(QPainter.RenderHint.Antialiasing | QPainter.RenderHint.SmoothPixmapTransform)
        area, clip = QRectF(self.rect()), QPainterPath()
        clip.addRoundedRect(area, 6, 6)
        painter.setClipPath(clip)
        painter.fillRect(area, theme.colour("raised"))
        pixmap = (
            self._loader.get(self._picture, round(self.width() * self.devicePixelRatioF())) if self._picture else None
        )
        if pixmap is None or pixmap.isNull():
            pixmap, box = theme.pixmap("picture", theme.space(2.5), "muted"), QSize(theme.space(2.5), theme.space(2.5))
        else:
            box = pixmap.size().scaled(self.size(), Qt.AspectRatioMode.KeepAspectRatioByExpanding)
        place = QRectF(0, 0, box.width(), box.height())
        place.moveCenter(area.center())
        painter.drawPixmap(place, pixmap, QRectF(pixmap.rect()))

    def _on_loaded(self, path: object) -> None:
        if path == self._picture:
            self.update()
