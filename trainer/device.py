"""Where and in which number format a run computes, and how much memory that takes."""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import platform
import re
import sys

import psutil
import torch

from trainer import heap
from trainer.errors import ConfigError

_FEW_SIZES = 8  # of pictures: for each, cuDNN tries its kernels once, which takes seconds
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose(wanted: str) -> torch.device:
    """The device of that name; "auto" takes CUDA (or ROCm), then Apple's GPU, then the CPU.

    Raises:
        ConfigError: this machine has no such device.
    """
    if wanted == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if not re.fullmatch(r"cpu|mps|cuda(:\d|:[1-9]\d)?", wanted):
        raise ConfigError("device", f'Device is "{wanted}"; it must be auto, cpu, cuda, cuda:1 or mps.')
    device = torch.device(wanted)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "device",
            'Device is "cuda", but this machine has no usable NVIDIA or AMD GPU, or torch was installed without it. Use auto or cpu.',
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            "device",
            f'Device is "{wanted}", but this machine has {torch.cuda.device_count()} GPU(s), counted from cuda:0.',
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device", 'Device is "mps", but this machine has no Apple GPU. Use auto or cpu.')
    return device


def dtype_of(precision: str, device: torch.device) -> torch.dtype:
    """The format of the frozen weights and of the arithmetic.

    "auto" is bf16 where the device computes in it, else fp16 on GPUs and fp32 on CPUs.
    """
    if precision != "auto":
        return _DTYPES[precision]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device.type == "cpu":
        return torch.bfloat16 if _cpu_computes_bf16() else torch.float32
    return torch.bfloat16


def vae_dtype_of(wanted: str, device: torch.device, dtype: torch.dtype) -> torch.dtype:
    """The format in which pictures are encoded. wanted: the setting; dtype: what the run computes in.

    "auto" is bf16 where the run is and the device is good at it, else fp32: fp16 overflows in SDXL's autoencoder. In bf16
    latents are off by 0.5 % (the demo's autoencoder) or 1.4 % (SD 1.5's with random weights) of their standard deviation, and a
    512 px picture costs half the time. Previews are decoded in fp32.
    """
    if wanted != "auto":
        return _DTYPES[wanted]
    is_quick = dtype is torch.bfloat16 and (device.type != "cpu" or _cpu_computes_bf16())
    return torch.bfloat16 if is_quick else torch.float32


def precision_name(dtype: torch.dtype) -> str:
    """The name of a format in the settings: "fp32", "bf16" or "fp16"."""
    return next(name for name, value in _DTYPES.items() if value is dtype)


def autocast(device: torch.device, dtype: torch.dtype) -> contextlib.AbstractContextManager[object]:
    """Arithmetic in `dtype`; nothing at all for fp32. Frozen weights already are in `dtype`, so they are not cast again."""
    if dtype is torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype)


def scaler(device: torch.device, dtype: torch.dtype) -> torch.amp.GradScaler:
    """Loss scaling for fp16; switched off (a plain pass-through) for the others."""
    return torch.amp.GradScaler(device.type, enabled=dtype is torch.float16)


def memory_gb(device: torch.device) -> float:
    """Memory of the run now: reserved on the GPU, or the process's resident set on the CPU, in 10^9 bytes."""
    if device.type == "cuda":
        return torch.cuda.memory_reserved(device) / 1e9
    if device.type == "mps":
        return torch.mps.driver_allocated_memory() / 1e9
    return float(psutil.Process().memory_info().rss) / 1e9


def memory_peak_gb(device: torch.device) -> float:
    """The most memory that the run has held so far, in 10^9 bytes; 0 where nobody has kept count."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 1e9
    if device.type == "mps":
        return 0.0
    if sys.platform == "win32":
        return float(psutil.Process().memory_info().peak_wset) / 1e9
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def missing_bitsandbytes(device: torch.device) -> str:
    """Why 8-bit optimizers cannot run on this device, as a sentence; empty when they can."""
    if device.type == "mps":
        return "bitsandbytes has no 8-bit optimizers for Apple GPUs."
    if importlib.util.find_spec("bitsandbytes") is None:
        return "bitsandbytes is not installed on this machine."
    return ""


def packs(wanted: str, device: torch.device, dtype: torch.dtype, cost_bytes: int) -> bool:
    """Whether frozen weights are kept packed (`trainer.packed`): on CPUs, when wanted or when there is room for it.

    wanted: the setting, "auto", "on" or "off". cost_bytes: what packing takes beside the model as it is; twice that must be
    free, as activations and previews need room too.
    """
    if device.type != "cpu" or dtype is torch.float16 or wanted == "off" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return wanted == "on" or 2 * cost_bytes < psutil.virtual_memory().available


def attends_quickly(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether `trainer.cpu_attention` pays: on CPUs that compute in bf16."""
    return device.type == "cpu" and dtype is torch.bfloat16 and _cpu_computes_bf16()


def has_amx() -> bool:
    """Whether the CPU has units for matrix products, as Xeons since 2023; torch's own attention uses them well on the way there."""
    return bool(getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)())


def tune(model: torch.nn.Module, device: torch.device, sizes: int) -> None:
    """Readies a model for many steps on a GPU: convolutions in the layout and with the kernels that it is quickest at.

    sizes: of pictures in the run. On a CPU nothing is to be won by it.
    """
    if device.type != "cuda":
        return
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # known to Module.to, but not to its stubs
    torch.backends.cudnn.benchmark = sizes <= _FEW_SIZES
    # What is in fp32 is multiplied in TF32, whose 10 bits are still 3 more than bf16's; plain fp32 takes several times as long.
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True


def collect() -> None:
    """Gives what nobody uses back to the system."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
    heap.trim()


def out_of_memory_advice(device: torch.device) -> str:
    """What to do when memory ran out."""
    where = "The GPU's memory" if device.type != "cpu" else "Memory"
    return f"{where} is full. Lower the batch size (and raise gradient accumulation), switch on gradient checkpointing, or lower the resolution; then resume the run."


def _cpu_computes_bf16() -> bool:
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    # torch has no public name for this yet; without the instructions, bf16 on a CPU is slower than fp32.
    check = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(check and check())
