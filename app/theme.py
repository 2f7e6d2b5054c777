"""Colours, spacing and icons of the window, from one place; light and dark, following the system or as the user chose."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from PySide6.QtCore import QByteArray, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFontMetricsF, QGuiApplication, QIcon, QPainter, QPalette, QPixmap
from PySide6.QtSvg import QSvgRenderer
from PySide6.QtWidgets import QApplication, QWidget

import resources

if TYPE_CHECKING:
    from collections.abc import Iterable

W = TypeVar("W", bound=QWidget)


@dataclass(frozen=True)
class Colours:
    """What is painted in which colour, as hex strings.

    window: behind everything; surface: cards, lists, fields; raised: hovered or selected surfaces; rail: the left bar.
    accent: the one colour that calls for a click; on_accent: text on it; accent_soft: a tint of it behind selected things.
    loss, rate: the plot's lines.
    """

    window: str
    surface: str
    raised: str
    rail: str
    border: str
    text: str
    muted: str
    accent: str
    accent_hover: str
    on_accent: str
    accent_soft: str
    good: str
    warn: str
    bad: str
    loss: str
    rate: str


LIGHT = Colours(
    window="#f6f3ee", surface="#fffdfa", raised="#efeae2", rail="#ece6dc", border="#d9d1c4", text="#2b2622", muted="#6f665c",
    accent="#c2452d", accent_hover="#a93a25", on_accent="#ffffff", accent_soft="#f7ddd5", good="#2f7d4f", warn="#8f5c00", bad="#b3261e",
    loss="#c2452d", rate="#3a72b8",
)  # fmt: skip
DARK = Colours(
    window="#1d1b1a", surface="#272422", raised="#35312e", rail="#171514", border="#443f3a", text="#efe9e1", muted="#a99f93",
    accent="#f0795b", accent_hover="#ff9277", on_accent="#22100a", accent_soft="#4a2c23", good="#74c794", warn="#e8b04c", bad="#ff8a80",
    loss="#f0795b", rate="#7fb0ee",
)  # fmt: skip

# Okabe and Ito's colours, which colour-blind people tell apart, darker on paper
_CONCEPTS_LIGHT = ("#1f6fb2", "#8a6a00", "#0a7d5c", "#a3487f", "#4d5fa8", "#5f6b1e")
_CONCEPTS_DARK = ("#6fb3ea", "#e6c25a", "#4fc9a2", "#e08fbd", "#a3b1f0", "#bccb6a")

SCHEMES = ("system", "light", "dark")


def is_dark() -> bool:
    """Whether the window is dark now: as the user chose, else as the system is."""
    app = QGuiApplication.instance()
    chosen = app.property("atelier_scheme") if app is not None else None
    if chosen in ("light", "dark"):
        return bool(chosen == "dark")
    return QGuiApplication.styleHints().colorScheme() == Qt.ColorScheme.Dark


def colours() -> Colours:
    """The colours of now. Widgets that paint ask at every paint; they repaint on a PaletteChange event."""
    return DARK if is_dark() else LIGHT


def colour(name: str) -> QColor:
    """One of the colours of now, by its name in `Colours`."""
    return QColor(getattr(colours(), name))


def concept_colour(number: int) -> QColor:
    """The colour that a project's n-th concept (from 1) has everywhere; 0 is the run's own folder's, the accent."""
    if number == 0:
        return colour("accent")
    hues = _CONCEPTS_DARK if is_dark() else _CONCEPTS_LIGHT
    return QColor(hues[(number - 1) % len(hues)])


def apply(app: QApplication, scheme: str = "system") -> None:
    """Sets the style, follows the system's light or dark (or the given one), and keeps up when it changes."""
    app.setStyle("Fusion")
    hints = app.styleHints()
    wanted = {"light": Qt.ColorScheme.Light, "dark": Qt.ColorScheme.Dark}.get(scheme)
    if app.property("atelier_scheme") is None:
        hints.colorSchemeChanged.connect(lambda _scheme: _paint(app))
    app.setProperty("atelier_scheme", scheme)
    if wanted is None:
        hints.unsetColorScheme()
    else:
        hints.setColorScheme(wanted)
    _paint(app)


