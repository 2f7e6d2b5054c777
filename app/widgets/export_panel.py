"""Names a checkpoint, describes it, and writes it as a LoRA file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QStackedLayout,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app import export_command, places, preferences, theme
from app.exporter import Exporter, ExportRequest
from app.texts import size, tr
from app.widgets.ask import confirm
from app.widgets.exported_card import ExportedCard
from app.widgets.named import named

if TYPE_CHECKING:
    from app.run_results import Results

DESCRIPTION_LINES = 3


class ExportPanel(QFrame):
    """The form, its one button, and what came of it.

    Signals:
        exported(Path): a file was written, read back and compared.
    """

    exported = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        theme.role(named(self, "export_panel"), "card")
        self._results: Results | None = None
        self._step = 0
        self._folder = Path(preferences.get("export_folder", str(places.exports())))
        self.exporter = Exporter(self)
        self.exporter.done.connect(self._on_done)
        self.exporter.failed.connect(self._on_failed)
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
            self.description.setPlainText(results.settings.description)
            self.tags.setText(results.tags)
            self.precision.setCurrentIndex(max(0, self.precision.findData(results.settings.export_precision)))
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

    def set_folder(self, folder: Path) -> None:
        """Where the file goes; remembered."""
        self._folder = folder
        preferences.put("export_folder", str(folder))
        self._refresh()

    # ---- building

    def _make_fields(self) -> None:
        self._title = theme.role(named(QLabel(), "export_title"), "heading")
        self.name = named(QLineEdit(maxLength=120), "export_name", spoken=tr("Name"))
        self.description = named(QPlainTextEdit(tabChangesFocus=True), "export_description", spoken=tr("Description"))
        self.description.setPlaceholderText(tr("What it draws, and how to use it"))
        line = self.description.fontMetrics().lineSpacing()
        self.description.setFixedHeight(DESCRIPTION_LINES * line + theme.space(2))
        self.tags = named(
            QLineEdit(), "export_tags", spoken=tr("Tags"), tip=tr("Words to find it by, separated by commas")
        )
        self.tags.setPlaceholderText(tr("character, monster, green"))
        self.precision = named(
            QComboBox(), "export_precision", spoken=tr("File precision"), tip=tr("fp16 is what everybody shares")
        )
        for label, value in ((tr("fp16 (usual)"), "fp16"), (tr("bf16"), "bf16"), (tr("fp32 (twice the size)"), "fp32")):
            self.precision.addItem(label, value)
        self._place = named(QLabel(wordWrap=True), "export_place")
        self._choose = named(
            QToolButton(), "export_choose_folder", spoken=tr("Choose another folder"), tip=tr("Choose another folder")
        )
        self._choose.clicked.connect(self._on_choose_folder)
        self.name.textChanged.connect(self._refresh)
        self.precision.currentIndexChanged.connect(self._refresh)
        self.name.returnPressed.connect(self._on_export)

    def _make_ends(self) -> None:
        self._size = theme.role(named(QLabel(alignment=Qt.AlignmentFlag.AlignCenter), "export_size"), "muted")
        self._problem = theme.role(named(QLabel(wordWrap=True), "export_problem"), "bad")
        self._problem.hide()
        self._busy = QProgressBar(textVisible=False, minimum=0, maximum=0)
        self._busy.setAccessibleName(tr("Exporting"))
        self._busy.hide()
        self.button = theme.role(named(QPushButton(tr("Export")), "export_button"), "primary")
        self.button.clicked.connect(self._on_export)

    def _lay_out(self) -> None:
        fields = QWidget()
        column = QVBoxLayout(fields)
        column.setContentsMargins(0, 0, theme.space(0.5), 0)
        column.setSpacing(theme.space(0.5))
        for label, field in (
            (tr("Name"), self.name), (tr("Description"), self.description), (tr("Tags"), self.tags), (tr("Precision"), self.precision),
        ):  # fmt: skip
            caption = theme.role(QLabel(label), "muted")
            caption.setBuddy(field)
            column.addWidget(caption)
            column.addWidget(field)
            column.addSpacing(theme.space(0.75))
        column.addWidget(theme.role(QLabel(tr("Folder")), "muted"))
        row = QHBoxLayout()
        row.addWidget(self._place, 1)
        row.addWidget(self._choose, 0, Qt.AlignmentFlag.AlignTop)
        column.addLayout(row)
        column.addStretch(1)
        scroll = QScrollArea(widgetResizable=True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        scroll.setWidget(fields)
        self._form = QWidget()
        form = QVBoxLayout(self._form)
        form.setContentsMargins(0, 0, 0, 0)
        form.setSpacing(theme.space(1))
        for widget in (self._title, scroll, self._problem, self._busy, self.button, self._size):
            form.addWidget(widget, 1 if widget is scroll else 0)
        self._layers = QStackedLayout()
        self._layers.addWidget(self._form)
        self._layers.addWidget(self.done_card)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(theme.space(2), theme.space(2), theme.space(2), theme.space(1.5))
        whole.addLayout(self._layers)

    def changeEvent(self, event: QEvent) -> None:
        """Renews the icons in the theme's colours."""
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "button"):
            self._restyle()
        super().changeEvent(event)

    def _restyle(self) -> None:
        self._choose.setIcon(theme.icon("folder"))
        self.button.setIcon(theme.icon("export", "on_accent"))

    # ---- what happens

    def _name(self) -> str:
        title = self._results.settings.title if self._results is not None else "lora"
        return self.name.text().strip() or title

    def _refresh(self) -> None:
        running, precision = self.exporter.is_running, str(self.precision.currentData())
        checkpoint = (
            next((c for c in self._results.checkpoints if c.step == self._step), None) if self._results else None
        )
        self._title.setText(tr("Export step {step}", step=f"{self._step:,}") if checkpoint else tr("Export"))
        self.button.setEnabled(checkpoint is not None and not running)
        self.button.setText(tr("Exporting…") if running else tr("Export"))
        self._busy.setVisible(running)
        self._form.setEnabled(True)
        for field in (self.name, self.description, self.tags, self.precision, self._choose):
            field.setEnabled(not running)
        about = size(checkpoint.exported_size(precision)) if checkpoint and checkpoint.size_bytes else ""
        self._size.setText(tr("{name}, about {size}", name=self.target.name, size=about) if about else "")
        self._place.setText(_short(self._folder))
        self._place.setToolTip(str(self._folder))

    def _show_form(self) -> None:
        self._problem.hide()
        self._layers.setCurrentWidget(self._form)

    def _on_choose_folder(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, tr("Choose a folder for the LoRA file"), str(self._folder))
        if chosen:
            self.set_folder(Path(chosen))

    def _on_export(self) -> None:
        if self._results is None or self.exporter.is_running or not self.button.isEnabled():
            return
        target, picture = self.target, self._results.picture_of(self._step)
        there = [p for p in (target, export_command.preview_beside(target) if picture else target) if p.exists()]
        if there and not self._may_replace(target, there):
            return
        self._problem.hide()
        self.exporter.start(
            ExportRequest(
                self._results.folder.path, self._step, target, self._name(), self.description.toPlainText().strip(), self.tags.text().strip(),
                str(self.precision.currentData()), picture, overwrite=bool(there),
            )
        )  # fmt: skip
        self._refresh()

    def _may_replace(self, target: Path, there: list[Path]) -> bool:
        names = ", ".join(dict.fromkeys(p.name for p in there))
        question = tr("Replace {names}?", names=names)
        details = tr(
            "There is a file of this name in {folder} already. Replacing it cannot be undone.", folder=target.parent
        )
        return confirm(self, question, details, tr("Replace"))

    def _on_done(self, path: Path) -> None:
        trigger = self._results.settings.trigger if self._results is not None else ""
        self._refresh()
        self.done_card.show_file(path, path.stat().st_size, trigger)
        self._layers.setCurrentWidget(self.done_card)
        self.exported.emit(path)

    def _on_failed(self, sentence: str) -> None:
        self._refresh()
        self._problem.setText(sentence)
        self._problem.show()


def _short(folder: Path) -> str:
    """The path with ~ for the home, and places where a line may break."""
    home = str(Path.home())
    text = str(folder)
    text = f"~{text.removeprefix(home)}" if text.startswith(home) else text
    return text.replace("/", "/\u200b").replace("\\", "\\\u200b")
