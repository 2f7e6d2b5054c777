"""A training step on true-size SD 1.5 (random weights, bf16, rank 16, 192 modules): the engine's against a bare peft loop's.

    OMP_WAIT_POLICY=PASSIVE python -m tests.benchmarks.step_speed [resolution] [steps] [SETTING=VALUE ...]

Both in one process, turn by turn, so that a busy machine slows both: CPU seconds of the process, medians. The bare loop is the
UNet with plain peft layers, a forward and a backward pass and fused AdamW on tensors that are there already; the engine's step
is all that `trainer.loop` does. Writes to a temporary folder (2.1 GB, removed at the end).
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig, inject_adapter_in_model

from tests.benchmarks.single_file import write_random
from tests.benchmarks.true_size import draw
from trainer import families, run_folder, session, settings_file
from trainer.training_step import optimizer_step

ENDS = (".to_q", ".to_k", ".to_v", ".to_out.0", ".ff.net.0.proj", ".ff.net.2", ".proj_in", ".proj_out")


class Bare:
    """UNet, plain peft layers, AdamW."""

    def __init__(self, base: Path, resolution: int) -> None:
        self._unet: Any = families.load(base).load_unet(torch.bfloat16, torch.device("cpu"))
        assert isinstance(self._unet, UNet2DConditionModel)
        names = [name for name, _ in self._unet.named_modules() if name.endswith(ENDS)]
        inject_adapter_in_model(LoraConfig(r=16, lora_alpha=16, target_modules=names), self._unet)
        weights = [p for p in self._unet.parameters() if p.requires_grad]
        for weight in weights:
            weight.data = weight.data.float()
        self._optimizer = torch.optim.AdamW(weights, lr=1e-4, fused=True)
        self._side = resolution // 8
        self._told = torch.randn(1, 77, self._unet.config.cross_attention_dim).bfloat16()
        self._unet.train()

    def step(self) -> None:
        """One."""
        noisy, target = torch.randn(2, 1, 4, self._side, self._side)
        with torch.autocast("cpu", torch.bfloat16):
            out = self._unet(noisy.bfloat16(), torch.tensor([500]), self._told, return_dict=False)[0]
        (out.float() - target).square().mean().backward()
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)


def main(resolution: int, steps: int, changes: dict[str, str]) -> None:
    """Measures and prints."""
    with tempfile.TemporaryDirectory(prefix="step_speed_") as temporary:
        folder = Path(temporary)
        base = folder / "sd1.safetensors"
        write_random("sd1", base)
        values = {
            "base": str(base), "data": str(draw(folder / "pictures", 1, resolution)), "resolution": resolution, "steps": 10_000, "rank": 16,
            "precision": "bf16", "device": "cpu", "runs_folder": str(folder / "runs"), "cache_folder": str(folder / "cache"), "trigger": "noise",
        } | changes  # fmt: skip
        made = session.prepare(run_folder.create(settings_file.from_dict(values)), lambda event: None)
        bare = Bare(base, resolution)
        print(f"packed: {made.packed}; resident {psutil.Process().memory_info().rss / 1e9:.1f} GB with both models")
        times: dict[str, list[float]] = {"bare loop": [], "engine": []}
        for number in range(steps + 1):
            for title, step in (("bare loop", bare.step), ("engine", lambda n=number: optimizer_step(made, n, 10_000))):  # type: ignore[misc]  # fmt: skip
                begin = time.process_time()
                step()
                if number:  # the first one packs, and warms up
                    times[title].append(time.process_time() - begin)
        for title, found in times.items():
            print(f"{title:10} median {statistics.median(found):.2f} CPU-s ({min(found):.2f} to {max(found):.2f})")
        ratios = [e / b for e, b in zip(times["engine"], times["bare loop"], strict=True)]
        print(
            f"engine / bare loop: {statistics.median(times['engine']) / statistics.median(times['bare loop']):.3f} of medians, "
            f"{min(ratios):.3f} to {max(ratios):.3f} step by step"
        )


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:3] if word.isdecimal()]
    given = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
    main(*(numbers + [256, 8][len(numbers) :]), given)  # type: ignore[arg-type]
