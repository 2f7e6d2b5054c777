"""Quantised bases measured: held-out loss of the demo LoRA, memory and time of SD 1.5 and SDXL in true size with random weights.

    OMP_WAIT_POLICY=PASSIVE nice -n 5 python -m tests.benchmarks.qlora demo [--steps 120] [--seeds 42 43] [--kinds nf4 none]
    OMP_WAIT_POLICY=PASSIVE nice -n 5 python -m tests.benchmarks.qlora sd1 [--base FILE] [--kinds none nf4 int8] [--resolution 512]
    OMP_WAIT_POLICY=PASSIVE nice -n 5 python -m tests.benchmarks.qlora sdxl [--base FILE] [--kinds nf4]

True sizes run in the worker itself, each kind twice: the second start maps what the first one kept. SDXL computes its blocks
again (gradient checkpointing all), at 512 px and rank 16. The columns are those of tests.benchmarks.true_size.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch

import resources
from tests import single_files
from tests.benchmarks import true_size
from trainer import loop, quantized, run_folder, settings_file
from trainer.control import NoControl
from trainer.events import Event, StepDone, Validated
from trainer.families.tensor_file import empty_model


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("demo", "sd1", "sdxl"))
    parser.add_argument("--kinds", nargs="+", choices=("fp32", "none", "nf4", "int8"))
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seeds", type=int, nargs="+", default=[42])
    parser.add_argument("--resolution", type=int, default=512)
    parser.add_argument("--base", type=Path, help="a true-size file that is there already")
    arguments = parser.parse_args()
    if arguments.what == "demo":
        demo(arguments.kinds or ["none", "nf4", "int8"], arguments.seeds, arguments.steps or 120)
    else:
        arguments.family, arguments.steps, arguments.pictures = arguments.what, arguments.steps or 1, 1
        print_bytes(arguments.what)
        true_sizes(arguments, arguments.kinds or (["nf4"] if arguments.what == "sdxl" else ["none", "nf4", "int8"]))


def demo(kinds: list[str], seeds: list[int], steps: int) -> None:
    """Trains the demo LoRA on each kind of base with the same seeds, in bf16 but for "fp32"; prints the held-out loss before and after."""
    last: dict[tuple[str, int], float] = {}
    for seed in seeds:
        for kind in kinds:
            before, after, seconds = _demo_run(kind, seed, steps)
            last[kind, seed] = after
            print(f"seed {seed} {kind:5}: held-out loss {before:.5f} -> {after:.5f}, {seconds:.2f} s a step", flush=True)  # fmt: skip
    for kind in kinds:
        if kind != kinds[0]:
            ratios = [last[kind, seed] / last[kinds[0], seed] for seed in seeds]
            shown = ", ".join(f"{100 * (ratio - 1):+.2f} %" for ratio in ratios)
            print(f"{kind} against {kinds[0]}, trained: {shown}; mean {100 * (sum(ratios) / len(ratios) - 1):+.2f} %")


def _demo_run(kind: str, seed: int, steps: int) -> tuple[float, float, float]:
    values = settings_file.read_dict(resources.path("demo", "character.toml"))
    with tempfile.TemporaryDirectory(prefix="qlora_") as temporary:
        values |= {
            "quantization": "none" if kind == "fp32" else kind, "precision": "fp32" if kind == "fp32" else "bf16", "seed": seed, "steps": steps, "validate_every_steps": steps, "save_every_steps": 0,
            "preview_every_steps": 0, "previews": [], "runs_folder": temporary, "device": "cpu",
        }  # fmt: skip
        events: list[Event] = []
        loop.train(run_folder.create(settings_file.from_dict(values)), events.append, NoControl())
    losses = [event.loss for event in events if isinstance(event, Validated)]
    seconds = sorted(event.seconds for event in events if isinstance(event, StepDone))
    return losses[0], losses[-1], seconds[len(seconds) // 2]


def print_bytes(family: str) -> None:
    """What the linear layers of each part take, by kind, without making them."""
    for part in ("unet", "text_encoder"):
        config: dict[str, Any] = json.loads(resources.path("configs", family, part, "config.json").read_text("utf-8"))
        for kind in ("nf4", "int8"):
            model = empty_model(single_files.KINDS[part], config)
            plain = 2 * sum(m.weight.numel() for m in model.modules() if type(m) is torch.nn.Linear)
            rest = 2 * sum(p.numel() for p in model.parameters()) - plain
            quantized.replace_linears(model, kind, torch.bfloat16)  # type: ignore[arg-type]
            small = quantized.quantized_bytes(model)
            print(f"{family} {part}: linear weights {plain / 1e9:.2f} GB in bf16, {small / 1e9:.2f} GB in {kind} = {small / plain:.3f}; the rest {rest / 1e9:.2f} GB")  # fmt: skip


def true_sizes(arguments: argparse.Namespace, kinds: list[str]) -> None:
    """Trains in the worker, twice for each kind."""
    checkpointing = "all" if arguments.what == "sdxl" else "off"
    for kind in kinds:
        with tempfile.TemporaryDirectory(prefix="qlora_") as temporary:
            arguments.changes = [
                f"quantization={kind}",
                f"gradient_checkpointing={checkpointing}",
                "packed_weights=off",
            ]
            values = true_size.values(arguments, Path(temporary))
            for title in ("first start", "second start"):
                true_size.measure(f"{arguments.what} {kind}, {title}", run_folder.create(settings_file.from_dict(values)).path)  # fmt: skip


if __name__ == "__main__":
    main()
