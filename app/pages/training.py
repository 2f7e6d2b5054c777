"""The training page: one run as it happens, or as it ended. It shows; what happens to runs is decided elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, Qt, QTimer, QUrl, Signal
from PySide6.QtGui import QDesktopServices, QShowEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QSplitter, QStackedLayout, QVBoxLayout, QWidget

from app import theme
from app.texts import tr
from app.widgets.log_drawer import LogDrawer
from app.widgets.loss_plot import LossPlot
from app.widgets.named import named
from app.widgets.preview_timeline import PreviewTimeline
from app.widgets.run_cards import EndCard, Hints
from app.widgets.run_header import RunHeader
from trainer import events as e
from trainer.errors import AtelierError

if TYPE_CHECKING:
    from app.run_controller import RunController

REFRESH_MS = 120  # however many events come in, the page is brought up to date at most so often


class TrainingPage(QWidget):
    """Shows the run of a controller.

    Attributes:
        queue_box: an empty widget with a vertical layout at the page's right, for the queue.

    Signals:
        resultsWanted(RunFolder): choose a checkpoint of this run and export it.
        resumeRequested(RunController): start this run again, from its last checkpoint if it has one.
    """

    resultsWanted = Signal(object)
    resumeRequested = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("training_page")
        self._controller: RunController | None = None
        self._previews_changed = False
        self._timer = QTimer(self, singleShot=True, interval=REFRESH_MS)
        self._timer.timeout.connect(self._on_due)
        self.header = RunHeader()
        self.end_card = EndCard()
        self.hints = Hints()
        self.timeline = PreviewTimeline()
        self.plot = LossPlot()
        self.log = LogDrawer()
        self.queue_box = _QueueBox()
        self._lay_out()
        self.end_card.resumeClicked.connect(self._on_resume)
        self.end_card.resultsClicked.connect(self._on_results)
        self.end_card.logClicked.connect(lambda: self.log.set_open(True))
        self.end_card.folderClicked.connect(self._on_folder)
        self.show_run(None)

    # ---- what the window uses

    def show_run(self, controller: RunController | None) -> None:
        """Shows another run, or that there is none."""
        if self._controller is not None and self._controller is not controller:
            self._leave(self._controller)
        new = controller is not self._controller
        self._controller = controller
        self._layers.setCurrentWidget(self._empty if controller is None else self._full)
        title, prompts = _title_and_prompts(controller)
        self.header.set_controller(controller, title)
        self.hints.forget()
        self.plot.set_record(controller.record if controller is not None else None, title)
        self.timeline.set_record(controller.record if controller is not None else None, prompts)
        self.log.set_path(controller.folder.log_path if controller is not None else None)
        if controller is not None:
            if new:
                controller.eventTaken.connect(self._on_event)
                controller.stateChanged.connect(self._on_state_changed)
                controller.ended.connect(self._on_ended)
            self._show_state()
            self.hints.show_hints(controller.record.warnings)

    @property
    def controller(self) -> RunController | None:
        """The run that is shown."""
        return self._controller

    # ---- Qt

    def showEvent(self, event: QShowEvent) -> None:
        """What came while another page was shown is drawn now."""
        super().showEvent(event)
        self._previews_changed = True
        self._timer.start(0)

    def changeEvent(self, event: QEvent) -> None:
        """Another theme."""
        if event.type() == QEvent.Type.PaletteChange:
            self._paint_signs()
        super().changeEvent(event)

    # ---- building

    def _lay_out(self) -> None:
        self._full, self._empty = self._make_full(), self._make_empty()
        stack = QWidget()
        self._layers = QStackedLayout(stack)
        self._layers.addWidget(self._empty)
        self._layers.addWidget(self._full)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(stack, 1)

    def _make_full(self) -> QWidget:
        top = QVBoxLayout()
        top.setContentsMargins(theme.space(3), theme.space(2), theme.space(3), theme.space(1.5))
        top.setSpacing(theme.space(1.25))
        for widget in (self.header, self.hints, self.end_card):
            top.addWidget(widget)
        top.addWidget(self._make_body(), 1)
        full = QWidget()
        column = QVBoxLayout(full)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addLayout(top, 1)
        column.addWidget(self.log)
        return full

    def _make_body(self) -> QSplitter:
        right = QWidget()
        column = QVBoxLayout(right)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(_card(self.plot), 1)
        column.addWidget(self.queue_box)
        body = named(QSplitter(Qt.Orientation.Horizontal, childrenCollapsible=False), "training_body")
        body.setHandleWidth(theme.space(1.5))
        body.addWidget(_card(self.timeline))
        body.addWidget(right)
        body.setStretchFactor(0, 8)
        body.setStretchFactor(1, 5)
        body.setSizes([800, 500])
        return body

    def _make_empty(self) -> QWidget:
        self._signs: list[tuple[QLabel, str]] = []
        empty = named(QWidget(), "training_empty")
        column = QVBoxLayout(empty)
        column.setContentsMargins(theme.space(4), theme.space(4), theme.space(4), theme.space(4))
        column.setSpacing(theme.space(1.5))
        column.addStretch(2)
        for label in (
            theme.role(QLabel(tr("Nothing is training yet")), "title"),
            theme.role(QLabel(tr("Press Train below, and watch your LoRA learn here."), wordWrap=True), "muted"),
        ):
            label.setAlignment(Qt.AlignmentFlag.AlignCenter)
            column.addWidget(label)
        column.addSpacing(theme.space(2))
        cards = QHBoxLayout()
        cards.setSpacing(theme.space(2))
        cards.addStretch(1)
        for sign, heading, words in (
            (
                "picture",
                tr("Previews"),
                tr("The same prompts drawn again and again, so that you see your subject appear."),
            ),
            (
                "training",
                tr("Progress"),
                tr("How far it is, how long it still takes, and a curve of how well it learns."),
            ),
            ("pause", tr("Control"), tr("Pause, save or stop at any time; what was learned is kept.")),
        ):
            cards.addWidget(self._make_promise(sign, heading, words))
        cards.addStretch(1)
        column.addLayout(cards)
        column.addStretch(3)
        self._paint_signs()
        return empty

    def _make_promise(self, sign: str, heading: str, words: str) -> QFrame:
        card = theme.role(QFrame(), "card")
        card.setFixedWidth(theme.space(29))
        column = QVBoxLayout(card)
        column.setContentsMargins(theme.space(2), theme.space(2), theme.space(2), theme.space(2))
        column.setSpacing(theme.space(1))
        picture = QLabel()
        self._signs.append((picture, sign))
        column.addWidget(picture)
        column.addWidget(theme.role(QLabel(heading), "heading"))
        column.addWidget(theme.role(QLabel(words, wordWrap=True), "muted"))
        column.addStretch(1)
        return card

    def _paint_signs(self) -> None:
        for label, sign in getattr(self, "_signs", ()):
            label.setPixmap(theme.pixmap(sign, 28, "accent"))

    # ---- the run

    def _leave(self, controller: RunController) -> None:
        controller.eventTaken.disconnect(self._on_event)
        controller.stateChanged.disconnect(self._on_state_changed)
        controller.ended.disconnect(self._on_ended)

    def _show_state(self) -> None:
        assert self._controller is not None
        ended = not self._controller.is_running and not self._controller.record.is_active
        self.header.show_state()
        self.header.refresh()
        self.end_card.setVisible(ended)
        if ended:
            self.end_card.show_end(self._controller)

    def _refresh_soon(self) -> None:
        if not self._timer.isActive():
            self._timer.start(REFRESH_MS)

    def _on_event(self, event: e.Event) -> None:
        if isinstance(event, e.PreviewDrawn) and self._controller is not None:
            self.timeline.loader.forget(self._controller.folder.path / event.path)
            self._previews_changed = True
        if isinstance(event, (e.PreviewDrawn, e.CheckpointSaved)):
            self.header.command_done()
        self._refresh_soon()

    def _on_due(self) -> None:
        if self._controller is None or not self.isVisible():
            return
        self.header.refresh()
        self.plot.refresh()
        self.hints.show_hints(self._controller.record.warnings)
        if self._previews_changed:
            self._previews_changed = False
            self.timeline.refresh()

    def _on_state_changed(self, _state: str) -> None:
        self._show_state()

    def _on_ended(self) -> None:
        self._previews_changed = True
        self._show_state()
        self._refresh_soon()

    def _on_resume(self) -> None:
        if self._controller is not None:
            self.resumeRequested.emit(self._controller)

    def _on_results(self) -> None:
        if self._controller is not None:
            self.resultsWanted.emit(self._controller.folder)

    def _on_folder(self) -> None:
        if self._controller is not None:
            path = self._controller.folder.path
            if not QDesktopServices.openUrl(QUrl.fromLocalFile(str(path))):
                self.header.say(tr("The folder cannot be opened; it is {path}", path=path))


class _QueueBox(QWidget):
    """Takes no room, not even a margin, while nothing in it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("queue_box")
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)

    def add(self, widget: QWidget) -> None:
        """Puts a widget into the box."""
        self._column.addWidget(widget)

    def event(self, event: QEvent) -> bool:
        """Something in it is shown or hidden."""
        layout = self.layout()
        if event.type() == QEvent.Type.LayoutRequest and layout is not None:
            layout.setContentsMargins(0, 0 if layout.isEmpty() else theme.space(1.5), 0, 0)
        return super().event(event)


def _card(widget: QWidget) -> QFrame:
    frame = theme.role(QFrame(), "card")
    column = QVBoxLayout(frame)
    column.setContentsMargins(theme.space(1.5), theme.space(1.25), theme.space(1.5), theme.space(1.25))
    column.addWidget(widget)
    return frame


def _title_and_prompts(controller: RunController | None) -> tuple[str, list[str]]:
    """What the run's settings say; a run whose settings cannot be read is named by its folder."""
    if controller is None:
        return "", []
    try:
        settings = controller.folder.settings()
    except AtelierError:
        return controller.folder.path.name, []
    return settings.title, [preview.prompt for preview in settings.previews]
