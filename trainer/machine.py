"""Where a run will compute and how much memory is free there, asked without loading any of the worker's libraries. Imports no torch."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import platform
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import psutil

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trainer.forecast import PastRun
    from trainer.settings import TrainingSettings

Kind = Literal["cpu", "cuda", "mps"]

ASK_SECONDS = 4.0  # nvidia-smi answers in 0.1 s, but waits for a driver that is being woken up
KEEP_SECONDS = 8.0  # so long its answer is taken for true
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Memory:
    """Bytes of memory in all, and free for a run that begins now."""

    total: int
    free: int


@dataclass(frozen=True)
class Spot:
    """Where a run computes. precision: of the frozen weights; memory: None where nobody can tell."""

    kind: Kind
    precision: Literal["fp32", "bf16", "fp16"]
    memory: Memory | None

    @property
    def element(self) -> int:
        """Bytes of a number of that precision."""
        return 4 if self.precision == "fp32" else 2

    @property
    def memory_name(self) -> str:
        """What people call it."""
        return {"cpu": "memory", "cuda": "GPU memory", "mps": "shared memory"}[self.kind]


def spot(settings: TrainingSettings, history: Sequence[PastRun] = (), *, is_elsewhere: bool = False) -> Spot:
    """Where a run with these settings would compute, as far as can be told without the worker's libraries.

    history: earlier runs, the latest first; what they did with the same choice of device and precision counts most.
    is_elsewhere: another machine computes, whose memory cannot be asked.
    """
    alike = [run for run in history if run.settings.device == settings.device and run.device]
    kind = _kind(settings.device, alike[0].device if alike else "")
    precision = settings.precision
    if precision == "auto":
        told = [run.precision for run in alike if run.settings.precision == "auto" and run.precision]
        precision = told[0] if told else _usual_precision(kind)  # type: ignore[assignment]
    index = int(settings.device.partition(":")[2] or 0) if kind == "cuda" else 0
    memory = None if is_elsewhere else gpu_memory(index) if kind == "cuda" else own_memory()
    return Spot(kind, precision, memory)  # type: ignore[arg-type]


def own_memory() -> Memory:
    """The computer's, within the limit of a container; what runs of this program hold is free when the next one begins."""
    found = psutil.virtual_memory()
    total, free = found.total, found.available
    with contextlib.suppress(OSError, ValueError):
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text()) - _reclaimable()
        total, free = min(total, limit), min(free, limit - used)
    return Memory(total, max(0, min(total, free + _held_by_workers())))


def gpu_memory(index: int = 0) -> Memory | None:
    """An NVIDIA GPU's, told by nvidia-smi; None where there is none, or it does not answer."""
    found = _asked(int(time.monotonic() / KEEP_SECONDS))
    return found[index] if index < len(found) else None


def _reclaimable() -> int:
    """Bytes of files that a container's count includes though they are given up on demand."""
    lines = (_CGROUP / "memory.stat").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.split()[0] in ("inactive_file", "active_file"))


def _held_by_workers() -> int:
    held = 0
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "worker" in child.cmdline():
                    held += child.memory_info().rss
    return held


@functools.lru_cache(maxsize=2)
def _asked(_moment: int) -> tuple[Memory, ...]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    command = [program, "--query-gpu=memory.total,memory.free", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ASK_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return parsed(done.stdout)


def parsed(answer: str) -> tuple[Memory, ...]:
    """nvidia-smi's answer, one GPU a line, in MiB: "81559, 80994"; what is no number ("[N/A]") counts as no GPU."""
    out = []
    for line in answer.splitlines():
        if found := re.fullmatch(r"\s*(\d+),\s*(\d+)\s*", line):
            out.append(Memory(int(found[1]) << 20, int(found[2]) << 20))
    return tuple(out)


def _kind(wanted: str, was: str) -> Kind:
    """The device's kind. was: the device of the latest run with the same choice."""
    kinds: tuple[Kind, ...] = ("cuda", "mps", "cpu")
    for kind in kinds:
        if wanted.startswith(kind) or (wanted == "auto" and was.startswith(kind)):
            return kind
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return "mps"
    return "cuda" if _torch_has_gpus() and gpu_memory() is not None else "cpu"


@functools.cache
def _torch_has_gpus() -> bool:
    """Whether the torch that is installed was built for GPUs, by its version's end."""
    try:
        return not importlib.metadata.version("torch").endswith("+cpu")
    except importlib.metadata.PackageNotFoundError:
        return False


def _usual_precision(kind: Kind) -> Literal["fp32", "bf16", "fp16"]:
    if kind != "cpu":
        return "bf16"
    return "bf16" if "avx512_bf16" in _cpu_flags() else "fp32"


@functools.cache
def _cpu_flags() -> frozenset[str]:
    """What the processor can do; empty where the system does not tell as a file, so that the larger need is told."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    line = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return frozenset(line.split())
