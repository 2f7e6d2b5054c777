"""A question before something is replaced or thrown away: what happens, and two plain answers."""

from __future__ import annotations

from PySide6.QtWidgets import QMessageBox, QWidget

from app.texts import tr


def confirm(parent: QWidget, question: str, details: str, action: str) -> bool:
    """Asks; True only when the button `action` was pressed. Enter and Escape cancel."""
    box = QMessageBox(QMessageBox.Icon.Question, tr("LoRA Atelier"), question, parent=parent)
    box.setObjectName("confirm")
    box.setInformativeText(details)
    do_it = box.addButton(action, QMessageBox.ButtonRole.DestructiveRole)
    do_it.setObjectName("confirm_yes")
    cancel = box.addButton(QMessageBox.StandardButton.Cancel)
    cancel.setObjectName("confirm_cancel")
    box.setDefaultButton(cancel)
    box.setEscapeButton(cancel)
    box.exec()
    clicked = box.clickedButton()
    box.deleteLater()
    return clicked is do_it
