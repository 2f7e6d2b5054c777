"""None, True and False survive any number of Qt calls."""

from __future__ import annotations

import subprocess
import sys

from app import immortal


def test_a_hundred_thousand_calls_that_return_nothing_do_no_harm() -> None:
    """Without the workaround the interpreter aborts after a few thousand on Python 3.11."""
    code = (
        "import app\nfrom PySide6.QtCore import QObject\no = QObject()\n"
        "for _ in range(100_000):\n    o.setObjectName('x'); o.parent(); o.blockSignals(True)\nprint('alive')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr


def test_it_is_done_once_only() -> None:
    before = sys.getrefcount(None)
    immortal.make_immortal()
    assert not immortal.needed() or sys.getrefcount(None) < before + immortal.PLENTY // 2
    assert sys.getrefcount(None) >= immortal.PLENTY // 2 or not immortal.needed()
