"""Downloads a base model from Hugging Face: what it is, how large and where it will be kept; then, if wanted, its progress."""

from __future__ import annotations

import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, QUrl, Signal
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import (
    QDialog,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from app import theme
from app.task_process import TaskProcess
from app.texts import counted, duration, size, tr
from app.widgets.elided_label import ElidedLabel
from app.widgets.named import named
from trainer import hub

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

OFTEN_USED = (
    ("Stable Diffusion 1.5", "stable-diffusion-v1-5/stable-diffusion-v1-5"),
    ("SDXL 1.0", "stabilityai/stable-diffusion-xl-base-1.0"),
)
KB = 1000  # `lora-atelier fetch --json` counts in kilobytes
RATE_WINDOW_S = 15.0  # the speed is that of the last seconds
RATE_FROM_S = 2.0


class FetchDialog(QDialog):
    """One model at a time; the window stays usable meanwhile. Closing stops the download and keeps what is there.

    Signals:
        fetched(str): the model of this name is here, and is wanted.
    """

    fetched = Signal(str)

    def __init__(
        self, name: str = "", parent: QWidget | None = None, often: Sequence[tuple[str, str]] = OFTEN_USED
    ) -> None:
        """name: is looked up at once; often: titles and names to offer."""
        super().__init__(parent)
        self._offered = often
        self.setObjectName("fetch")
        self.setWindowTitle(tr("Model from Hugging Face"))
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._name = ""
        self._offer: dict[str, Any] = {}
        self._samples: deque[tuple[float, int]] = deque()
        self._label = ""
        self._is_closing = False
        self._next: Callable[[], None] = self._look  # what the main button does
        self.task = TaskProcess(self)
        self.task.done.connect(self._on_done)
        self.task.failed.connect(self._on_failed)
        self.task.cancelled.connect(self._on_cancelled)
        self.task.progressed.connect(self._on_progressed)
        self._make()
        self._lay_out()
        self._ask()
        if name:
            self.field.setText(name)
            self._look()

    def _make(self) -> None:
        self.field = named(QLineEdit(), "fetch_name", spoken=tr("Name of the model"))
        self.field.setPlaceholderText(tr("owner/name, or the address of its page"))
        self.field.setClearButtonEnabled(True)
        self.field.textEdited.connect(self._on_edited)
        self._often = QWidget()
        self._card = theme.role(named(QFrame(), "fetch_card"), "card")
        self._title = theme.role(named(QLabel(wordWrap=True), "fetch_title"), "heading")
        self._family = theme.role(named(QLabel(), "fetch_family"), "chip")
        self._size = named(QLabel(wordWrap=True), "fetch_size")
        self._licence = named(QLabel(wordWrap=True), "fetch_licence")
        self._where = ElidedLabel()
        self._where.setObjectName("fetch_where")
        self._page = theme.role(named(QPushButton(tr("Open its page")), "fetch_page"), "link")
        self._page.clicked.connect(self._on_page)
        self._bar = named(QProgressBar(textVisible=False), "fetch_bar", spoken=tr("Progress of the download"))
        self._status = named(QLabel(wordWrap=True), "fetch_status")
        for label in (self._title, self._size, self._licence, self._status):
            label.setTextFormat(Qt.TextFormat.PlainText)
        self._close = named(QPushButton(), "fetch_close")
        self._close.setAutoDefault(False)
        self._close.clicked.connect(self._on_close)
        self._start = theme.role(named(QPushButton(), "fetch_start"), "primary")
        self._start.setDefault(True)
        self._start.clicked.connect(lambda: self._next())

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(*(theme.space(3),) * 4)
        column.setSpacing(theme.space(1.5))
        column.addWidget(theme.role(QLabel(tr("A model from Hugging Face")), "heading"))
        about = tr("It is looked up first; nothing is downloaded before you have seen its size and agree.")
        column.addWidget(theme.role(QLabel(about, wordWrap=True), "muted"))
        column.addWidget(self.field)
        often = QHBoxLayout(self._often)
        often.setContentsMargins(0, 0, 0, 0)
        often.setSpacing(theme.space(1.5))
        often.addWidget(theme.role(QLabel(tr("Often used:")), "muted"))
        for text, name in self._offered:
            link = theme.role(named(QPushButton(text), f"fetch_often_{text}", tip=name), "link")
            link.setAutoDefault(False)
            link.clicked.connect(partial(self._on_often, name))
            often.addWidget(link)
        often.addStretch(1)
        column.addWidget(self._often)
        column.addWidget(self._card)
        self._lay_out_card()
        column.addWidget(self._bar)
        column.addWidget(self._status)
        column.addStretch(1)
        foot = QHBoxLayout()
        foot.setSpacing(theme.space(1))
        foot.addWidget(self._page)
        foot.addStretch(1)
        foot.addWidget(self._close)
        foot.addWidget(self._start)
        column.addLayout(foot)
        self.setMinimumWidth(theme.space(58))

    def _lay_out_card(self) -> None:
        grid = QGridLayout(self._card)
        grid.setContentsMargins(theme.space(2), theme.space(1.5), theme.space(2), theme.space(1.5))
        grid.setHorizontalSpacing(theme.space(2))
        grid.setVerticalSpacing(theme.space(0.75))
        head = QHBoxLayout()
        head.setSpacing(theme.space(1))
        head.addWidget(self._title, 1)
        head.addWidget(self._family, 0, Qt.AlignmentFlag.AlignTop)
        grid.addLayout(head, 0, 0, 1, 2)
        rows = ((tr("Size"), self._size), (tr("Licence"), self._licence), (tr("Kept in"), self._where))
        for row, (text, value) in enumerate(rows, start=1):
            grid.addWidget(theme.role(QLabel(text), "muted"), row, 0, Qt.AlignmentFlag.AlignTop)
            grid.addWidget(value, row, 1)
        grid.setColumnStretch(1, 1)

    # ---- its states

    def _show(
        self, start: str, close: str, action: Callable[[], None], *, card: bool = False, bar: bool = False
    ) -> None:
        """What can be seen and pressed now; an empty `start`: nothing but to wait."""
        self._start.setText(start)
        self._start.setVisible(bool(start))
        self._start.setEnabled(True)
        self._close.setText(close)
        self._next = action
        self._card.setVisible(card)
        self._bar.setVisible(bar)
        self._often.setVisible(not card and not bar and bool(start))
        self._page.setVisible(hub.is_name(self._name) and bool(start))
        self.field.setReadOnly(not start)
        self._fit()

    def _say(self, text: str, role: str = "muted") -> None:
        theme.role(self._status, role)
        self._status.setText(text)
        self._status.setVisible(bool(text))

    def _fit(self) -> None:
        """As high as what is shown, and as wide as the user has it."""
        if (layout := self.layout()) is not None:
            layout.activate()
            self.resize(self.width(), layout.totalHeightForWidth(self.width()))

    def _ask(self, problem: str = "") -> None:
        self._name, self._offer = "", {}
        self._say(problem, "bad")
        self._show(tr("Look up"), tr("Cancel"), self._look)
        self._start.setEnabled(bool(self.field.text().strip()))
        self.field.setFocus()

    def _look(self) -> None:
        name = hub.name_in(self.field.text())
        self.field.setText(name)
        if not hub.is_name(name):
            return self._ask(
                tr('"{name}" is no name of a model on Hugging Face; it should look like owner/name.', name=name)
            )
        self._name, self._offer = name, {}
        self._say(tr("Asking Hugging Face…"))
        self._bar.setRange(0, 0)
        self._show("", tr("Cancel"), self._look, bar=True)
        return self.task.start(["fetch", name, "--look", "--json"])

    def _show_offer(self, said: dict[str, Any]) -> None:
        self._offer = said
        if not said.get("files"):
            self._say(tr("It is on this computer already; Hugging Face could not be asked for a newer version."))
            return self._show(tr("Use it"), tr("Cancel"), self._use)
        total, missing = int(said["total_bytes"]), int(said["missing_bytes"])
        self._title.setText(self._name)
        known = tr("{family} · {size} px", family=said["title"], size=f"{said['resolution']:,}")
        self._family.setText(known if said["resolution"] else said["title"])
        self._family.setVisible(bool(said["title"]))
        self._size.setText(_size_of(total, missing, len(said["files"])))
        licence = said["licence"] or tr("not told")
        gated = tr("{licence}; its owner wants it accepted on the model's page first", licence=licence)
        self._licence.setText(gated if said["gated"] else licence)
        free = tr("{folder}  ({size} free)", folder=said["folder"], size=size(said["free_bytes"]))
        self._where.set_whole(free)
        self._say("")
        if not missing:
            return self._show(tr("Use it"), tr("Cancel"), self._load, card=True)
        if missing > said["free_bytes"]:
            self._say(
                tr("The disk has no room for it. Free some space, or set HF_HOME to a folder on another disk."), "bad"
            )
            return self._show(tr("Look again"), tr("Close"), self._look, card=True)
        text = tr("Go on, {size}") if missing < total else tr("Download {size}")
        return self._show(text.format(size=size(missing)), tr("Cancel"), self._load, card=True)

    def _load(self) -> None:
        self._samples.clear()
        self._bar.setRange(0, 0)
        self._say(tr("Starting…"))
        self._show("", tr("Stop"), self._load, card=True, bar=True)
        self.task.start(["fetch", self._name, "--yes", "--json"])

    def _use(self) -> None:
        self.fetched.emit(self._name)
        self.accept()

    # ---- what happens

    def _on_edited(self) -> None:
        if not self.task.is_running:
            self._ask()

    def _on_often(self, name: str) -> None:
        self.field.setText(name)
        self._look()

    def _on_page(self) -> None:
        QDesktopServices.openUrl(QUrl(hub.page_of(self._name)))

    def _on_done(self, said: dict[str, Any]) -> None:
        if self._is_closing:
            self.reject()
        elif self._offer:
            self._use()
        else:
            self._show_offer(said)

    def _on_failed(self, sentence: str) -> None:
        if self._is_closing:
            return self.reject()
        loading = bool(self._offer)
        self._say(sentence, "bad")
        return self._show(tr("Try again"), tr("Close"), self._load if loading else self._look, card=loading)

    def _on_cancelled(self) -> None:
        if self._is_closing:
            return self.reject()
        if not self._offer:
            return self._ask()
        self._say(tr("Stopped. What is here is kept, and the download goes on from there, also another day."))
        return self._show(tr("Go on"), tr("Close"), self._load, card=True, bar=self._bar.maximum() > 0)

    def _on_progressed(self, label: str, done_kb: int, total_kb: int) -> None:
        now = time.monotonic()
        if label != self._label:  # what is here is checked much faster than it came
            self._label = label
            self._samples.clear()
        self._samples.append((now, done_kb))
        while now - self._samples[0][0] > RATE_WINDOW_S:
            self._samples.popleft()
        self._bar.setRange(0, max(1, total_kb))
        self._bar.setValue(done_kb)
        parts = [tr("{done} of {total}", done=size(done_kb * KB), total=size(total_kb * KB))]
        seconds, arrived = now - self._samples[0][0], done_kb - self._samples[0][1]
        if seconds >= RATE_FROM_S and arrived > 0:
            rate = arrived / seconds
            parts.append(tr("{size} a second", size=size(rate * KB)))
            parts.append(tr("about {time} left", time=duration((total_kb - done_kb) / rate)))
        self._say(" · ".join(parts))

    def _on_close(self) -> None:
        if self.task.is_running:
            self._close.setText(tr("Stopping…"))
            self.task.cancel()
        else:
            self.reject()

    def reject(self) -> None:
        """Closes; a download that is on its way is stopped first, and the dialog goes when it has let go."""
        if self.task.is_running:
            self._is_closing = True
            self._close.setText(tr("Stopping…"))
            self.task.cancel()
        else:
            super().reject()


def _size_of(total: int, missing: int, files: int) -> str:
    whole = tr("{size} in {files}", size=size(total), files=counted(files, "file", "files"))
    if not missing:
        return tr("{whole}; all of it is here already", whole=whole)
    if missing < total:
        return tr("{whole}; {here} of it are here already", whole=whole, here=size(total - missing))
    return whole
