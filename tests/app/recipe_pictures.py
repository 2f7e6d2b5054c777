"""A stand-in for `app.pictures.Pictures` with what the recipe page uses of it."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QObject, Signal


@dataclass
class FakeItem:
    caption: str
    included: bool = True


class FakePictures(QObject):
    scanned = Signal()
    includedChanged = Signal(object)

    def __init__(self, *captions: str) -> None:
        super().__init__()
        self.items = [FakeItem(caption) for caption in captions]

    @property
    def included_count(self) -> int:
        return sum(item.included for item in self.items)
