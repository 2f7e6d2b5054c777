"""How long the window takes from the start of the process to its first painted frame.

    python -m tests.benchmarks.window_start [--runs 5]

Median of fresh processes, as `lora-atelier` starts them; the time runs from just before the process is made.
Offscreen unless QT_QPA_PLATFORM says otherwise.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

CHILD = """
import sys, time
from PySide6.QtCore import QEvent, QObject, QTimer
class Watch(QObject):
    def eventFilter(self, thing, event):
        if event.type() == QEvent.Type.Paint and thing.objectName() == "main_window":
            QTimer.singleShot(0, self.done)
        return False
    def done(self):
        print(time.time(), "torch" in sys.modules, flush=True)
        QTimer.singleShot(0, __import__("PySide6.QtWidgets").QtWidgets.QApplication.quit)
from app import window
app = window.application()
watch = Watch(app)
app.installEventFilter(watch)
sys.exit(window.main())
"""


def main() -> None:
    """Prints each run, the median, and whether torch was imported (it must not be)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    seconds = []
    with tempfile.TemporaryDirectory() as home:
        environment = {"QT_QPA_PLATFORM": "offscreen"} | os.environ | {"LORA_ATELIER_HOME": home}
        for _ in range(options.runs):
            begun = time.time()
            said = subprocess.run(
                [sys.executable, "-P", "-c", CHILD],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
                timeout=60,
            )
            first, torch = said.stdout.splitlines()[0].split()
            seconds.append(float(first) - begun)
            print(f"{seconds[-1]:.2f} s, torch imported: {torch}")
    print(f"median {statistics.median(seconds):.2f} s (asked: 1.5), load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
