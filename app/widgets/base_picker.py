"""The base model as a card: what it is, where it is, and another one to choose."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFileDialog, QFrame, QHBoxLayout, QLabel, QMenu, QPushButton, QVBoxLayout, QWidget

from app import recent, theme
from app.base_fit import BaseDetective, Found, title
from app.errors import log
from app.texts import tr
from app.widgets.drop_zone import dropped_paths
from app.widgets.elided_label import ElidedLabel
from app.widgets.fetch_dialog import FetchDialog
from app.widgets.named import named
from trainer import hub
from trainer.settings import DEMO

if TYPE_CHECKING:
    from PySide6.QtCore import QEvent
    from PySide6.QtGui import QDragEnterEvent, QDropEvent


FILE_SUFFIXES = (".safetensors", ".ckpt")


class BasePicker(QFrame):
    """Shows a base model and lets the user choose another: demo, folder, file, a name, a recent one, or by dropping it.

    Signals:
        chosen(str): the user chose this base; the owner shows it with `set_base`.
        found(Found): what the shown base is became known.
        fetched: the base that is shown was downloaded just now.
    """

    chosen = Signal(str)
    found = Signal(object)
    fetched = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("base_picker")
        theme.role(self, "card")
        self.setAcceptDrops(True)
        self._base: str | None = None
        self._detective = BaseDetective(self)
        self._detective.found.connect(self._on_found)
        self._picture = QLabel()
        self._name = theme.role(named(QLabel(), "base_name"), "heading")
        self._family = theme.role(named(QLabel(), "base_family"), "chip")
        self._where = theme.role(ElidedLabel(), "muted")
        self._where.setObjectName("base_where")
        self._error = theme.role(named(QLabel(wordWrap=True), "base_error"), "bad")
        self._error.setTextFormat(Qt.TextFormat.PlainText)
        self._fetch = named(QPushButton(tr("Download…")), "base_fetch", tip=tr("See its size first, then download it"))
        theme.role(self._fetch, "primary").clicked.connect(self._on_fetch)
        self._dialog: FetchDialog | None = None
        self._change = named(QPushButton(tr("Change…")), "base_change")
        self._change.setAccessibleName(tr("Choose another base model"))
        self._menu = QMenu(self)
        self._menu.aboutToShow.connect(self._fill_menu)
        self._change.setMenu(self._menu)
        self._lay_out()
        self._restyle()

    def _lay_out(self) -> None:
        head = QHBoxLayout()
        head.setSpacing(theme.space(1))
        head.addWidget(self._name)
        head.addWidget(self._family)
        head.addStretch(1)
        words = QVBoxLayout()
        words.setSpacing(theme.space(0.5))
        words.addLayout(head)
        words.addWidget(self._where)
        words.addWidget(self._error)
        row = QHBoxLayout(self)
        row.setContentsMargins(theme.space(2), theme.space(1.5), theme.space(2), theme.space(1.5))
        row.setSpacing(theme.space(2))
        row.addWidget(self._picture, 0, Qt.AlignmentFlag.AlignTop)
        row.addLayout(words, 1)
        row.addWidget(self._fetch, 0, Qt.AlignmentFlag.AlignTop)
        row.addWidget(self._change, 0, Qt.AlignmentFlag.AlignTop)
        self.setFocusProxy(self._change)

    def base(self) -> str:
        """The base that is shown."""
        return self._base or ""

    def set_base(self, base: str) -> None:
        """Shows a base and looks at it in the background. Emits only `found`, when it is known."""
        if base == self._base:
            return
        self._base = base
        self._fetch.hide()
        self._name.setText(title(base) if base else tr("No base model"))
        shown = tr("Ships with the app: tiny, learns in minutes, for trying things out.") if base == DEMO else base
        self._where.set_whole(shown or tr("Choose the model that you want to teach."))
        self._family.hide()
        self._show_error("")
        self._change.setText(tr("Change…") if base else tr("Choose…"))
        theme.role(self._change, "" if base else "primary")
        if base:
            self._detective.ask(base)

    def set_error(self, sentence: str) -> None:
        """A mistake in the setting itself, e.g. that it is no text."""
        if sentence:
            self._show_error(sentence)

    def _show_error(self, sentence: str, role: str = "bad") -> None:
        theme.role(self._error, role)
        self._error.setText(sentence)
        self._error.setVisible(bool(sentence))

    def _on_found(self, found: Found) -> None:
        self._show_error(found.error, "muted" if found.can_be_fetched else "bad")
        self._fetch.setVisible(found.can_be_fetched)
        self._family.setVisible(found.family is not None)
        if found.family is not None:
            self._family.setText(tr("{family} · {size} px", family=found.family.title, size=f"{found.resolution:,}"))
            if found.base != DEMO:
                self._remember(found.base)
        self.found.emit(found)

    def _remember(self, base: str) -> None:
        try:
            recent.add_base(base)
        except OSError as error:  # the list is a comfort; training works without it
            log(f"The list of recent base models cannot be written: {error}")

    # ---- choosing

    def _fill_menu(self) -> None:
        self._menu.clear()
        self._menu.addAction(tr("Demo model"), lambda: self._choose(DEMO)).setObjectName("base_demo")
        self._menu.addSeparator()
        self._menu.addAction(theme.icon("folder"), tr("Choose a folder…"), self._on_folder).setObjectName("base_folder")
        self._menu.addAction(theme.icon("picture"), tr("Choose a file…"), self._on_file).setObjectName("base_file")
        hugging_face = self._menu.addAction(theme.icon("down"), tr("From Hugging Face…"), self._on_hub)
        hugging_face.setObjectName("base_hub")
        used = [p for p in recent.bases() if p != self._base]
        if used:
            self._menu.addSeparator()
            self._menu.addAction(tr("Recent")).setEnabled(False)
        for path in used:
            action = self._menu.addAction(title(path).replace("&", "&&"), partial(self._choose, path))
            action.setToolTip(path)
        self._menu.setToolTipsVisible(True)

    def _on_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, tr("Choose a base model: a diffusers folder"), self._start())
        if folder:
            self._choose(folder)

    def _on_file(self) -> None:
        pattern = tr("Models ({patterns})", patterns=" ".join(f"*{suffix}" for suffix in FILE_SUFFIXES))
        path, _ = QFileDialog.getOpenFileName(self, tr("Choose a base model"), self._start(), pattern)
        if path:
            self._choose(path)

    def _on_hub(self) -> None:
        self._open_dialog("")

    def _on_fetch(self) -> None:
        self._open_dialog(self.base())

    def _open_dialog(self, name: str) -> None:
        """One at a time: it may be in the middle of a download."""
        if self._dialog is None:
            self._dialog = FetchDialog(name, self.window())
            self._dialog.fetched.connect(self._on_fetched)
            self._dialog.finished.connect(self._on_dialog_finished)
            self._dialog.show()
        self._dialog.raise_()
        self._dialog.activateWindow()

    def _on_dialog_finished(self) -> None:
        self._dialog = None

    def _on_fetched(self, name: str) -> None:
        if name != self._base:
            self.chosen.emit(name)
            return
        self._base = None
        self.set_base(name)
        self.fetched.emit()

    def _start(self) -> str:
        return "" if self.base() in ("", DEMO) or hub.is_name(self.base()) else str(Path(self.base()).parent)

    def _choose(self, base: str) -> None:
        if base != self._base:
            self.chosen.emit(base)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Takes one model; pictures and the rest are left to the window."""
        paths = dropped_paths(event.mimeData())
        if len(paths) == 1 and _may_be_model(paths[0]):
            event.acceptProposedAction()
        else:
            event.ignore()

    def dropEvent(self, event: QDropEvent) -> None:
        """Chooses what was dropped; what it is, is found out later."""
        event.acceptProposedAction()
        self._choose(str(dropped_paths(event.mimeData())[0]))

    def changeEvent(self, event: QEvent) -> None:
        """Renews the icon in the theme's colours."""
        if event.type() == event.Type.PaletteChange and hasattr(self, "_picture"):
            self._restyle()
        super().changeEvent(event)

    def _restyle(self) -> None:
        self._picture.setPixmap(theme.pixmap("library", theme.space(3), "accent"))


def _may_be_model(path: Path) -> bool:
    """Whether it looks like a base model, from its name and what lies in it; nothing is read."""
    if path.suffix.lower() in FILE_SUFFIXES:
        return True
    return any((path / part).exists() for part in ("model_index.json", "unet"))
