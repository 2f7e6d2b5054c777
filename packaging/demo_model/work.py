"""What the training scripts share: time budgets, resumable state, drawn pictures as tensors.

Everything lands in a work folder that git ignores. State is safetensors and JSON; nothing is pickled.
"""

from __future__ import annotations

import json
import math
import os
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file

from pictures import draw, random_shapes, random_spec

if TYPE_CHECKING:
    from collections.abc import Callable

WORK = Path(os.environ.get("DEMO_MODEL_WORK", Path(__file__).resolve().parents[2] / ".demo_model"))


class Budget:
    """A training time in CPU minutes of a process, so that a busy machine only takes longer; it survives interruptions.

    The learning rate follows it, so any budget ends near 0.
    """

    def __init__(self, minutes: float, *, peak_learning_rate: float, warmup_share: float = 0.02) -> None:
        self.minutes, self.peak, self.warmup_share = minutes, peak_learning_rate, warmup_share
        self.spent_s, self._mark = 0.0, time.process_time()

    def tick(self) -> float:
        """Counts the time since the last call; returns the share of the budget that is spent, in [0, 1]."""
        now = time.process_time()
        self.spent_s += now - self._mark
        self._mark = now
        return min(1.0, self.spent_s / 60 / self.minutes)

    def learning_rate(self, share: float) -> float:
        """Linear warm-up, then half a cosine down to 1 % of the peak."""
        if share < self.warmup_share:
            return self.peak * (share / self.warmup_share + 1e-3)
        x = (share - self.warmup_share) / (1 - self.warmup_share)
        return self.peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * x)))


class State:
    """The weights, moving averages and optimizer moments of one training, saved and loaded as one file."""

    def __init__(
        self, name: str, model: torch.nn.Module, optimizer: torch.optim.Optimizer, budget: Budget, ema: float = 0.999
    ) -> None:
        self.path = WORK / f"{name}.safetensors"
        self.model, self.optimizer, self.budget, self.decay = model, optimizer, budget, ema
        self.average = {k: v.detach().clone() for k, v in model.state_dict().items()}
        self.step = 0

    def update_average(self) -> None:
        """Exponential moving average of the weights, warmed up by (1 + step) / (10 + step)."""
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        live = self.model.state_dict()
        keys = [k for k, v in live.items() if v.is_floating_point()]
        torch._foreach_lerp_([self.average[k] for k in keys], [live[k] for k in keys], 1 - decay)

    def save(self) -> None:
        """Writes everything; a reader never sees half a file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {f"model.{k}": v.contiguous() for k, v in self.model.state_dict().items()}
        tensors |= {f"average.{k}": v.contiguous() for k, v in self.average.items()}
        for i, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{k}": v.contiguous() for k, v in moments.items()}
        partial = self.path.with_suffix(".part")
        save_file(tensors, partial, {"json": json.dumps({"step": self.step, "spent_s": self.budget.spent_s})})
        partial.replace(self.path)

    def load(self) -> bool:
        """Goes on from the file if there is one."""
        if not self.path.is_file():
            return False
        tensors = load_file(self.path)
        self.model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
        self.average = {k[8:]: v for k, v in tensors.items() if k.startswith("average.")}
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("optimizer."):
                _, i, name = key.split(".")
                moments.setdefault(int(i), {})[name] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        numbers = json.loads(_metadata(self.path)["json"])
        self.step, self.budget.spent_s = numbers["step"], numbers["spent_s"]
        return True


def _metadata(path: Path) -> dict[str, str]:
    with path.open("rb") as f:
        return json.loads(f.read(int.from_bytes(f.read(8), "little")))["__metadata__"]  # type: ignore[no-any-return]


def start_process(rank: int, processes: int) -> None:
    """Joins the processes that train together.

    Several one-thread processes that average their gradients beat one with as many threads by a third to a half here: the
    products are small.
    """
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // processes))
    dist.init_process_group("gloo", init_method=f"file://{WORK}/rendezvous", rank=rank, world_size=processes)


def run_processes(train: Callable[..., None], minutes: float, processes: int) -> None:
    """Runs `train(rank, minutes, processes)` in so many processes and waits."""
    WORK.mkdir(exist_ok=True)
    (WORK / "rendezvous").unlink(missing_ok=True)
    torch.multiprocessing.spawn(train, (minutes, processes), nprocs=processes)


def spent_together(budget: Budget) -> float:
    """The share of the budget that is spent, the same in all processes."""
    share = torch.tensor([budget.tick()])
    dist.broadcast(share, 0)
    return float(share)


def average_gradients(parameters: list[torch.nn.Parameter]) -> None:
    """Each gradient becomes the mean over the processes."""
    used = [p for p in parameters if p.grad is not None]
    together = torch.cat([p.grad.flatten() for p in used]) / dist.get_world_size()
    dist.all_reduce(together)
    for p, grad in zip(used, together.split([p.numel() for p in used]), strict=True):
        p.grad = grad.view_as(p)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The same rate for every group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def drawn(count: int, seed: int, *, random_share: float = 0.0) -> torch.Tensor:
    """`count` pictures as bytes (N, 3, 128, 128); `random_share` of them shapes of nothing in particular."""
    rng = random.Random(seed)
    out = torch.empty(count, 3, 128, 128, dtype=torch.uint8)
    for i in range(count):
        picture = random_shapes(rng) if rng.random() < random_share else draw(random_spec(rng), rng)
        out[i] = as_bytes(picture)
    return out


def as_bytes(picture: object) -> torch.Tensor:
    """A Pillow picture as (3, H, W) bytes."""
    import numpy

    return torch.from_numpy(numpy.array(picture)).permute(2, 0, 1)


def as_signal(pictures: torch.Tensor) -> torch.Tensor:
    """Bytes to the [-1, 1] that the autoencoder reads."""
    return pictures.float() / 127.5 - 1


def psnr_db(a: torch.Tensor, b: torch.Tensor) -> float:
    """Peak signal-to-noise ratio of two signals in [-1, 1]: mean over the pictures of each picture's decibels."""
    error = (a - b).square().flatten(1).mean(1)
    return float((10 * torch.log10(4 / error)).mean())
