"""Which device and number format a run takes; GPUs are played by patching torch."""

from __future__ import annotations

import contextlib
import importlib.util

import pytest
import torch

from trainer import device as devices
from trainer.errors import ConfigError

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda"), torch.device("mps")


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with two GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without one."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


# Devices


@pytest.mark.usefixtures("no_gpu")
def test_auto_takes_the_cpu_where_there_is_nothing_else() -> None:
    assert devices.choose("auto") == CPU
    assert devices.choose("cpu") == CPU


@pytest.mark.usefixtures("gpus")
def test_auto_takes_the_gpu() -> None:
    assert devices.choose("auto") == CUDA
    assert devices.choose("cuda:1") == torch.device("cuda:1")


def test_auto_takes_apples_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert devices.choose("auto") == devices.choose("mps") == MPS


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("cuda", r'Device is "cuda", but this machine has no usable NVIDIA or AMD GPU.* Use auto or cpu\.'),
        ("cuda:1", r"has no usable NVIDIA or AMD GPU"),
        ("mps", r'Device is "mps", but this machine has no Apple GPU\. Use auto or cpu\.'),
    ],
)
def test_a_gpu_that_is_not_there_is_said(wanted: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        devices.choose(wanted)
    assert error.value.field == "device"


@pytest.mark.usefixtures("gpus")
def test_the_third_of_two_gpus_is_said() -> None:
    with pytest.raises(
        ConfigError, match=r'Device is "cuda:2", but this machine has 2 GPU\(s\), counted from cuda:0\.'
    ):
        devices.choose("cuda:2")


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize(
    "wanted", ["", "gpu", "CUDA", "cuda:", "cuda:x", "cuda:-1", "cuda:300", "xpu", "meta", "cpu:3"]
)
def test_nonsense_is_said(wanted: str) -> None:
    """`meta` and `xpu` are devices to torch, not to us; torch itself takes cuda:300 for cuda:44."""
    expected = f'Device is "{wanted}"; it must be auto, cpu, cuda, cuda:1 or mps.'
    with pytest.raises(ConfigError) as error:
        devices.choose(wanted)
    assert (error.value.field, str(error.value)) == ("device", expected)


# Number formats


@pytest.mark.parametrize("device", [CPU, CUDA, MPS])
@pytest.mark.parametrize(
    ("name", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_a_precision_that_was_asked_for_is_taken(device: torch.device, name: str, dtype: torch.dtype) -> None:
    assert devices.dtype_of(name, device) is dtype
    assert devices.precision_name(dtype) == name


@pytest.mark.parametrize(("native", "dtype"), [(True, torch.bfloat16), (False, torch.float16)])
def test_auto_on_a_gpu_is_bf16_only_where_it_is_native(
    native: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Older GPUs emulate bf16 slowly, and torch says True unless told not to count that."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: native or including_emulation)
    assert devices.dtype_of("auto", CUDA) is dtype


@pytest.mark.parametrize(
    ("machine", "has_instructions", "dtype"),
    [
        ("x86_64", True, torch.bfloat16),
        ("AMD64", True, torch.bfloat16),
        ("x86_64", False, torch.float32),
        ("arm64", True, torch.float32),
    ],
)
def test_auto_on_a_cpu_is_bf16_only_with_the_instructions(
    machine: str, has_instructions: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices.platform, "machine", lambda: machine)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_instructions)
    assert devices.dtype_of("auto", CPU) is dtype


def test_auto_on_this_machine_computes() -> None:
    device = devices.choose("auto")
    dtype = devices.dtype_of("auto", device)
    assert torch.ones(2, 2, device=device, dtype=dtype).mm(torch.ones(2, 2, device=device, dtype=dtype)).sum() == 8


def test_autocast_is_off_for_fp32_and_in_the_format_otherwise() -> None:
    a = torch.ones(2, 2)
    assert isinstance(devices.autocast(CPU, torch.float32), contextlib.nullcontext)
    with devices.autocast(CPU, torch.float32):
        assert a.mm(a).dtype is torch.float32
    with devices.autocast(CPU, torch.bfloat16):
        assert a.mm(a).dtype is torch.bfloat16
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize(("dtype", "enabled"), [(torch.float32, False), (torch.bfloat16, False), (torch.float16, True)])
def test_losses_are_scaled_for_fp16_only(dtype: torch.dtype, enabled: bool) -> None:
    scaler = devices.scaler(CPU, dtype)
    assert scaler.is_enabled() is enabled
    assert (float(scaler.scale(torch.tensor(1.0))) > 1) is enabled


# Memory and advice


def test_memory_on_the_cpu_is_the_process_itself() -> None:
    before = devices.memory_gb(CPU)
    assert 0.05 < before < 100
    ballast = torch.ones(50_000_000)  # 0.2 GB
    assert devices.memory_gb(CPU) - before == pytest.approx(0.2, abs=0.1)
    del ballast


def test_memory_on_gpus_is_what_torch_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 3_500_000_000)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 1_500_000_000)
    assert (devices.memory_gb(CUDA), devices.memory_gb(MPS)) == (3.5, 1.5)


def test_8_bit_optimizers_need_bitsandbytes_and_another_gpu_than_apples(monkeypatch: pytest.MonkeyPatch) -> None:
    assert devices.missing_bitsandbytes(MPS) == "bitsandbytes has no 8-bit optimizers for Apple GPUs."
    assert devices.missing_bitsandbytes(CPU) == ""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert devices.missing_bitsandbytes(CUDA) == "bitsandbytes is not installed on this machine."


@pytest.mark.parametrize(("device", "begin"), [(CUDA, "The GPU's memory is full."), (CPU, "Memory is full.")])
def test_the_advice_on_full_memory_says_what_to_change(device: torch.device, begin: str) -> None:
    advice = devices.out_of_memory_advice(device)
    assert advice.startswith(begin)
    for word in ("batch size", "gradient accumulation", "gradient checkpointing", "resolution", "resume"):
        assert word in advice


@pytest.mark.parametrize(
    ("wanted", "device", "dtype", "is_good", "expected"),
    [
        ("auto", "cpu", torch.bfloat16, True, torch.bfloat16),
        ("auto", "cpu", torch.bfloat16, False, torch.float32),  # bf16 by the user's wish, on a CPU that is slow at it
        ("auto", "cpu", torch.float32, True, torch.float32),
        ("auto", "cuda", torch.bfloat16, False, torch.bfloat16),
        ("auto", "cuda", torch.float16, False, torch.float32),  # SDXL's autoencoder overflows in fp16
        ("fp32", "cuda", torch.bfloat16, True, torch.float32),
        ("bf16", "cpu", torch.float32, False, torch.bfloat16),
    ],
)
def test_pictures_are_encoded_in_bf16_where_that_is_quicker(
    wanted: str, device: str, dtype: torch.dtype, is_good: bool, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "_cpu_computes_bf16", lambda: is_good)
    assert devices.vae_dtype_of(wanted, torch.device(device), dtype) is expected
