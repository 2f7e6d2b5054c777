"""Folders and concepts of the project: what is trained from where, in which way, and how often each is seen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import QDialog, QFileDialog, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from app import preferences, theme
from app.texts import tr
from app.widgets.banner import Banner
from app.widgets.concept_chart import ConceptChart
from app.widgets.concept_row import ConceptRow
from app.widgets.drop_zone import dropped_paths
from app.widgets.generate_dialog import GenerateDialog
from app.widgets.named import named
from app.widgets.scrolling import scrolling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PySide6.QtGui import QDragEnterEvent, QDropEvent

    from app.concepts import Folder
    from app.pictures import Pictures
    from app.project import Project

_FOLLOWED = {
    "data",
    "more_data",
    "concepts",
    "regularization",
    "prior_weight",
    "repeats",
    "trigger",
    "flip",
    "left_out",
}
_RUN_FIELDS = {"own": {"trigger": "trigger", "repeats": "repeats", "flip": "flip"}, "prior": {"weight": "prior_weight"}}


class ConceptsPanel(QDialog):
    """Every change is made in the project at once, and can be undone there.

    Attributes:
        rows: one for each folder.
        chart: how often each is seen.

    Signals:
        shownChanged: the rows are other ones.
    """

    shownChanged = Signal()

    def __init__(self, project: Project, pictures: Pictures, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("concepts")
        self.setWindowTitle(tr("Folders and concepts"))
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setAcceptDrops(True)
        self._project, self._pictures = project, pictures
        self.rows: list[ConceptRow] = []
        self.chart = ConceptChart()
        self.banner = Banner()
        self._lay_out()
        project.changed.connect(self._on_changed)
        project.opened.connect(self.reject)
        for signal in (pictures.scanned, pictures.includedChanged):
            signal.connect(self._refresh)
        self._refresh()
        room = self.screen().availableSize() if self.screen() else QSize(1280, 720)
        self.resize(min(theme.space(96), room.width() - 40), min(theme.space(86), room.height() - 60))

    # ---- building

    def _lay_out(self) -> None:
        gap = theme.space(1)
        inner = QWidget()
        self._column = QVBoxLayout(inner)
        self._column.setContentsMargins(0, 0, theme.space(1), 0)
        self._column.setSpacing(gap)
        self._column.addWidget(theme.role(QLabel(tr("Seen in an epoch")), "heading"))
        self._column.addWidget(self.chart)
        self._column.addSpacing(gap)
        self._rows_from = self._column.count()
        self._column.addStretch(1)
        scroll = scrolling(inner)
        about = theme.role(QLabel(tr("A concept is a folder with its own trigger word, repeats and weight: a second character, or a style beside a character. Drop folders here to add them."), wordWrap=True), "muted")  # fmt: skip
        foot = QHBoxLayout()
        foot.setSpacing(gap)
        buttons = (
            ("add_concept", tr("Add folder…"), self._on_add), ("generate", tr("Generate regularisation pictures…"), self._on_generate),
            ("concepts_close", tr("Close"), self.accept),
        )  # fmt: skip
        for name, text, act in buttons:
            button = named(QPushButton(text, autoDefault=False), name)
            button.clicked.connect(act)
            if name == "concepts_close":
                foot.addStretch(1)
            foot.addWidget(button)
        body = QVBoxLayout()
        body.setContentsMargins(*[theme.space(2)] * 4)
        body.setSpacing(theme.space(1.5))
        body.addWidget(about)
        body.addWidget(scroll, 1)
        body.addLayout(foot)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(0)
        whole.addWidget(self.banner)
        whole.addLayout(body, 1)

    # ---- showing

    def _on_changed(self, names: frozenset[str]) -> None:
        if names & _FOLLOWED:
            self._refresh()

    def _refresh(self, _indexes: object = None) -> None:
        folders = self._pictures.folders() if self._project.is_open else []
        keys = [(f.kind, f.number, f.path) for f in folders]
        if keys != [(r.folder.kind, r.folder.number, r.folder.path) for r in self.rows]:
            self._rebuild(folders)
        run = {name: self._project.value(name) for name in ("trigger", "flip")}
        for row, folder in zip(self.rows, folders, strict=True):
            row.show_values(folder, self._values_of(folder), run)
        self.chart.set_folders(folders)

    def _rebuild(self, folders: Sequence[Folder]) -> None:
        for row in self.rows:
            self._column.removeWidget(row)
            row.hide()
            row.deleteLater()
        self.rows = []
        for at, folder in enumerate(folders):
            row = ConceptRow(folder, f"{folder.kind}_{folder.number}" if folder.number else f"{folder.kind}_{at}")
            row.edited.connect(lambda field, value, row=row: self._on_edited(row.folder, field, value))
            row.removeWanted.connect(lambda row=row: self._on_remove(row.folder))
            row.conceptWanted.connect(lambda row=row: self._on_concept_wanted(row.folder))
            self._column.insertWidget(self._rows_from + at, row)
            self.rows.append(row)
        self.shownChanged.emit()

    def _values_of(self, folder: Folder) -> dict[str, Any]:
        if folder.kind == "concept":
            return dict(self._concepts()[folder.number - 1])
        return {field: self._project.value(name) for field, name in _RUN_FIELDS.get(folder.kind, {}).items()}

    def _concepts(self) -> list[dict[str, Any]]:
        given = self._project.value("concepts")
        return [dict(c) if isinstance(c, dict) else {} for c in given] if isinstance(given, list) else []

    # ---- what the user does

    def add_folders(self, folders: Sequence[Path], **fields: Any) -> None:
        """Adds folders as concepts; those that the project has already are told. fields: of `Concept`, other than usual."""
        there = {f.path for f in self._pictures.folders()}
        new = [folder for folder in dict.fromkeys(folders) if folder.is_dir() and folder not in there]
        if left := [p.name for p in folders if p not in new]:
            self.banner.tell(
                tr("Left aside: {names}. Only folders that the project does not have yet can be added here.", names=", ".join(left[:5]))
            )  # fmt: skip
        if new:
            added = [{"folder": str(folder), **fields} for folder in new]
            self._project.set_many({"concepts": [*self._concepts(), *added]})

    def _on_add(self) -> None:
        start = str(preferences.get("last_folder", str(Path.home())))
        if name := QFileDialog.getExistingDirectory(self, tr("Choose the concept's folder"), start):
            self.add_folders([Path(name)])

    def _on_edited(self, folder: Folder, field: str, value: Any) -> None:
        if folder.kind != "concept":
            self._project.set(_RUN_FIELDS[folder.kind][field], value)
            return
        concepts = self._concepts()
        one = concepts[folder.number - 1] | {field: value}
        concepts[folder.number - 1] = {k: v for k, v in one.items() if v is not None}  # TOML has no nothing
        self._project.set("concepts", concepts)

    def _on_remove(self, folder: Folder) -> None:
        self._project.set_many(self._without(folder))
        self.banner.tell(tr("{folder} is out of this project; its files stay.", folder=folder.title), (tr("Undo"), self._project.undo))  # fmt: skip

    def _on_concept_wanted(self, folder: Folder) -> None:
        path, fields = folder.path, {}
        if path.is_file():
            self.banner.tell(
                tr("{name} is a single picture. Put it into a folder to make it a concept.", name=path.name)
            )
            return
        if folder.kind == "prior":
            fields = {"regularization": True}
        added = {"folder": str(path), **fields}
        self._project.set_many(self._without(folder) | {"concepts": [*self._concepts(), added]})

    def _without(self, folder: Folder) -> dict[str, Any]:
        """The settings that change when the project does without a folder."""
        if folder.kind == "concept":
            concepts = self._concepts()
            return {"concepts": concepts[: folder.number - 1] + concepts[folder.number :]}
        if folder.kind == "more":
            rest = [p for p in self._project.value("more_data") if Path(str(p)).expanduser() != folder.path]
            return {"more_data": rest}
        return {"data" if folder.kind == "own" else "regularization": ""}

    def _on_generate(self) -> None:
        dialog = GenerateDialog(self._project, self._pictures, self)
        dialog.made.connect(self._on_generated)
        dialog.open()

    def _on_generated(self, folder: Path) -> None:
        if folder not in {f.path for f in self._pictures.folders()}:
            self.add_folders([folder], regularization=True)
        else:
            self._pictures.rescan()

    # ---- Qt

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Takes folders."""
        if any(path.is_dir() for path in dropped_paths(event.mimeData())):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Adds the folders as concepts."""
        event.acceptProposedAction()
        self.add_folders(dropped_paths(event.mimeData()))
