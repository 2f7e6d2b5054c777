"""Small things that are told beside the window: a desktop notification, a file's description."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import (
    QApplication,
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QLabel,
    QScrollArea,
    QSystemTrayIcon,
    QVBoxLayout,
    QWidget,
)

from app import theme
from app.texts import tr
from app.widgets.named import named

if TYPE_CHECKING:
    from trainer.lora_description import Description

_TRAY = "atelier_tray"


def notify(window: QWidget, title: str, text: str) -> bool:
    """A desktop notification and an attention request; returns whether the system shows notifications."""
    QApplication.alert(window)
    if not QSystemTrayIcon.isSystemTrayAvailable():
        return False
    tray = window.findChild(QSystemTrayIcon, _TRAY)
    if tray is None:
        tray = QSystemTrayIcon(QGuiApplication.windowIcon(), window)
        tray.setObjectName(_TRAY)
        tray.messageClicked.connect(window.activateWindow)
    tray.show()
    tray.showMessage(title, text, QGuiApplication.windowIcon())
    return True


def show_description(parent: QWidget, description: Description) -> None:
    """A dialog with everything that a LoRA file says about itself."""
    dialog = description_dialog(parent, description)
    dialog.exec()
    dialog.deleteLater()


def description_dialog(parent: QWidget, description: Description) -> QDialog:
    """The dialog of `show_description`."""
    dialog = named(QDialog(parent), "description")
    dialog.setWindowTitle(description.title)
    inner = QWidget()
    column = QVBoxLayout(inner)
    for heading, rows in description.rows.items():
        column.addWidget(theme.role(QLabel(heading), "heading"))
        form = QFormLayout()
        for name, value in rows:
            label = QLabel(value, wordWrap=True)
            label.setTextInteractionFlags(label.textInteractionFlags().TextSelectableByMouse)
            form.addRow(theme.role(QLabel(name), "muted"), label)
        column.addLayout(form)
        column.addSpacing(theme.space(1))
    column.addStretch(1)
    scroll = QScrollArea(widgetResizable=True)
    scroll.setWidget(inner)
    buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
    buttons.rejected.connect(dialog.reject)
    buttons.button(QDialogButtonBox.StandardButton.Close).setText(tr("Close"))
    layout = QVBoxLayout(dialog)
    layout.addWidget(scroll)
    layout.addWidget(buttons)
    dialog.resize(theme.space(75), theme.space(75))
    return dialog
