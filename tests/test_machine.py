"""machine.py: where a run will compute and what is free there, without any of the worker's libraries."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from trainer import machine
from trainer.forecast import PastRun
from trainer.machine import Memory, parsed, spot
from trainer.settings import TrainingSettings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    for cached in (machine._asked, machine._torch_has_gpus, machine._cpu_flags):
        cached.cache_clear()
    monkeypatch.setattr(shutil, "which", lambda _name: None)


def past(was: str, computed: str = "bf16", **changes: Any) -> PastRun:
    """A run that was on that device, in that precision."""
    return PastRun(TrainingSettings(**changes), 1.0, "kind", was, computed)


def test_the_answer_of_nvidia_smi_is_read_line_by_line() -> None:
    assert parsed("81559, 80994\n24576, 1024\n") == (
        Memory(81559 << 20, 80994 << 20), Memory(24576 << 20, 1024 << 20),
    )  # fmt: skip
    assert parsed("[N/A], [N/A]\nNo devices were found\n") == ()


@pytest.mark.parametrize("answer", ["print('24576, 20480')", "import time; time.sleep(9)", "raise SystemExit(9)"])
def test_a_gpu_is_asked_by_a_program_that_may_fail_or_hang(
    answer: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!{sys.executable}\n{answer}\n")
    program.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda _name: str(program))
    monkeypatch.setattr(machine, "ASK_SECONDS", 0.7 if "sleep" in answer else 20)
    found = machine.gpu_memory()
    assert found == (Memory(24576 << 20, 20480 << 20) if "print" in answer else None)
    assert machine.gpu_memory(1) is None
    if found is not None:
        assert spot(TrainingSettings(device="cuda")).memory == found
        assert spot(TrainingSettings(device="cuda:1")).memory is None


def test_the_device_is_what_the_settings_say_or_what_earlier_runs_did() -> None:
    assert spot(TrainingSettings(device="cuda:1")).kind == "cuda"
    assert spot(TrainingSettings(device="mps")).kind == "mps"
    assert spot(TrainingSettings(), [past("cuda:0"), past("cpu")]).kind == "cuda"
    assert spot(TrainingSettings(device="cpu"), [past("cuda:0")]).kind == "cpu"
    if sys.platform == "linux":  # no GPU answers here
        assert spot(TrainingSettings()).kind == "cpu"


def test_the_precision_is_what_earlier_runs_took_or_what_the_processor_is_good_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on_cpu = TrainingSettings(device="cpu")
    assert spot(on_cpu, [past("cpu", "bf16", device="cpu")]).precision == "bf16"
    assert spot(on_cpu, [past("cpu", "fp16", device="cpu", precision="fp16")]).precision != "fp16"
    assert spot(TrainingSettings(device="cpu", precision="fp16")).element == 2
    monkeypatch.setattr(machine, "_cpu_flags", lambda: frozenset({"avx512_bf16"}))
    assert spot(on_cpu).precision == "bf16"
    monkeypatch.setattr(machine, "_cpu_flags", lambda: frozenset({"avx2"}))
    assert spot(on_cpu).precision == "fp32" and spot(on_cpu).element == 4


def test_another_machines_memory_is_unknown() -> None:
    assert spot(TrainingSettings(device="cpu"), is_elsewhere=True).memory is None


def test_a_container_has_no_more_than_its_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = machine.own_memory()
    assert 0 < whole.free <= whole.total
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text("3000000000\n")
    (tmp_path / "memory.current").write_text("1500000000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 400000000\nactive_file 100000000\n")
    monkeypatch.setattr(machine, "_held_by_workers", lambda: 0)
    found = machine.own_memory()
    assert found.free == min(2_000_000_000, found.free) and found.total == 3_000_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.own_memory().total == whole.total


def test_what_a_worker_holds_is_free_when_the_next_begins() -> None:
    code = "x = bytearray(200_000_000); print('ready', flush=True); import sys; sys.stdin.read()"
    child = subprocess.Popen([sys.executable, "-c", code, "worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None and child.stdout.readline()
        assert machine._held_by_workers() > 200_000_000
    finally:
        child.kill()
        child.communicate()
    assert machine._held_by_workers() < 200_000_000
