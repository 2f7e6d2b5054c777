"""How small a LoRA shall become: to a rank, or as far as a share of its effect allows."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QCheckBox, QGridLayout, QLabel, QRadioButton, QSlider, QSpinBox, QVBoxLayout, QWidget

from app import theme
from app.field_base import NoStrayWheel
from app.texts import tr
from app.widgets.named import named

LEAST_SHARE, USUAL_SHARE = 50, 95  # per cent


class RankChoice(QWidget):
    """Two ways, each with a slider and a number.

    Signals:
        changed: another way or another number.
    """

    changed = Signal()

    def __init__(self, by_rank: str, by_share: str, wide: str, most: int, rank: int) -> None:
        """by_rank, by_share, wide: what the ways and the box are called. most: the largest rank; rank: the one proposed."""
        super().__init__()
        self.by_rank = named(QRadioButton(by_rank), "tool_by_rank")
        self.by_rank.setChecked(True)
        self.by_share = named(QRadioButton(by_share), "tool_by_share")
        self._rank = _Number("tool_rank", tr("Rank"), (1, most), rank)
        self._share = _Number("tool_share", tr("Share kept"), (LEAST_SHARE, 100), USUAL_SHARE, " %")
        self.wide = named(QCheckBox(wide), "tool_wide")
        self._wide_rank = _Number("tool_wide_rank", tr("Rank of the convolutions"), (1, most), rank)
        self._share_help = tr(
            "Layers that do little shrink the most. The picture changes as little as the share that is left out."
        )
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.space(0.75))
        self._help = theme.role(QLabel(self._share_help, wordWrap=True), "muted")
        for widget in (self.by_rank, self._rank, self.by_share, self._share, self._help, self.wide, self._wide_rank):
            column.addWidget(widget)
        for button in (self.by_rank, self.by_share, self.wide):
            button.toggled.connect(self._on_way)
        for number in (self._rank, self._share, self._wide_rank):
            number.changed.connect(self.changed)
        self.set_wide(False)

    @property
    def rank(self) -> int | None:
        """The rank, if it is chosen by rank."""
        return self._rank.value if self.by_rank.isChecked() else None

    @property
    def wide_rank(self) -> int | None:
        """Of the convolutions, when it is another one."""
        return self._wide_rank.value if self._is_wide_wanted() else None

    @property
    def share(self) -> int:
        """In per cent; counts when there is no rank."""
        return self._share.value

    def words(self) -> list[str]:
        """For the sub-command. Its energy is the square of what people see as the share that is left."""
        by_share = ["--energy", f"{(self.share / 100) ** 2:.6g}"]
        wide = ["--conv-rank", str(self._wide_rank.value)] if self._is_wide_wanted() else []
        return [*(["--rank", str(self._rank.value)] if self.by_rank.isChecked() else by_share), *wide]

    def set_most(self, most: int, rank: int) -> None:
        """Another largest rank, and the one proposed."""
        for number in (self._rank, self._wide_rank):
            number.set_range(1, most)
            number.set_value(rank)

    def set_wide(self, has_wide: bool) -> None:
        """Whether there are convolutions to choose a rank for."""
        self._has_wide = has_wide
        self._refresh()

    def first_field(self) -> QWidget:
        """The chosen way's slider."""
        return (self._rank if self.by_rank.isChecked() else self._share).slider

    def _is_wide_wanted(self) -> bool:
        return self._has_wide and self.wide.isChecked()

    def _refresh(self) -> None:
        by_rank = self.by_rank.isChecked()
        self._rank.setVisible(by_rank)
        self.wide.setVisible(self._has_wide)
        self._wide_rank.setVisible(self._is_wide_wanted())
        self._share.setVisible(not by_rank)
        self._help.setVisible(not by_rank)

    def _on_way(self) -> None:
        self._refresh()
        self.changed.emit()


class _Number(QWidget):
    """A slider and the same number to type.

    Signals:
        changed: another number.
    """

    changed = Signal()

    def __init__(self, name: str, spoken: str, bounds: tuple[int, int], value: int, unit: str = "") -> None:
        super().__init__()
        self.slider = named(QSlider(Qt.Orientation.Horizontal), f"{name}_slider", spoken=spoken, tip=spoken)
        self.slider.setMinimumHeight(theme.space(3))
        self.number = named(QSpinBox(suffix=unit), name, spoken=spoken, tip=spoken)
        self.number.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.set_range(*bounds)
        self.set_value(value)
        for widget in (self.slider, self.number):
            widget.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
            widget.installEventFilter(NoStrayWheel(widget))
        self.slider.valueChanged.connect(self.number.setValue)
        self.number.valueChanged.connect(self.slider.setValue)
        self.number.valueChanged.connect(lambda _value: self.changed.emit())
        row = QGridLayout(self)
        row.setContentsMargins(theme.space(3), 0, 0, 0)
        row.setHorizontalSpacing(theme.space(1.5))
        row.addWidget(self.slider, 0, 0)
        row.addWidget(self.number, 0, 1)
        row.setColumnStretch(0, 1)

    @property
    def value(self) -> int:
        return self.number.value()

    def set_range(self, least: int, most: int) -> None:
        self.slider.setRange(least, most)
        self.number.setRange(least, most)

    def set_value(self, value: int) -> None:
        self.slider.setValue(value)
        self.number.setValue(value)
