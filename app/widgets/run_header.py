"""The top of the training page: which run, how far it is, how fast, how much memory, and what can be told to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil
from PySide6.QtCore import QEvent, QSize, Qt, QTimer
from PySide6.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QMenu,
    QMessageBox,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from app import texts, theme
from app.texts import tr
from app.widgets.memory_gauge import MemoryGauge
from app.widgets.named import named

if TYPE_CHECKING:
    from app.run_controller import RunController
    from app.run_record import RunRecord

NOTE_MS = 6_000  # so long a sentence stands in place of the state, unless what it announces comes sooner
PATIENCE_MS = 15_000  # so long a stopping run is given before "End at once" is offered


class RunHeader(QWidget):
    """Title, state in words, progress bar, figures, buttons."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller: RunController | None = None
        self._title = theme.role(named(QLabel(), "run_title"), "title")
        self._title.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._state = theme.role(named(QLabel(), "run_state"), "muted")
        self._state.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._figures = theme.role(named(QLabel(), "run_figures"), "muted")
        self._figures.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._bar = named(QProgressBar(textVisible=False), "run_progress")
        self._bar.setRange(0, 1000)
        self._bar.setAccessibleName(tr("Progress of the run"))
        self.memory = MemoryGauge()
        self._patience = QTimer(self, singleShot=True, interval=PATIENCE_MS)
        self._patience.timeout.connect(self._show_buttons)
        self._note = QTimer(self, singleShot=True, interval=NOTE_MS)
        self._note.timeout.connect(self.refresh)
        self._make_buttons()
        self._lay_out()
        self._renew_icons()

    # ---- what the page uses

    def set_controller(self, controller: RunController | None, title: str) -> None:
        """Another run."""
        self._controller = controller
        self._title.setText(title)
        self._title.setToolTip(title if controller is None else str(controller.folder.path))
        self._patience.stop()
        self.show_state()
        self.refresh()

    def show_state(self) -> None:
        """After the run's state has changed."""
        self._note.stop()
        if self._controller is not None and self._controller.state == "stopping":
            if not self._patience.isActive():
                self._patience.start()
        else:
            self._patience.stop()
        self._show_buttons()

    def refresh(self) -> None:
        """The figures of now."""
        if self._controller is None:
            return
        record = self._controller.record
        if not self._note.isActive():
            self._state.setText(state_words(record, is_running=self._controller.is_running))
        self._figures.setText(figures(record))
        self._figures.setToolTip(self._figures.text())
        self._show_progress(record)
        total = None
        if record.started is not None and record.started.device == "cpu":
            total = psutil.virtual_memory().total / 1e9
        self.memory.set_values(record.memory_gb, record.memory_peak_gb, total)
        self.memory.setVisible(record.memory_peak_gb > 0)

    def say(self, sentence: str) -> None:
        """Says something for a moment, e.g. that a command was heard, as commands act only after the present step."""
        self._state.setText(sentence)
        self._note.start()

    def command_done(self) -> None:
        """A checkpoint or a preview has arrived: it can be asked for again."""
        training = self._controller is not None and self._controller.state == "training"
        self._save.setEnabled(training)
        self._sample.setEnabled(training)
        self._note.stop()

    # ---- Qt

    def changeEvent(self, event: QEvent) -> None:
        """Another theme."""
        if event.type() == QEvent.Type.PaletteChange:
            self._renew_icons()
        super().changeEvent(event)

    # ---- inside

    def _make_buttons(self) -> None:
        self._pause = self._button("run_pause", tr("Pause"), tr("Stand still after the present step"))
        self._pause.clicked.connect(self._on_pause)
        self._save = self._button("run_save", tr("Save now"), tr("Write a checkpoint after the present step"))
        self._save.clicked.connect(self._on_save)
        self._sample = self._button("run_sample", tr("Sample now"), tr("Draw the previews after the present step"))
        self._sample.clicked.connect(self._on_sample)
        self._stop = self._button("run_stop", tr("Stop"), tr("End the run"))
        menu = QMenu(self._stop)
        keep = menu.addAction(tr("Stop and keep (writes the LoRA file)"), lambda: self._on_stop(True))
        keep.setObjectName("run_stop_keep")
        menu.setDefaultAction(keep)
        menu.addAction(tr("Stop without exporting"), lambda: self._on_stop(False)).setObjectName("run_stop_only")
        self._stop.setMenu(menu)
        self._kill = theme.role(
            self._button("run_kill", tr("End at once…"), tr("Ends the training program; checkpoints stay")), "danger"
        )
        self._kill.clicked.connect(self._on_kill)

    def _button(self, name: str, text: str, help_text: str) -> QPushButton:
        return named(QPushButton(text), name, tip=help_text)

    def _lay_out(self) -> None:
        names = QVBoxLayout()
        names.setSpacing(0)
        names.addWidget(self._title)
        names.addWidget(self._state)
        top = QHBoxLayout()
        top.setSpacing(theme.space(1))
        top.addLayout(names, 1)
        for button in (self._pause, self._save, self._sample, self._stop, self._kill):
            top.addWidget(button, 0, Qt.AlignmentFlag.AlignVCenter)
        progress = QVBoxLayout()
        progress.setSpacing(theme.space(0.75))
        progress.addWidget(self._bar)
        progress.addWidget(self._figures)
        below = QHBoxLayout()
        below.setSpacing(theme.space(3))
        below.addLayout(progress, 1)
        below.addWidget(self.memory)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.space(1))
        column.addLayout(top)
        column.addLayout(below)

    def _renew_icons(self) -> None:
        paused = self._controller is not None and self._controller.state == "paused"
        for button, name in (
            (self._pause, "play" if paused else "pause"), (self._save, "save"), (self._sample, "picture"), (self._stop, "stop"),
        ):  # fmt: skip
            button.setIcon(theme.icon(name))
            button.setIconSize(QSize(theme.space(2), theme.space(2)))

    def _show_buttons(self) -> None:
        controller = self._controller
        state = controller.state if controller is not None else ""
        running = controller is not None and controller.is_running
        paused = state == "paused"
        self._pause.setText(tr("Resume") if paused else tr("Pause"))
        self._pause.setToolTip(tr("Go on training") if paused else tr("Stand still after the present step"))
        theme.role(self._pause, "primary" if paused else "")
        for button in (self._pause, self._save, self._sample, self._stop):
            button.setVisible(running and state != "stopping")
        self._pause.setEnabled(state in ("training", "paused"))
        self._save.setEnabled(state == "training")
        self._sample.setEnabled(state == "training")
        waited = state == "stopping" and not self._patience.isActive()
        self._kill.setVisible(running and waited and controller is not None and controller.can_kill)
        self._renew_icons()

    def _show_progress(self, record: RunRecord) -> None:
        unknown = record.state in ("starting", "preparing", "stopping")
        phase = record.phase
        if record.state == "preparing" and phase is not None and phase.total:
            self._bar.setRange(0, phase.total)
            self._bar.setValue(phase.done)
        elif unknown and self._controller is not None and self._controller.is_running:
            self._bar.setRange(0, 0)  # moves to and fro
        else:
            self._bar.setRange(0, 1000)
            self._bar.setValue(round(1000 * record.progress))

    def _on_pause(self) -> None:
        if self._controller is None:
            return
        if self._controller.state == "paused":
            self._controller.resume()
        else:
            self._controller.pause()
            self._pause.setEnabled(False)
            self.say(tr("Pausing after this step…"))

    def _on_save(self) -> None:
        if self._controller is not None:
            self._controller.save_now()
            self._save.setEnabled(False)
            self.say(tr("A checkpoint is written after this step…"))

    def _on_sample(self) -> None:
        if self._controller is not None:
            self._controller.sample_now()
            self._sample.setEnabled(False)
            self.say(tr("Previews are drawn after this step…"))

    def _on_stop(self, keep: bool) -> None:
        if self._controller is not None and self._controller.is_running:
            self._controller.stop(keep=keep)

    def _on_kill(self) -> None:
        question = tr(
            "End the training program at once? What it learned since the last checkpoint is lost; checkpoints stay."
        )
        answer = QMessageBox.question(self, tr("End at once"), question)
        if answer == QMessageBox.StandardButton.Yes and self._controller is not None:
            self._controller.kill()


