"""Every string that a person reads in the window goes through `tr`, so that a translation can replace it."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication


def tr(text: str, /, **values: object) -> str:
    """The text in the user's language, with `{name}` replaced by `values`; text without values is taken as it is."""
    translated = QCoreApplication.translate("atelier", text)
    return translated.format(**values) if values else translated


def duration(seconds: float) -> str:
    """A time: "35 s", "41 min", "2 h 5 min"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return tr("{hours} h {minutes} min", hours=hours, minutes=minutes)
    return tr("{minutes} min", minutes=minutes + (rest >= 30)) if minutes else tr("{rest} s", rest=rest)


def counted(number: int, one: str, many: str) -> str:
    """`counted(1, "picture", "pictures")` is "1 picture"; thousands get a comma."""
    return f"{number:,} {tr(one if number == 1 else many)}"


def size(byte_count: float) -> str:
    """A size: "850 kB", "37.9 MB", "2.1 GB"; decimal units, as file managers and Civitai show them."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if byte_count >= scale:
            return f"{byte_count / scale:.1f} {unit}"
    return f"{max(1, round(byte_count / 1e3))} kB" if byte_count else "0 kB"
