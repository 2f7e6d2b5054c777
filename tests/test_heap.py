"""heap.py: what a process lets go of goes back to the system."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from trainer import heap

_CODE = """
import re, sys
from trainer import heap
if "steady" in sys.argv:
    heap.steady()
def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
import torch
torch.set_num_threads(1)
torch.ones(1 << 10)
before = resident()
for _ in range(4):  # glibc learns from what is freed, and then takes such sizes from its heap
    torch.ones(7 << 20)
kept, let_go = [], []
for _ in range(30):
    let_go.append(torch.ones(1 << 20))
    kept.append(torch.ones(1 << 12))
assert resident() > before + 110
del let_go
after = resident()
if "trim" in sys.argv:
    heap.trim()
    after = resident()
print(after - before)
"""


def left_mb(*words: str) -> float:
    """Of 120 MB in blocks of 4 MB that were let go between small ones, what the process still holds."""
    done = subprocess.run([sys.executable, "-c", _CODE, *words], capture_output=True, text=True, check=True)
    return float(done.stdout)


@pytest.mark.skipif(heap._glibc() is None, reason="only glibc is set up")
def test_what_is_let_go_leaves_the_process() -> None:
    assert left_mb("plain") > 60, "the trap is gone; so may the module"
    assert left_mb("steady") < 20
    assert left_mb("trim") < 20


def test_the_users_own_choice_of_large_pages_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap, "_glibc", lambda: None)  # this process's own heap stays as it is
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "0")
    heap.steady()
    assert os.environ["THP_MEM_ALLOC_ENABLE"] == "0"
    monkeypatch.delenv("THP_MEM_ALLOC_ENABLE")
    heap.steady()
    assert os.environ["THP_MEM_ALLOC_ENABLE"] == "1"


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_elsewhere_nothing_happens(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    heap._glibc.cache_clear()
    assert heap._glibc() is None
    heap.steady()
    heap.trim()
    heap._glibc.cache_clear()


_RECYCLED = """
import re
from trainer import heap
heap.steady()
import torch
torch.set_num_threads(1)
def faults():
    return int(open("/proc/self/stat").read().rpartition(")")[2].split()[7])
def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
def work():
    before = faults()
    for _ in range(5):
        torch.ones(10 << 20).add(1)
    return faults() - before
work()
usual = work()
with heap.recycling():
    work()
    recycled, kept = work(), resident()
print(usual, recycled, kept - resident(), work())
"""


@pytest.mark.skipif(heap._glibc() is None, reason="only glibc is set up")
def test_what_is_recycled_is_not_asked_of_the_system_again_and_goes_back_at_the_end() -> None:
    environment = os.environ | {"THP_MEM_ALLOC_ENABLE": "0"}  # small pages, so that each fault can be counted
    done = subprocess.run(
        [sys.executable, "-c", _RECYCLED], capture_output=True, text=True, check=True, env=environment
    )
    usual, recycled, given_back, afterwards = map(float, done.stdout.split())
    assert usual > 5 * 2 * (40 << 20) / (64 << 10) and afterwards > usual / 2
    assert recycled < usual / 100
    assert given_back > 70
