from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app.widgets.memory_gauge import MemoryGauge

if TYPE_CHECKING:
    from pytestqt.qtbot import QtBot


def test_the_memory_gauge_in_figures(qtbot: QtBot) -> None:
    gauge = MemoryGauge()
    qtbot.addWidget(gauge)
    assert gauge.text() == "Memory: not known yet" and gauge.share == 0
    gauge.set_values(3.2, 3.9)
    assert gauge.text() == "3.2 GB, peak 3.9 GB" and gauge.share == pytest.approx(3.2 / 3.9)
    gauge.set_values(7.6, 7.7, 8.0)
    assert gauge.text() == "7.6 of 8 GB, peak 7.7 GB" and "nearly full" in gauge.toolTip()
    assert gauge.accessibleName() == "Memory of the run: 7.6 of 8 GB, peak 7.7 GB"
    gauge.resize(gauge.sizeHint())
    gauge.grab()
