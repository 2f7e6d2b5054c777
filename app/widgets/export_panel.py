"""Names a checkpoint and writes it as a LoRA file, or as a bundle for Civitai."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtWidgets import (
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QStackedLayout,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app import export_command, places, preferences, theme
from app.exporter import Exported, Exporter, ExportRequest
from app.texts import size, tr
from app.widgets.ask import confirm
from app.widgets.export_more import ExportMore
from app.widgets.export_progress import ExportProgress
from app.widgets.exported_card import ExportedCard
from app.widgets.named import named
from app.widgets.scrolling import scrolling
from trainer import bundle
from trainer.errors import RunError
from trainer.run_folder import safe_name

if TYPE_CHECKING:
    from app.run_results import Checkpoint, Results


class ExportPanel(QFrame):
    """A name, a place and two buttons; more for those who look for it; and what came of it.

    Signals:
        exported(Path): a file was written, read back and compared.
    """

    exported = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        theme.role(named(self, "export_panel"), "card")
        self._results: Results | None = None
        self._step = 0
        self._was_peft = False
        self._folder = Path(preferences.get("export_folder", str(places.exports())))
        self.exporter = Exporter(self)
        self.exporter.done.connect(self._on_done)
        self.exporter.failed.connect(self._on_failed)
        self.exporter.cancelled.connect(self._on_cancelled)
        self._make_fields()
        self._make_ends()
        self.done_card = ExportedCard()
        self.done_card.againWanted.connect(self._show_form)
        self._lay_out()
        self._restyle()
        self._refresh()

    # ---- what the page uses

    def set_results(self, results: Results | None) -> None:
        """Another run: its words are proposed. The same run again leaves what was typed."""
        same = results is not None and self._results is not None and results.folder == self._results.folder
        self._results = results
        if results is not None and not same:
            self.name.setText(results.settings.title)
            self.more.propose(results)
            self._show_form()
        self._refresh()

    def set_step(self, step: int) -> None:
        """Another checkpoint."""
        if step != self._step:
            self._step = step
            if not self.exporter.is_running:
                self._show_form()
        self._refresh()

    @property
    def target(self) -> Path:
        """The file that would be written."""
        return export_command.file_for(self._folder, self._name())

    @property
    def bundle_target(self) -> Path:
        """The folder that a bundle would become."""
        return export_command.bundle_in(self._folder, self._name())

    def set_folder(self, folder: Path) -> None:
        """Where the file goes; remembered."""
        self._folder = folder
        preferences.put("export_folder", str(folder))
        self._refresh()

    # ---- building

    def _make_fields(self) -> None:
        self._title = theme.role(named(QLabel(), "export_title"), "heading")
        self.name = named(QLineEdit(maxLength=120), "export_name", spoken=tr("Name"))
        self._place = named(QLabel(wordWrap=True), "export_place")
        tip = tr("Choose another folder")
        self._choose = named(QToolButton(), "export_choose_folder", spoken=tip, tip=tip)
        self._choose.clicked.connect(self._on_choose_folder)
        self.more = ExportMore()
        self.more.changed.connect(self._refresh)
        self.more_button = theme.role(named(QPushButton(tr("More")), "export_more"), "link")
        self.more_button.setCheckable(True)
        self.more_button.setChecked(preferences.get("export_more", False))
        self.more_button.toggled.connect(self._on_more)
        self.more.setVisible(self.more_button.isChecked())
        self.name.textChanged.connect(self._refresh)
        self.name.returnPressed.connect(self._on_export)

    def _make_ends(self) -> None:
        self._size = theme.role(named(QLabel(alignment=Qt.AlignmentFlag.AlignCenter), "export_size"), "muted")
        self._problem = theme.role(named(QLabel(wordWrap=True), "export_problem"), "bad")
        self._problem.hide()
        self.progress = ExportProgress(self.exporter)
        self.button = theme.role(named(QPushButton(tr("Export")), "export_button"), "primary")
        self.button.clicked.connect(self._on_export)
        tip = tr("A folder to upload: the LoRA, pictures that carry their prompts, a description, the settings")
        self.bundle_button = named(QPushButton(tr("Bundle for Civitai")), "export_bundle", tip=tip)
        self.bundle_button.clicked.connect(self._on_bundle)

    def _lay_out(self) -> None:
        fields = QWidget()
        column = QVBoxLayout(fields)
        column.setContentsMargins(0, 0, theme.space(0.5), 0)
        column.setSpacing(theme.space(0.5))
        caption = theme.role(QLabel(tr("Name")), "muted")
        caption.setBuddy(self.name)
        column.addWidget(caption)
        column.addWidget(self.name)
        column.addSpacing(theme.space(0.75))
        column.addWidget(theme.role(QLabel(tr("Folder")), "muted"))
        row = QHBoxLayout()
        row.addWidget(self._place, 1)
        row.addWidget(self._choose, 0, Qt.AlignmentFlag.AlignTop)
        column.addLayout(row)
        column.addSpacing(theme.space(0.75))
        column.addWidget(self.more_button, 0, Qt.AlignmentFlag.AlignLeft)
        column.addWidget(self.more)
        column.addStretch(1)
        scroll = scrolling(fields)
        self._form = QWidget()
        form = QVBoxLayout(self._form)
        form.setContentsMargins(0, 0, 0, 0)
        form.setSpacing(theme.space(1))
        for widget in (scroll, self._problem, self.progress, self.button, self._size, self.bundle_button):
            form.addWidget(widget, 1 if widget is scroll else 0)
        form.insertWidget(0, self._title)
        self._layers = QStackedLayout()
        self._layers.addWidget(self._form)
        self._layers.addWidget(self.done_card)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(theme.space(2), theme.space(2), theme.space(2), theme.space(1.5))
        whole.addLayout(self._layers)

    def changeEvent(self, event: QEvent) -> None:
        """Renews the icons in the theme's colours."""
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "bundle_button"):
            self._restyle()
        super().changeEvent(event)

    def _restyle(self) -> None:
        self._choose.setIcon(theme.icon("folder"))
        self.button.setIcon(theme.icon("export", "on_accent"))
        self.more_button.setIcon(
            theme.icon("chevron_down" if self.more_button.isChecked() else "chevron_right", "accent")
        )

    # ---- what happens

    def _name(self) -> str:
        title = self._results.settings.title if self._results is not None else "lora"
        return self.name.text().strip() or title

    def _checkpoint(self) -> Checkpoint | None:
        every = self._results.checkpoints if self._results is not None else ()
        return next((c for c in every if c.step == self._step), None)

    def _refresh(self) -> None:
        running, checkpoint = self.exporter.is_running, self._checkpoint()
        self._title.setText(tr("Export step {step}", step=f"{self._step:,}") if checkpoint else tr("Export"))
        for button in (self.button, self.bundle_button):
            button.setEnabled(checkpoint is not None)
            button.setVisible(not running)
        self._size.setVisible(not running)
        for field in (self.name, self.more, self._choose):
            field.setEnabled(not running)
        precision = str(self.more.precision.currentData())
        about = size(checkpoint.exported_size(precision)) if checkpoint and checkpoint.size_bytes else ""
        self._size.setText(tr("{name}, about {size}", name=self.target.name, size=about) if about else "")
        self._place.setText(_short(self._folder))
        self._place.setToolTip(str(self._folder))

    def _show_form(self) -> None:
        self._problem.hide()
        self._layers.setCurrentWidget(self._form)

    def _on_more(self, is_open: bool) -> None:
        self.more.setVisible(is_open)
        preferences.put("export_more", is_open)
        self._restyle()

    def _on_choose_folder(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, tr("Choose a folder for the LoRA file"), str(self._folder))
        if chosen:
            self.set_folder(Path(chosen))

    def _on_export(self) -> None:
        if self._results is None or self.exporter.is_running or not self.button.isEnabled():
            return
        is_peft, beside = self.more.is_peft, self.more.beside.isChecked() and not self.more.is_peft
        picture = self._results.picture_of(self._step) if beside else None
        files = export_command.targets(self.target, picture=picture is not None, words=beside)
        there = [p for p in files if p.exists()]
        if there and not self._may_replace(there):
            return
        plain, names = self._plain_request(self.target), "peft" if is_peft else "kohya"
        self._start(replace(plain, names=names, picture=picture, with_words=beside, overwrite=bool(there)))

    def _on_bundle(self) -> None:
        if self._results is None or self.exporter.is_running or not self.bundle_button.isEnabled():
            return
        target = self.bundle_target
        try:
            bundle.check_target(target, safe_name(self._name()), overwrite=True)
        except RunError as error:
            self._on_failed(str(error))
            return
        is_there = target.exists() and any(target.iterdir())
        if is_there and not self._may_replace([target]):
            return
        plain, data = self._plain_request(target), self.more.with_data.isChecked()
        self._start(replace(plain, is_bundle=True, with_data=data, overwrite=is_there))

    def _plain_request(self, out: Path) -> ExportRequest:
        """What is in the fields, for whatever is written."""
        assert self._results is not None
        more, picture = self.more, self._results.picture_of(self._step)
        return ExportRequest(
            self._results.folder.path, self._step, out, self._name(), more.description.toPlainText().strip(),
            more.tags.text().strip(), str(more.precision.currentData()), picture=picture, prove=more.prove.isChecked(),
        )  # fmt: skip

    def _start(self, request: ExportRequest) -> None:
        self._problem.hide()
        self._was_peft = request.names == "peft"
        self.exporter.start(request)
        self._refresh()
        self.progress.cancel_button.setFocus()

    def _may_replace(self, there: list[Path]) -> bool:
        names = ", ".join(p.name for p in there)
        question = tr("Replace {names}?", names=names)
        details = tr("It is in {folder} already. Replacing it cannot be undone.", folder=there[0].parent)
        return confirm(self, question, details, tr("Replace"))

    def _on_done(self, made: Exported) -> None:
        trigger = self._results.settings.trigger if self._results is not None else ""
        self._refresh()
        self.done_card.show_made(made, trigger, is_peft=self._was_peft)
        self._layers.setCurrentWidget(self.done_card)
        self.exported.emit(made.path)

    def _on_failed(self, sentence: str) -> None:
        self._refresh()
        self._say(sentence, "bad")

    def _on_cancelled(self) -> None:
        self._refresh()
        self._say(tr("Cancelled; nothing was written."), "muted")

    def _say(self, sentence: str, role: str) -> None:
        theme.role(self._problem, role)
        self._problem.setText(sentence)
        self._problem.show()


def _short(folder: Path) -> str:
    """The path with ~ for the home, and places where a line may break."""
    home = str(Path.home())
    text = str(folder)
    text = f"~{text.removeprefix(home)}" if text.startswith(home) else text
    return text.replace("/", "/\u200b").replace("\\", "\\\u200b")
