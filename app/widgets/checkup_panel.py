"""The data set doctor's findings as cards: what is wrong, the pictures concerned, one click to mend it, one to take that back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from app import theme
from app.texts import counted, tr
from app.widgets.named import named
from app.widgets.note import Note
from app.widgets.scrolling import scrolling

if TYPE_CHECKING:
    from app.checkup import Checkup, Mended
    from trainer.doctor_findings import Finding

SHOWN = 60  # cards; more would be read by nobody
_ICONS = {"stop": ("stop", "bad"), "warn": ("warning", "warn"), "note": ("info", "muted")}
_REPAIRS = {
    "leave_out": "Leave out", "rename": "Rename", "set_aside": "Set aside", "recode": "Write anew", "add_trigger": "Add the trigger word",
    "unify_tag": "Use one spelling", "remove_tag": "Remove the tag",
}  # fmt: skip


class CheckupPanel(QWidget):
    """The report of a `Checkup`, always that of now.

    Signals:
        picturesChosen(list[int]): select these pictures.
        countChanged(int): how many findings want to be looked at.
    """

    picturesChosen = Signal(object)
    countChanged = Signal(int)

    def __init__(self, checkup: Checkup, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._checkup = checkup
        self._shown: tuple[Finding, ...] | None = None
        self._headline = named(QLabel(wordWrap=True), "checkup_headline")
        self._bar = named(QProgressBar(textVisible=False), "checkup_progress")
        self._button = theme.role(named(QPushButton(), "checkup_button"), "link")
        self._note = Note("checkup_note", "tick_plain")
        self._cards = QVBoxLayout()
        self._cards.setContentsMargins(0, 0, theme.space(0.5), 0)
        self._cards.setSpacing(theme.space(1))
        holder = QWidget()
        holder.setLayout(self._cards)
        scroll = scrolling(holder)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.space(0.75))
        for widget in (self._headline, self._bar, self._note):
            column.addWidget(widget)
        column.addWidget(self._button, 0, Qt.AlignmentFlag.AlignLeft)
        column.addWidget(scroll, 1)
        self._button.clicked.connect(self._on_button)
        checkup.changed.connect(self._show)
        checkup.mended.connect(self._on_mended)
        checkup.failed.connect(lambda sentence: self._note.say(sentence))
        self._show()

    @property
    def cards(self) -> list[FindingCard]:
        """What is shown, the most severe first."""
        items = (self._cards.itemAt(i) for i in range(self._cards.count()))
        found = (item.widget() for item in items if item is not None)
        return [card for card in found if isinstance(card, FindingCard)]

    def _show(self) -> None:
        checkup = self._checkup
        running = checkup.is_running
        label, done, total = checkup.progress
        self._bar.setVisible(running)
        self._bar.setRange(0, total)
        self._bar.setValue(done)
        self._button.setText(tr("Cancel") if running else tr("Look again"))
        report = checkup.report
        if running and report is None:
            self._headline.setText(label or tr("Looking at every picture and caption…"))
        elif report is None:
            self._headline.setText(tr("The pictures have not been looked at yet."))
        elif not report.findings:
            count = counted(report.pictures, "picture", "pictures")
            self._headline.setText(tr("{pictures}: nothing to complain about.", pictures=count))
        else:
            self._headline.setText(report.headline)
        findings = report.findings if report is not None else ()
        if findings != self._shown:
            self._shown = findings
            self._fill(findings)

    def _fill(self, findings: tuple[Finding, ...]) -> None:
        while (item := self._cards.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.hide()
                widget.deleteLater()
        for found in findings[:SHOWN]:
            card = FindingCard(found, len(self._checkup.indexes_of(found)), can_mend=not self._takes_all(found))
            card.showWanted.connect(self._on_show_wanted)
            card.mendWanted.connect(self._on_mend_wanted)
            self._cards.addWidget(card)
        if len(findings) > SHOWN:
            more = tr("… and {count} more.", count=len(findings) - SHOWN)
            self._cards.addWidget(theme.role(QLabel(more), "muted"))
        self._cards.addStretch(1)
        self.countChanged.emit(sum(f.severity != "note" for f in findings))

    def _takes_all(self, found: Finding) -> bool:
        """Whether its repair would leave no picture to train."""
        report = self._checkup.report
        return found.repair == "leave_out" and not found.groups and len(found.pictures) >= (report.pictures if report else 0)  # fmt: skip

    def _on_button(self) -> None:
        if self._checkup.is_running:
            self._checkup.cancel()
        else:
            self._checkup.start()

    def _on_show_wanted(self, found: Finding) -> None:
        self.picturesChosen.emit(self._checkup.indexes_of(found))

    def _on_mend_wanted(self, found: Finding) -> None:
        self._note.say("")
        self._checkup.mend(found)

    def _on_mended(self, mended: Mended) -> None:
        self._note.say(mended.sentence, tr("Undo") if mended.undo else "", mended.undo)


class FindingCard(QFrame):
    """One finding.

    Signals:
        showWanted(Finding): select its pictures.
        mendWanted(Finding): carry out its repair.
    """

    showWanted = Signal(object)
    mendWanted = Signal(object)

    def __init__(self, found: Finding, pictures: int, *, can_mend: bool = True, parent: QWidget | None = None) -> None:
        """pictures: how many of its pictures are in the list. can_mend: whether its repair is offered."""
        super().__init__(parent)
        self.found = found
        self.setObjectName("finding_card")
        theme.role(self, "card")
        self._icon = QLabel()
        title = f"{found.title}: {found.tag}" if found.tag else found.title
        heading = named(QLabel(title, wordWrap=True), "finding_title")
        font = heading.font()
        font.setBold(True)
        heading.setFont(font)
        text = theme.role(named(QLabel(found.explanation, wordWrap=True), "finding_text"), "muted")
        for label in (heading, text):
            label.setTextFormat(Qt.TextFormat.PlainText)
        head = QHBoxLayout()
        head.setSpacing(theme.space(0.75))
        head.addWidget(self._icon, 0, Qt.AlignmentFlag.AlignTop)
        head.addWidget(heading, 1)
        actions = QVBoxLayout()
        actions.setSpacing(theme.space(0.25))
        self.show_button = theme.role(named(QPushButton(), "finding_show"), "link")
        self.show_button.setText(tr("Show {pictures}", pictures=counted(pictures, "picture", "pictures")))
        self.show_button.setVisible(pictures > 0)
        self.mend_button = theme.role(named(QPushButton(tr(_REPAIRS.get(found.repair, ""))), "finding_mend"), "link")
        self.mend_button.setVisible(can_mend and found.repair in _REPAIRS)
        self.show_button.clicked.connect(lambda: self.showWanted.emit(found))
        self.mend_button.clicked.connect(lambda: self.mendWanted.emit(found))
        for button in (self.show_button, self.mend_button):
            button.setAccessibleDescription(title)
            actions.addWidget(button, 0, Qt.AlignmentFlag.AlignLeft)
        column = QVBoxLayout(self)
        column.setContentsMargins(*[theme.space(1)] * 4)
        column.setSpacing(theme.space(0.5))
        column.addLayout(head)
        column.addWidget(text)
        column.addLayout(actions)
        self._restyle()

    def changeEvent(self, event: QEvent) -> None:
        """Renews the icon in the theme's colours."""
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "_icon"):
            self._restyle()
        super().changeEvent(event)

    def _restyle(self) -> None:
        icon, colour = _ICONS[self.found.severity]
        self._icon.setPixmap(theme.pixmap(icon, theme.space(2), colour))
