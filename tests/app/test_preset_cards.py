"""Three cards, one of which may be chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QLabel, QPushButton

from app import theme
from app.widgets.preset_cards import PresetCards
from trainer import presets

if TYPE_CHECKING:
    from pytestqt.qtbot import QtBot


def card(cards: PresetCards, name: str) -> QPushButton:
    found = cards.findChild(QPushButton, f"preset_{name}")
    assert isinstance(found, QPushButton)
    return found


def test_nothing_is_chosen_at_first_and_every_card_says_what_it_is_for(qtbot: QtBot) -> None:
    cards = PresetCards()
    qtbot.addWidget(cards)
    assert cards.preset() == ""
    for name in presets.NAMES:
        texts = [label.text() for label in card(cards, name).findChildren(QLabel)]
        assert presets.load(name).title in texts and presets.load(name).summary in texts
        assert card(cards, name).accessibleName() == presets.load(name).title


def test_a_click_chooses_and_can_be_repeated(qtbot: QtBot) -> None:
    cards = PresetCards()
    qtbot.addWidget(cards)
    heard: list[str] = []
    cards.chosen.connect(heard.append)
    for name in ("style", "object", "object"):
        qtbot.mouseClick(card(cards, name), Qt.MouseButton.LeftButton)
        assert cards.preset() == name
    assert heard == ["style", "object", "object"]


def test_the_keyboard_chooses(qtbot: QtBot) -> None:
    cards = PresetCards()
    qtbot.addWidget(cards)
    cards.show()
    heard: list[str] = []
    cards.chosen.connect(heard.append)
    card(cards, "character").setFocus()
    qtbot.keyClick(card(cards, "character"), Qt.Key.Key_Space)
    assert heard == ["character"]


def test_showing_a_preset_tells_nobody_and_none_can_be_shown_again(qtbot: QtBot) -> None:
    cards = PresetCards()
    qtbot.addWidget(cards)
    with qtbot.assertNotEmitted(cards.chosen):
        cards.set_preset("style")
        assert cards.preset() == "style"
        cards.set_preset("")
    assert cards.preset() == ""


def test_cards_are_equally_wide_and_hold_their_text(qtbot: QtBot) -> None:
    cards = PresetCards()
    qtbot.addWidget(cards)
    cards.resize(620, 10)
    cards.show()
    cards.resize(620, cards.heightForWidth(620))
    widths = {card(cards, name).width() for name in presets.NAMES}
    assert max(widths) - min(widths) <= 1
    for name in presets.NAMES:
        for label in card(cards, name).findChildren(QLabel):
            assert (
                label.height()
                >= (label.heightForWidth(label.width()) if label.wordWrap() else label.sizeHint().height()) - 1
            )


def test_the_icons_follow_the_theme(qtbot: QtBot, qapp: QApplication) -> None:
    cards = PresetCards()
    qtbot.addWidget(cards)
    before = card(cards, "style").findChildren(QLabel)[0].pixmap().toImage()
    theme.apply(qapp, "dark")
    assert card(cards, "style").findChildren(QLabel)[0].pixmap().toImage() != before
