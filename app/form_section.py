"""One group of settings in the form; its rows are made when they are first seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtWidgets import QFrame, QLabel, QVBoxLayout, QWidget

from app import theme
from app.form_row import FormRow
from app.texts import tr

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence


class FormSection(QWidget):
    """A heading and a card of rows. Making a row costs about a millisecond, so only those that are looked at are made."""

    def __init__(self, group: str, names: Sequence[str], made: Callable[[FormRow], None], parent: QWidget) -> None:
        """A section; `made` is called with each row that comes into being."""
        super().__init__(parent)
        self.group, self.names = group, tuple(names)
        self.rows: dict[str, FormRow] = {}
        self._made = made
        card = theme.role(QFrame(), "card")
        self._column = QVBoxLayout(card)
        self._column.setContentsMargins(theme.space(1), theme.space(1), theme.space(1), theme.space(1))
        self._column.setSpacing(theme.space(0.5))
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, theme.space(1.5))
        whole.setSpacing(theme.space(1))
        whole.addWidget(theme.role(QLabel(tr(group)), "heading"))
        whole.addWidget(card)
        self.hide()

    def row(self, name: str) -> FormRow:
        """The row of a setting of this group."""
        if name not in self.rows:
            row = FormRow(name, self)
            self._column.insertWidget(sum(n in self.rows for n in self.names[: self.names.index(name)]), row)
            self.rows[name] = row
            self._made(row)
        return self.rows[name]

    def show_only(self, names: Collection[str]) -> None:
        """Shows these of its rows; with none of them, the section is hidden."""
        for name in self.names:
            if name in names:
                self.row(name).setVisible(True)
            elif name in self.rows:
                self.rows[name].setVisible(False)
        self.setVisible(any(name in names for name in self.names))
