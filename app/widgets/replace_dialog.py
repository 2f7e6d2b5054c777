"""Find and replace in captions, plain or with a pattern (regular expression), with a preview of every change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtWidgets import QCheckBox, QHBoxLayout, QLineEdit, QWidget

from app import theme
from app.caption_changes import replacement
from app.texts import tr
from app.widgets.change_dialog import ChangeDialog
from app.widgets.named import named

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.pictures import Pictures
    from app.widgets.change_dialog import Targets


class ReplaceDialog(ChangeDialog):
    """Replaces in all captions, those selected or those shown."""

    def __init__(self, pictures: Pictures, targets: Targets, parent: QWidget | None = None) -> None:
        super().__init__(pictures, targets, tr("Find and replace in captions"), parent)
        self.setObjectName("replace_dialog")
        self._find = named(QLineEdit(clearButtonEnabled=True), "replace_find", spoken=tr("Find"))
        self._put = named(QLineEdit(clearButtonEnabled=True), "replace_put", spoken=tr("Replace by"))
        self._put.setPlaceholderText(tr("nothing: what is found is taken out"))
        self._pattern = named(
            QCheckBox(tr("Pattern (regular expression)")),
            "replace_pattern",
            tip=tr(r"As in Python: \bcat\b is the word cat, (a|b) one of two, \1 in the replacement the first group."),
        )
        self._case = named(QCheckBox(tr("Match case")), "replace_case", tip=tr("Capitals make a difference"))
        ways = QHBoxLayout()
        ways.setSpacing(theme.space(2))
        ways.addWidget(self._pattern)
        ways.addWidget(self._case)
        ways.addStretch(1)
        self.form.addRow(tr("Find"), self._find)
        self.form.addRow(tr("Replace by"), self._put)
        self.form.addRow("", ways)
        self.form.addRow(tr("In"), self._scope)
        for field in (self._find, self._put):
            field.textChanged.connect(self.replan)
        for box in (self._pattern, self._case):
            box.toggled.connect(self.replan)
        self._find.setFocus()

    def change(self) -> Callable[[], Callable[[str], str]] | None:
        """What stands in the fields."""
        find, put = self._find.text(), self._put.text()
        is_pattern, match_case = self._pattern.isChecked(), self._case.isChecked()
        if not find:
            return None
        return lambda: replacement(find, put, is_pattern=is_pattern, match_case=match_case)

    def label(self) -> str:
        """`Replace “a” by “b”`."""
        if not self._put.text():
            return tr("Remove “{old}”", old=self._find.text())
        return tr("Replace “{old}” by “{new}”", old=self._find.text(), new=self._put.text())
