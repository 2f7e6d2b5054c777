"""Writes captions with a model: asks how, shows proposals as they come, and writes those that the user has ticked."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QPushButton,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from app import theme
from app.texts import counted, tr
from app.thumbnails import Thumbnails
from app.widgets.ask import confirm
from app.widgets.auto_caption_form import AutoCaptionForm, scopes
from app.widgets.auto_caption_review import Review
from app.widgets.message_card import MessageCard
from app.widgets.named import named
from app.widgets.scrolling import scrolling
from app.widgets.task_dialog import TaskDialog
from trainer.caption_plan import Proposal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.pictures import Pictures

THUMBNAIL_BYTES = 24_000_000


class AutoCaptionDialog(TaskDialog):
    """Nothing is written before "Write captions" is pressed, and then as one step of undo. Cancelling keeps what has come.

    Attributes:
        form: what is asked.
        review: what is proposed.
    """

    def __init__(
        self, pictures: Pictures, shown: Sequence[int], selected: Sequence[int], parent: QWidget | None = None
    ) -> None:
        """shown, selected: places in `Pictures.items` of those that the grid shows, and of those that are selected in it."""
        super().__init__("auto_caption", tr("Write captions with a model"), parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._pictures = pictures
        self._paths = [item.picture.path for item in pictures.items]  # as the scopes number them
        self._folder = tempfile.TemporaryDirectory(prefix="lora-atelier-")
        self.form = AutoCaptionForm(scopes(len(self._paths), shown, selected))
        self._thumbnails = Thumbnails(self, memory_bytes=THUMBNAIL_BYTES)  # the grid's are of another size
        self.review = Review(self._thumbnails)
        self._standing = named(QLabel(wordWrap=True, textFormat=Qt.TextFormat.PlainText), "caption_standing")
        self._make_buttons()
        self._lay_out()
        self._connect()
        self.review.rows.set_rules(self.form.rules)
        self._refresh()
        self._fit_to_screen()

    # ---- building

    def _make_buttons(self) -> None:
        self.start_button = named(QPushButton(), "caption_start")
        self.stop_button = named(QPushButton(tr("Stop"), autoDefault=False), "caption_stop")
        self.close_button = named(QPushButton(tr("Close"), autoDefault=False), "caption_close")
        self.write_button = theme.role(named(QPushButton(autoDefault=False), "caption_write"), "primary")

    def _lay_out(self) -> None:
        gap = theme.space(1)
        self._scroll = scrolling(self.form)
        self._scroll.setFixedWidth(theme.space(38))
        self._empty = MessageCard("picture")
        self._empty.set_text(
            tr("Proposals appear here."),
            tr("You can look through them and change them before anything is written."),
        )
        self._states = QStackedWidget()
        self._states.addWidget(self._empty)
        self._states.addWidget(self.review)
        running = QHBoxLayout()
        running.setSpacing(gap)
        running.addWidget(self.progress, 1)
        running.addWidget(self.stop_button, 0, Qt.AlignmentFlag.AlignBottom)
        right = QVBoxLayout()
        right.setSpacing(gap)
        right.addWidget(self._states, 1)
        right.addLayout(running)
        left = QVBoxLayout()
        left.setSpacing(gap)
        left.addWidget(self._scroll, 1)
        under = QVBoxLayout()
        under.setContentsMargins(0, 0, theme.space(1), 0)  # as the form, beside its scroll bar
        under.setSpacing(gap)
        under.addWidget(self._standing)
        under.addWidget(self.start_button)
        left.addLayout(under)
        both = QHBoxLayout()
        both.setSpacing(theme.space(2.5))
        both.addLayout(left)
        both.addLayout(right, 1)
        foot = QHBoxLayout()
        foot.setSpacing(gap)
        foot.addWidget(theme.role(QLabel(tr("Written captions can be undone.")), "muted"), 1)
        foot.addWidget(self.close_button)
        foot.addWidget(self.write_button)
        inner = QVBoxLayout()
        inner.setContentsMargins(*[theme.space(2)] * 4)
        inner.setSpacing(theme.space(1.5))
        inner.addLayout(both, 1)
        inner.addLayout(foot)
        self._put_under_banner(inner)

    def _connect(self) -> None:
        self.form.changed.connect(self._refresh)
        self.form.rulesChanged.connect(self._on_rules)
        self.review.rows.counted.connect(self._refresh_buttons)
        self.start_button.clicked.connect(self._on_start)
        self.stop_button.clicked.connect(self._cancel)
        self.close_button.clicked.connect(self.reject)
        self.write_button.clicked.connect(self._on_write)
        self.task.said.connect(self._on_said)

    def _fit_to_screen(self) -> None:
        room = self.screen().availableSize() if self.screen() else QSize(1280, 720)
        self.resize(min(theme.space(140), room.width() - 40), min(theme.space(88), room.height() - 60))

    # ---- what is shown

    def wanted(self) -> list[Path]:
        """The pictures that would be described: in "only-empty" those that lack a caption."""
        items, places = self._pictures.items, (self._pictures.index_of(self._paths[i]) for i in self.form.indexes)
        there = [items[at] for at in places if at >= 0]
        return [i.picture.path for i in there if self.form.mode != "only-empty" or not i.caption.strip()]

    def _refresh(self) -> None:
        running, wanted = self.task.is_running, len(self.wanted())
        skipped = len(self.form.indexes) - wanted
        ready = self.form.models.kind is not None
        if not wanted:
            text = tr("All of them have a caption already. Choose what becomes of it.")
        else:
            text = tr("{pictures} will be described.", pictures=counted(wanted, "picture", "pictures"))
            if skipped:
                text += " " + tr("{count} with a caption stay as they are.", count=f"{skipped:,}")
        self._standing.setText(text)
        theme.role(self._standing, "muted" if wanted else "warn")
        self._scroll.setEnabled(True)
        self.form.models.setEnabled(not running)
        self.start_button.setEnabled(bool(wanted) and ready and not running)
        has_rows = bool(self.review.rows.rows)
        self.start_button.setText(tr("Describe again") if has_rows else tr("Describe the pictures"))
        self.progress.setVisible(running)
        self.stop_button.setVisible(running)
        self.stop_button.setEnabled(not self.task.is_cancelling)
        self.stop_button.setText(tr("Stopping…") if self.task.is_cancelling else tr("Stop"))
        self._states.setCurrentWidget(self.review if has_rows else self._empty)
        self._refresh_buttons()

    def _refresh_buttons(self) -> None:
        chosen, running = len(self.review.rows.chosen()), self.task.is_running
        self.write_button.setText(tr("Write {captions}", captions=counted(chosen, "caption", "captions")))
        self.write_button.setEnabled(bool(chosen) and not running)
        self.write_button.setVisible(bool(self.review.rows.rows))
        theme.role(self.start_button, "" if self.review.rows.rows else "primary")

    # ---- what happens

    def _on_rules(self) -> None:
        self.review.rows.set_rules(self.form.rules)

    def _on_start(self) -> None:
        self.form.remember()
        rows = []
        for path in self.wanted():
            box = self._pictures.items[self._pictures.index_of(path)].picture.box
            rows.append({"path": str(path), "box": box})
        listed = Path(self._folder.name, "pictures.json")
        listed.write_text(json.dumps(rows), encoding="utf-8")
        self._work(["caption", "--pictures", str(listed), "--mode=append", *self.form.words(), "--json"])
        self.stop_button.setFocus()

    def _on_said(self, said: dict[str, Any]) -> None:
        path = Path(str(said.get("path")))
        at = self._pictures.index_of(path)
        if at < 0:
            return
        before = self._pictures.items[at].caption
        is_first = not self.review.rows.rows
        if said["type"] == "caption":
            self.review.rows.add(path, before, Proposal.from_values(said))
        elif said["type"] == "problem":
            self.review.rows.add(path, before, Proposal(), str(said.get("message")))
        if is_first:
            self._refresh()

    def _on_done(self, _told: dict[str, Any]) -> None:
        self._refresh()
        (self.write_button if self.write_button.isEnabled() else self.close_button).setFocus()

    def _on_write(self) -> None:
        captions = {self._pictures.index_of(path): text for path, text in self.review.rows.chosen().items()}
        captions.pop(-1, None)
        kind = self.form.models.kind
        label = tr("Captions by {captioner}", captioner=kind.title) if kind else tr("Captions by a model")
        self._pictures.set_captions(captions, label)
        self.accept()

    # ---- Qt

    def reject(self) -> None:
        """Closes; what works is stopped first, and proposals are not thrown away without a question."""
        chosen = len(self.review.rows.chosen())
        if chosen and not self.task.is_running:
            what = counted(chosen, "caption", "captions")
            details = tr("Describing the pictures again would take as long as it did.")
            if not confirm(self, tr("Throw {captions} away?", captions=what), details, tr("Throw away")):
                return
        super().reject()

    def done(self, result: int) -> None:
        """Clears up."""
        self._thumbnails.close()
        self._folder.cleanup()
        super().done(result)