def state_words(record: RunRecord, *, is_running: bool) -> str:
    """The state of a run for people."""
    phase = ""
    if record.phase is not None:
        phase = record.phase.title
        total = record.phase.total
        number = record.phase.done + (
            record.state == "training"
        )  # previews are told before, encodings after they are done
        if total and number:
            phase = tr("{title}, {number} of {total}", title=phase, number=min(number, total), total=total)
    if record.state == "starting" and not is_running:
        return tr("Not started yet")
    words = {
        "starting": tr("Starting…"), "preparing": tr("Preparing"), "training": tr("Training"), "paused": tr("Paused"),
        "stopping": tr("Stopping: what was learned is being saved…"), "finished": tr("Finished"), "stopped": tr("Stopped"),
        "failed": tr("Did not finish"), "lost": tr("Ended early"),
    }[record.state]  # fmt: skip
    if record.state == "preparing":
        return f"{words}: {phase.lower()}" if phase else f"{words}…"
    return f"{words} · {phase.lower()}" if phase and record.state == "training" else words


def figures(record: RunRecord) -> str:
    """As "Step 320 of 1,600 · 4 min left · 0.35 s a step · epoch 3 of 17"; as much of it as is known."""
    if not record.total_steps:
        return ""
    parts = [tr("Step {step:,} of {total:,}", step=record.step, total=record.total_steps)]
    left, pace = record.seconds_left, record.seconds_per_step
    if record.is_active and left is not None:
        parts.append(tr("{time} left", time=texts.duration(left)))
    if record.is_active and pace:
        parts.append(
            tr("{pace:.2g} s a step", pace=pace) if pace >= 0.2 else tr("{rate:.0f} steps a second", rate=1 / pace)
        )
    per_epoch = record.started.steps_per_epoch if record.started is not None else 0
    if per_epoch > 0:
        epochs = -(-record.total_steps // per_epoch)
        parts.append(tr("epoch {now:,} of {all:,}", now=min(epochs, record.step // per_epoch + 1), all=epochs))
    if record.started is not None and record.started.processes > 1:
        parts.append(tr("{count} processes", count=record.started.processes))
    parts += _manner(record)
    return "  ·  ".join(parts)


def _manner(record: RunRecord) -> list[str]:
    """How the base model lies in memory, where that is out of the ordinary."""
    started = record.started
    if started is None:
        return []
    bits = {"nf4": tr("base in 4 bits"), "int8": tr("base in 8 bits")}.get(started.quantization)
    return ([bits] if bits else []) + ([tr("packed weights")] if started.packed else [])
