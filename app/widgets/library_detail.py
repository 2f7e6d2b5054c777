"""One run or LoRA file in full: picture, what it says about itself, and what can be done with it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QRectF, QSize, Qt, QUrl, Signal
from PySide6.QtGui import QDesktopServices, QGuiApplication, QPainter, QPainterPath, QPaintEvent
from PySide6.QtWidgets import (
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app import library_details, theme
from app.background import Background
from app.texts import size, tr
from app.widgets.named import named
from app.widgets.scrolling import scrolling
from trainer.errors import AtelierError

if TYPE_CHECKING:
    from app.library import Entry
    from app.widgets.picture_loader import PictureLoader
    from trainer.lora_description import Description


@dataclass(frozen=True)
class _Told:
    entry: Entry
    description: Description | None
    problem: str = ""


class LibraryDetail(QFrame):
    """The panel beside the list. Its first button is what is usually wanted; the page gives `tools` its menu.

    Signals:
        resultsWanted, continueWanted, settingsWanted, furtherWanted, removeWanted(Entry): a button was pressed.
    """

    resultsWanted = Signal(object)
    continueWanted = Signal(object)
    settingsWanted = Signal(object)
    furtherWanted = Signal(object)
    removeWanted = Signal(object)

    def __init__(self, loader: PictureLoader, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        theme.role(named(self, "library_detail"), "card")
        self._entry: Entry | None = None
        self._reader = Background("library details")
        self._reader.done.connect(self._on_told)
        self._picture = _Cover(loader)
        self._title = theme.role(named(QLabel(wordWrap=True), "detail_title"), "heading")
        self._state = named(QLabel(wordWrap=True), "detail_state")
        self._problem = theme.role(named(QLabel(wordWrap=True), "detail_problem"), "bad")
        self._make_trigger()
        self._make_buttons()
        self._lay_out()
        self._restyle()

    @property
    def entry(self) -> Entry | None:
        """What is shown."""
        return self._entry

    def show_entry(self, entry: Entry | None) -> None:
        """Shows another entry; its details come when they are read."""
        same = entry is not None and self._entry is not None and entry.path == self._entry.path
        self._entry = entry
        self.setVisible(entry is not None)
        if entry is None:
            return
        word, colour = library_details.state(entry)
        self._picture.show_entry(entry)
        self._title.setText(entry.title)
        self._state.setText(
            " · ".join(part for part in (word, library_details.progress(entry), size(entry.size_bytes)) if part)
        )
        theme.role(self._state, colour if colour in ("good", "warn", "bad") else "muted")
        self._problem.setText(entry.problem)
        self._problem.setVisible(bool(entry.problem))
        self._trigger.setText(entry.trigger)
        self._trigger_row.setVisible(bool(entry.trigger))
        self._arrange_buttons(entry)
        if not same:
            self._show_rows({})
        self._reader.drop_waiting()
        self._reader.run(lambda: _told(entry))

    def do_the_usual(self) -> None:
        """Presses the first button."""
        self._first.click()

    # ---- building

    def _make_trigger(self) -> None:
        self._trigger_row = QWidget()
        self._trigger = theme.role(named(QLabel(wordWrap=True), "detail_trigger"), "chip")
        self._trigger.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._copy = named(
            QToolButton(), "detail_copy_trigger", tip=tr("Copy the trigger words"), spoken=tr("Copy the trigger words")
        )
        self._copy.clicked.connect(lambda: QGuiApplication.clipboard().setText(self._trigger.text()))
        row = QHBoxLayout(self._trigger_row)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._trigger)
        row.addWidget(self._copy)
        row.addStretch(1)

    def _make_buttons(self) -> None:
        self._results = named(QPushButton(tr("See results")), "detail_results")
        self._continue = named(
            QPushButton(tr("Continue")), "detail_continue", tip=tr("Trains on from the last checkpoint")
        )
        self._further = named(
            QPushButton(tr("Train it further")), "detail_further", tip=tr("The open project goes on from this file")
        )
        self._settings = named(
            QPushButton(tr("Use its settings")),
            "detail_settings",
            tip=tr("A new project with the settings of this one"),
        )
        self.tools = named(
            QPushButton(tr("Tools")), "detail_tools", tip=tr("Make it smaller, mix it, convert it, put it into a model")
        )
        self._folder = theme.role(named(QPushButton(tr("Open folder")), "detail_folder"), "quiet")
        self._remove = theme.role(named(QPushButton(), "detail_remove"), "quiet")
        self._first = self._settings
        for button, signal in (
            (self._results, self.resultsWanted), (self._continue, self.continueWanted), (self._further, self.furtherWanted),
            (self._settings, self.settingsWanted), (self._remove, self.removeWanted),
        ):  # fmt: skip
            button.clicked.connect(lambda _checked=False, signal=signal: signal.emit(self._entry))
        self._folder.clicked.connect(self._on_folder)

    def _lay_out(self) -> None:
        inner = QWidget()
        column = QVBoxLayout(inner)
        column.setContentsMargins(0, 0, theme.space(0.5), 0)
        column.setSpacing(theme.space(1))
        for widget in (self._picture, self._title, self._state, self._trigger_row, self._problem):
            column.addWidget(widget)
        self._buttons = QVBoxLayout()
        self._buttons.setSpacing(theme.space(0.75))
        for button in (self._results, self._continue, self._further, self._settings, self.tools):
            self._buttons.addWidget(button)
        column.addLayout(self._buttons)
        small = QHBoxLayout()
        small.addWidget(self._folder)
        small.addStretch(1)
        small.addWidget(self._remove)
        column.addLayout(small)
        self._rows = QVBoxLayout()
        column.addLayout(self._rows)
        column.addStretch(1)
        scroll = scrolling(inner)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(theme.space(1.75), theme.space(1.75), theme.space(1.25), theme.space(1.25))
        whole.addWidget(scroll)

    def _arrange_buttons(self, entry: Entry) -> None:
        """Those that fit, the usual one first and in the accent colour."""
        has_results = entry.kind == "run" and entry.has_checkpoints
        shown = {
            self._continue: entry.can_continue and not entry.problem, self._results: has_results or entry.run is not None,
            self._further: entry.kind == "lora" and not entry.problem, self._settings: not entry.problem,
        }  # fmt: skip
        for button, fits in shown.items():
            button.setVisible(fits)
            theme.role(button, "")
        self.tools.setVisible(entry.kind == "lora" and not entry.problem)
        is_complete = not entry.can_continue or entry.step >= entry.total_steps > 0
        order = (self._results, self._continue, self._further, self._settings) if is_complete else tuple(shown)
        self._first = next(
            (b for b in order if shown[b] and not (b is self._results and entry.kind == "lora")), self._folder
        )
        if self._first is not self._folder:
            theme.role(self._first, "primary")
            self._buttons.removeWidget(self._first)
            self._buttons.insertWidget(0, self._first)
        self._continue.setText(
            tr("Continue from step {step}", step=f"{entry.step:,}") if entry.step else tr("Start it again")
        )
        self._remove.setText(tr("Take off the list") if entry.added else tr("Delete…"))
        self._remove.setToolTip(tr("The file stays where it is") if entry.added else tr("Moves it to the trash"))
        self._remove.setEnabled(not entry.is_active)

    def changeEvent(self, event: QEvent) -> None:
        """Renews the icons in the theme's colours."""
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "_remove"):
            self._restyle()
        super().changeEvent(event)

    def _restyle(self) -> None:
        self._copy.setIcon(theme.icon("copy"))
        self._folder.setIcon(theme.icon("folder"))
        self._remove.setIcon(theme.icon("trash"))

    # ---- inside

    def _on_folder(self) -> None:
        if self._entry is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._entry.folder)))

    def _on_told(self, told: _Told) -> None:
        if self._entry is None or told.entry.path != self._entry.path:
            return
        if told.problem and not self._entry.problem:
            self._problem.setText(told.problem)
            self._problem.show()
        self._show_rows(told.description.rows if told.description is not None else {})

    def _show_rows(self, rows: dict[str, list[tuple[str, str]]]) -> None:
        while (item := self._rows.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.hide()
                widget.deleteLater()
        for heading, pairs in rows.items():
            if not pairs:
                continue
            block = QWidget()
            form = QFormLayout(block)
            form.setContentsMargins(0, theme.space(1), 0, 0)
            form.setVerticalSpacing(theme.space(0.5))
            form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
            form.addRow(theme.role(QLabel(heading), "heading"))
            for name, value in pairs:
                shown = _breakable(value)
                label = QLabel(shown, wordWrap=True, textFormat=Qt.TextFormat.PlainText)
                label.setMinimumWidth(1)  # a word that cannot be broken must not widen the panel
                if shown == value:  # otherwise invisible characters would be copied along
                    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
                else:
                    label.setToolTip(value)
                form.addRow(theme.role(QLabel(name), "muted"), label)
            self._rows.addWidget(block)


class _Cover(QWidget):
    """The entry's picture across the panel; away when it has none."""

    def __init__(self, loader: PictureLoader) -> None:
        super().__init__()
        self._loader = loader
        self._entry: Entry | None = None
        loader.loaded.connect(self._on_loaded)

    def show_entry(self, entry: Entry) -> None:
        self._entry = entry
        self.setVisible(entry.picture is not None)
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(theme.space(24), theme.space(18))

    def minimumSizeHint(self) -> QSize:
        return QSize(theme.space(12), theme.space(18))

    def paintEvent(self, event: QPaintEvent) -> None:
        if self._entry is None or self._entry.picture is None:
            return
        painter = QPainter(self)
        painter.setRenderHints(QPainter.RenderHint.Antialiasing | QPainter.RenderHint.SmoothPixmapTransform)
        clip, area = QPainterPath(), QRectF(self.rect())
        clip.addRoundedRect(area, 8, 8)
        painter.setClipPath(clip)
        painter.fillRect(area, theme.colour("raised"))
        pixmap = self._loader.get(self._entry.picture, round(self.width() * self.devicePixelRatioF()))
        if pixmap is not None and not pixmap.isNull():
            place = QRectF(
                area.topLeft(), pixmap.size().toSizeF().scaled(area.size(), Qt.AspectRatioMode.KeepAspectRatio)
            )
            place.moveCenter(area.center())
            painter.drawPixmap(place, pixmap, QRectF(pixmap.rect()))

    def _on_loaded(self, path: object) -> None:
        self.update()


def _told(entry: Entry) -> _Told:
    try:
        return _Told(entry, library_details.describe(entry))
    except AtelierError as error:
        return _Told(entry, None, str(error))


def _breakable(text: str) -> str:
    """Long words, as paths are, can break after their separators."""
    return " ".join(
        re.sub(r"([^\w\s]|_)(?=\w)", "\\1\u200b", word) if len(word) > 20 else word for word in text.split(" ")
    )
