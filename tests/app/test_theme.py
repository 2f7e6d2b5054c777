"""Colours that can be read, icons that exist, distances that grow with the font."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest
from PySide6.QtWidgets import QApplication, QLabel

import resources
from app import theme

TEXT_ON = (("text", "window"), ("text", "surface"), ("text", "raised"), ("text", "accent_soft"), ("muted", "window"), ("muted", "surface"),
           ("muted", "raised"), ("muted", "rail"), ("on_accent", "accent"), ("on_accent", "accent_hover"), ("bad", "surface"), ("warn", "surface"), ("good", "surface"), ("accent", "surface"))  # fmt: skip


@pytest.mark.parametrize("colours", [theme.LIGHT, theme.DARK], ids=["light", "dark"])
@pytest.mark.parametrize(("front", "back"), TEXT_ON)
def test_text_can_be_read_as_wcag_asks(colours: theme.Colours, front: str, back: str) -> None:
    assert theme.contrast(getattr(colours, front), getattr(colours, back)) >= 4.5


def test_contrast_of_black_and_white_is_21() -> None:
    assert theme.contrast("#000000", "#ffffff") == pytest.approx(21)
    assert theme.contrast("#777777", "#777777") == pytest.approx(1)


@pytest.mark.parametrize("name", theme.icon_names())
def test_every_icon_draws_something_and_takes_its_colour(name: str, qapp: QApplication) -> None:
    image = theme.pixmap(name, 24, "accent").toImage()
    assert any(image.pixelColor(x, y).alpha() > 100 for x in range(48) for y in range(48))


def test_the_theme_follows_the_choice_and_repaints(qapp: QApplication) -> None:
    theme.apply(qapp, "dark")
    assert theme.is_dark() and qapp.palette().window().color().name() == theme.DARK.window
    assert theme.DARK.accent in qapp.styleSheet()
    theme.apply(qapp, "light")
    assert not theme.is_dark() and theme.LIGHT.accent in qapp.styleSheet()


def test_the_style_sheet_names_only_colours_that_exist() -> None:
    text = resources.path("style.qss").read_text(encoding="utf-8")
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    assert set(re.findall(r"@(\w+)", text)) <= {f.name for f in fields(theme.Colours)}
    assert set(re.findall(r"\$(\w+)", text)) <= {"arrow", "tick", "title", "heading"}


def test_a_role_is_seen_at_once(qapp: QApplication) -> None:
    label = QLabel("x")
    assert theme.role(label, "title") is label and label.property("role") == "title"
    assert theme.space(2) > theme.space(1) >= 6
