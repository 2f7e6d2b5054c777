"""Merge and resize of rank-128 SDXL LoRAs (random weights, all 986 layers), against the obvious dense way.

    OMP_WAIT_POLICY=PASSIVE nice -n 10 python -m tests.benchmarks.lora_tools [rank]

Dense: dW = alpha / rank * up @ down of each layer, summed, and torch.linalg.svd of the whole matrix. It is timed on one layer
of each shape and multiplied by how many layers have it, as all of them take an hour. CPU seconds; ours are the whole tool
with reading, writing and comparing.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil
import safetensors.torch
import torch

from tests import single_files
from trainer import lora_rank, lora_tools
from trainer.families.checkpoint_layers import CheckpointLayers

FAMILY, NEW_RANK = "sdxl", 16


def shapes() -> dict[str, tuple[int, int]]:
    """Outputs and inputs of each layer by its name in LoRA files."""
    names = {name: tuple(tensor.shape) for name, tensor in single_files.true_size(FAMILY).items()}
    layers = CheckpointLayers(names, FAMILY)
    found = {target.stem: layers.shape(target.origin) for target in layers.targets(convolutions=False)}
    return {stem: (shape[0], shape[1]) for stem, shape in found.items()}


def write(path: Path, sizes: dict[str, tuple[int, int]], rank: int, seed: int) -> None:
    """A LoRA of random weights, fp16."""
    torch.manual_seed(seed)
    tensors = {}
    for stem, (outputs, inputs) in sizes.items():
        tensors[f"{stem}.lora_down.weight"] = torch.randn(rank, inputs).mul_(0.02).half()
        tensors[f"{stem}.lora_up.weight"] = torch.randn(outputs, rank).mul_(0.02).half()
        tensors[f"{stem}.alpha"] = torch.tensor(float(rank)).half()
    safetensors.torch.save_file(tensors, path, {"ss_base_model_version": "sdxl_base_v1-0"})


def dense_seconds(sizes: dict[str, tuple[int, int]], rank: int, count: int, *, shrink: bool) -> float:
    """CPU seconds of the dense way for `count` LoRAs, from one layer of each shape."""
    total = 0.0
    for (outputs, inputs), times in Counter(sizes.values()).items():
        halves = [(torch.randn(outputs, rank), torch.randn(rank, inputs)) for _ in range(count)]
        begin = time.process_time()
        change = sum((up @ down for up, down in halves), torch.zeros(outputs, inputs))
        if shrink:
            u, s, v = torch.linalg.svd(change, full_matrices=False)
            _ = u[:, :NEW_RANK] * s[:NEW_RANK], v[:NEW_RANK]
        total += times * (time.process_time() - begin)
    return total


def main(rank: int) -> None:
    """Measures and prints."""
    sizes = shapes()
    rule = lora_rank.Rule("rank", NEW_RANK)
    print(f"{len(sizes)} layers of {len(set(sizes.values()))} shapes, rank {rank} to {NEW_RANK}, {torch.get_num_threads()} threads")  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="lora_tools_") as temporary:
        a, b, out = (Path(temporary) / f"{name}.safetensors" for name in "abo")
        write(a, sizes, rank, 1)
        write(b, sizes, rank, 2)
        print(f"each file {a.stat().st_size / 1e9:.2f} GB")
        for title, count, shrink, work in (
            ("resize", 1, True, lambda: lora_tools.resize_file(a, out, rule)),
            ("merge of two, exact", 2, False, lambda: lora_tools.merge_files([(a, 1.0), (b, 0.5)], out, "fp16")),
            ("merge of two, to a rank", 2, True, lambda: lora_tools.merge_files([(a, 1.0), (b, 0.5)], out, "fp16", rule)),
        ):  # fmt: skip
            begin, clock = time.process_time(), time.perf_counter()
            made = work()
            ours, wall = time.process_time() - begin, time.perf_counter() - clock
            dense = dense_seconds(sizes, rank, count, shrink=shrink)
            size = out.stat().st_size / 1e9
            print(
                f"{title:24} ours {ours:7.1f} CPU-s ({wall:.0f} s), dense {dense:8.1f} CPU-s = {dense / ours:6.1f} x; "
                f"{size:.2f} GB, {made.kept:.1%} kept, resident {psutil.Process().memory_info().rss / 1e9:.1f} GB",
                flush=True,
            )
    dense_gb = sum(4 * outputs * inputs for outputs, inputs in sizes.values()) / 1e9
    print(f"the dense changes alone are {dense_gb:.1f} GB in fp32")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 128)
