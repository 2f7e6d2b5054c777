"""A stand-in for the worker: a real child process that speaks the protocol, as a script that a test writes."""

from __future__ import annotations

import json
import shlex
import sys
from typing import TYPE_CHECKING

from app import preferences

if TYPE_CHECKING:
    from pathlib import Path

HEAD = """
import json, os, sys, time
folder = sys.argv[-1]
log = open(os.path.join(folder, "events.jsonl"), "a")
def tell(kind, **values):
    line = json.dumps({"type": kind, **values})
    print(line, file=log, flush=True)
    print(line, flush=True)
def heard():
    line = sys.stdin.readline()
    return json.loads(line)["type"] if line else ""
def begin(total=10, step=0):
    tell("hello", protocol=1, version="test", run=folder)
    tell("started", step=step, total_steps=total, pictures=4, steps_per_epoch=2, trainable_parameters=9, device="cpu", precision="fp32")
def steps(first, last):
    for n in range(first, last + 1):
        tell("step_done", step=n, loss=1.0 / n, learning_rates={"unet": 1e-4}, seconds=0.01, memory_gb=0.5)
"""
RUNS_TO_THE_END = "begin(); steps(1, 10); tell('finished', step=10, completed=True)"
WAITS_FOR_A_WORD = """
begin(); steps(1, 3)
while True:
    word = heard()
    if word in ("stop", ""):
        tell("finished", step=3, completed=False)
        break
    tell("paused" if word == "pause" else "resumed", step=3)
"""


def use(tmp_path: Path, body: str) -> tuple[str, ...]:
    """Makes every run of the window train with this script; returns the words in front of `worker RUN_FOLDER`."""
    script = tmp_path / "worker.py"
    script.write_text(HEAD + body, encoding="utf-8")
    words = (sys.executable, str(script))
    preferences.put("worker_command", shlex.join(words))
    assert json.loads(json.dumps(words))
    return words