def _paint(app: QApplication) -> None:
    c = colours()
    palette = QPalette()
    roles = QPalette.ColorRole
    for role, value in (
        (roles.Window, c.window), (roles.WindowText, c.text), (roles.Base, c.surface), (roles.AlternateBase, c.raised),
        (roles.Text, c.text), (roles.Button, c.surface), (roles.ButtonText, c.text), (roles.Highlight, c.accent), (roles.Accent, c.accent),
        (roles.HighlightedText, c.on_accent), (roles.ToolTipBase, c.raised), (roles.ToolTipText, c.text), (roles.PlaceholderText, c.muted),
        (roles.Link, c.accent), (roles.Light, c.raised), (roles.Midlight, c.raised), (roles.Mid, c.border), (roles.Dark, c.border), (roles.Shadow, c.border),
    ):  # fmt: skip
        palette.setColor(role, QColor(value))
    for role in (roles.WindowText, roles.Text, roles.ButtonText):
        palette.setColor(QPalette.ColorGroup.Disabled, role, QColor(c.muted))
    app.setPalette(palette)
    app.setStyleSheet(_style_sheet())


def _style_sheet() -> str:
    """resources/style.qss with `@name` replaced by colours."""
    text = resources.path("style.qss").read_text(encoding="utf-8")
    for field in sorted((f.name for f in fields(Colours)), key=len, reverse=True):
        text = text.replace(f"@{field}", getattr(colours(), field))
    arrow = resources.path("icons", "chevron_down_dark.svg" if is_dark() else "chevron_down_light.svg").as_posix()
    tick = resources.path("icons", "tick_dark.svg" if is_dark() else "tick_light.svg").as_posix()
    text = text.replace("$arrow", arrow).replace("$tick", tick)
    points = QApplication.font().pointSizeF()
    return text.replace("$title", f"{points * 2:.1f}pt").replace("$heading", f"{points * 1.3:.1f}pt")


def space(steps: float = 1) -> int:
    """Distances in px: multiples of half a line of the app's font, so that they grow with it. 1 is about 8 px."""
    return max(1, round(steps * QFontMetricsF(QApplication.font()).height() / 2))


def role(widget: W, name: str) -> W:
    """Gives a widget one of the looks of resources/style.qss and returns it.

    Labels: title, heading, muted, bad, warn, good. Frames: card, panel. Buttons: primary, quiet, danger.
    """
    widget.setProperty("role", name)
    if widget.testAttribute(Qt.WidgetAttribute.WA_WState_Polished):  # a fresh widget is styled when it is shown
        style = widget.style()
        style.unpolish(widget)
        style.polish(widget)
    return widget


def icon(name: str, colour_name: str = "text") -> QIcon:
    """A line icon from resources/icons in a colour of now, crisp at any scale. Ask again after a PaletteChange."""
    return _icon(name, colour_name, is_dark())


@lru_cache(maxsize=256)
def _icon(name: str, colour_name: str, dark: bool) -> QIcon:
    out = QIcon()
    for px in (16, 20, 24, 32, 48):
        out.addPixmap(pixmap(name, px, colour_name))
    out.addPixmap(pixmap(name, 20, "muted"), QIcon.Mode.Disabled)
    return out


def pixmap(name: str, px: int, colour_name: str = "text") -> QPixmap:
    """The icon as a pixmap of px logical pixels, for a screen of ratio 2."""
    svg = resources.path("icons", f"{name}.svg").read_text(encoding="utf-8")
    svg = svg.replace("currentColor", getattr(colours(), colour_name))
    out = QPixmap(QSize(px * 2, px * 2))
    out.fill(Qt.GlobalColor.transparent)
    painter = QPainter(out)
    QSvgRenderer(QByteArray(svg.encode())).render(painter, QRectF(0, 0, px * 2, px * 2))
    painter.end()
    out.setDevicePixelRatio(2)
    return out


def contrast(one: str, other: str) -> float:
    """Contrast of two colours as WCAG 2 defines it, 1 to 21; text wants 4.5."""
    a, b = sorted((_luminance(QColor(one)), _luminance(QColor(other))))
    return (b + 0.05) / (a + 0.05)


def _luminance(c: QColor) -> float:
    def linear(v: float) -> float:
        return v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4

    return 0.2126 * linear(c.redF()) + 0.7152 * linear(c.greenF()) + 0.0722 * linear(c.blueF())


def icon_names() -> Iterable[str]:
    """All icons that ship."""
    return sorted(p.stem for p in resources.path("icons").glob("*.svg"))
