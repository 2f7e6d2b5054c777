"""Our step and start beside the peers' own programs, unmodified: CPU seconds a step, time to the first step, peak memory.

    SD_SCRIPTS=~/sd-scripts DIFFUSERS_EXAMPLES=~/diffusers/examples PEER_PYTHON=~/peers/bin/python \
    OMP_WAIT_POLICY=PASSIVE nice -n 5 python -m tests.benchmarks.peers [--sides 256 512] [--rounds 2] [--steps 4] [--pictures 12]

SD_SCRIPTS is a checkout of kohya's sd-scripts, DIFFUSERS_EXAMPLES the examples of one of diffusers; none of their code is here.
PEER_PYTHON runs them (this Python unless given), PEER_PYTHONPATH is put before its path. What is not given is not measured.

All train SD 1.5 in true size with random weights (2.1 GB as a single file, and again as a folder, removed at the end) on the
same pictures: rank 16, bf16, batch 1, AdamW, UNet only. sd-scripts adapts 192 modules, as we do; diffusers' script adapts the 128
of attention, so ours runs a second time with these only. Every run is a process of its own, in turns, so that a busy machine
slows all alike. The end of each step is taken from outside, by a hook on torch's optimizers that a `sitecustomize` in front of the
path sets: the same in all programs. A step is what lies between two of these, so packing weights counts to the start.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

import resources
from tests.benchmarks.single_file import configs_with_vocabulary, write_random
from tests.benchmarks.true_size import draw
from trainer import families, run_folder, settings_file

HOOK = """
import os, resource, time
if os.environ.get("STEP_LOG"):
    from torch.optim.optimizer import register_optimizer_step_post_hook
    def _note(*_):
        with open(os.environ["STEP_LOG"], "a") as file:
            print(time.time(), time.process_time(), file=file)
    handle = register_optimizer_step_post_hook(_note)
"""
# Ours / theirs, by side: the goals of a step, and of the start to the first step.
GOALS = {"sd-scripts": {256: 0.70, 512: 0.95}, "diffusers": {256: 0.52, 512: 0.62}}
START_GOAL = 0.6
CHECKOUTS = {"sd-scripts": "SD_SCRIPTS", "diffusers": "DIFFUSERS_EXAMPLES"}
HINTS = {
    "sd-scripts": "SD_SCRIPTS is not set: give a checkout of kohya-ss/sd-scripts (the folder with train_network.py) to measure it.",
    "diffusers": "DIFFUSERS_EXAMPLES is not set: give the examples folder of a checkout of diffusers to measure its text-to-image script.",
}  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """The files of a benchmark: the base in both layouts, the pictures for each program."""

    folder: Path
    steps: int

    @property
    def base(self) -> Path:
        return self.folder / "sd1.safetensors"

    @property
    def base_folder(self) -> Path:
        return self.folder / "sd1_folder"

    @property
    def tokenizers(self) -> Path:
        return self.folder / "tokenizers"

    def pictures(self, side: int) -> Path:
        return self.folder / f"pictures_{side}"

    def listed(self, side: int) -> Path:
        return self.folder / f"listed_{side}"


@dataclass
class Measured:
    """The runs of one program at one size."""

    steps: list[float] = field(default_factory=list)
    start_wall: list[float] = field(default_factory=list)
    start_cpu: list[float] = field(default_factory=list)
    peak_gb: list[float] = field(default_factory=list)

    @property
    def step(self) -> float:
        return statistics.median(self.steps)

    def row(self, title: str) -> str:
        """As a line of a Markdown table."""
        spread = f"{min(self.steps):.2f} to {max(self.steps):.2f}, n {len(self.steps)}"
        return (
            f"| {title} | {self.step:.2f} ({spread}) | {statistics.median(self.start_wall):.1f} | "
            f"{statistics.median(self.start_cpu):.1f} | {max(self.peak_gb):.2f} |"
        )


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=4, help="optimizer steps in a run; the first is not counted")
    parser.add_argument("--pictures", type=int, default=12)
    parser.add_argument(
        "--folder", type=Path, help="where the 4 GB are written; the system's temporary folder unless given"
    )
    options = parser.parse_args()
    peers = given()
    with tempfile.TemporaryDirectory(prefix="peers_", dir=options.folder) as temporary:
        bench = Bench(Path(temporary), options.steps)
        write_base(bench, folder_too="diffusers" in peers)
        for side in options.sides:
            write_pictures(bench, side, options.pictures)
            found = measure(bench, side, peers, options.rounds)
            report(side, found, options.pictures)


def given() -> list[str]:
    """The peers whose checkouts are there; says of the others what to set."""
    for name, variable in CHECKOUTS.items():
        if not os.environ.get(variable):
            print(HINTS[name])
    return [name for name, variable in CHECKOUTS.items() if os.environ.get(variable)]


def write_base(bench: Bench, *, folder_too: bool) -> None:
    """The single file, and the same weights as a diffusers folder in fp16; tokenizers for those who ask a hub for one."""
    write_random("sd1", bench.base)
    (bench.folder / "site").mkdir()
    (bench.folder / "site" / "sitecustomize.py").write_text(HOOK, encoding="utf-8")
    configs = configs_with_vocabulary("sd1", bench.folder)
    shutil.copytree(configs / "tokenizer", bench.tokenizers / "openai_clip-vit-large-patch14")
    if not folder_too:
        return
    cpu, backbone = torch.device("cpu"), families.load(bench.base)
    shutil.copytree(configs / "tokenizer", bench.base_folder / "tokenizer")
    shutil.copytree(resources.path("configs", "sd1", "scheduler"), bench.base_folder / "scheduler")
    backbone.load_unet(torch.float16, cpu).save_pretrained(bench.base_folder / "unet")
    backbone.unet = None
    backbone.load_text_encoders(torch.float16, cpu)
    backbone.text_encoders["text_encoder"].save_pretrained(bench.base_folder / "text_encoder")
    backbone.load_vae(cpu).half().save_pretrained(bench.base_folder / "vae")
    del backbone
    gc.collect()


def write_pictures(bench: Bench, side: int, count: int) -> None:
    """The same pictures as sd-scripts, diffusers' loader and we want them."""
    bench.pictures(side).mkdir()
    drawn = draw(bench.pictures(side) / "1_noise", count, side)
    bench.listed(side).mkdir()
    lines = []
    for path in sorted(drawn.glob("*.png")):
        shutil.copy(path, bench.listed(side))
        lines.append(json.dumps({"file_name": path.name, "text": path.with_suffix(".txt").read_text(encoding="utf-8")}))
    (bench.listed(side) / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def measure(bench: Bench, side: int, peers: list[str], rounds: int) -> dict[str, Measured]:
    """All programs in turns; after the rounds, ours once more on what its cache then holds."""
    names = ["ours"] + peers + (["ours, attention only"] if "diffusers" in peers else [])
    found = {name: Measured() for name in names}
    for number in range(rounds):
        for name in names:
            out = bench.folder / f"out_{side}_{name.split()[-1]}_{number}"
            out.mkdir()
            launch(bench, name, side, out, found[name])
            shutil.rmtree(out)
    out = bench.folder / f"again_{side}"
    out.mkdir()
    launch(bench, "ours", side, out, Measured())
    found["ours, all cached"] = Measured()
    launch(bench, "ours", side, out, found["ours, all cached"])
    return found


def launch(bench: Bench, name: str, side: int, out: Path, into: Measured) -> None:
    """One run of a program, to its end."""
    log = out / "steps.txt"
    log.unlink(missing_ok=True)
    site = [str(bench.folder / "site")]
    argv, where = command(bench, name, side, out)
    if not name.startswith("ours"):
        site += [p for p in (os.environ.get("PEER_PYTHONPATH", ""),) if p]
    environment = os.environ | {
        "STEP_LOG": str(log), "PYTHONPATH": os.pathsep.join(site), "HF_HUB_OFFLINE": "1", "HF_HOME": str(bench.folder / "hub"),
        "OMP_WAIT_POLICY": "PASSIVE",
    }  # fmt: skip
    with (out / "output.txt").open("w") as output:
        begin = time.time()
        process = subprocess.Popen(
            argv, cwd=where, env=environment, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT
        )  # the end of stdin would tell our worker that its window is gone
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.stdin is not None
        process.stdin.close()
    ends = [tuple(map(float, line.split())) for line in log.read_text().splitlines()] if log.exists() else []
    if process.returncode or len(ends) < 2:
        tail = (out / "output.txt").read_text(errors="replace")[-3000:]
        raise SystemExit(f"{name} at {side} px ended with {process.returncode} after {len(ends)} steps:\n{tail}")
    into.steps += [b[1] - a[1] for a, b in itertools.pairwise(ends)]
    into.start_wall.append(ends[0][0] - begin)
    into.start_cpu.append(ends[0][1])
    into.peak_gb.append(used.ru_maxrss * 1024 / 1e9)
    print(
        f"  {side} px {name:22} steps {', '.join(f'{s:.2f}' for s in into.steps[-len(ends) + 1 :])} CPU-s; first step after "
        f"{into.start_wall[-1]:.1f} s = {into.start_cpu[-1]:.1f} CPU-s; peak {into.peak_gb[-1]:.2f} GB", flush=True,
    )  # fmt: skip


def command(bench: Bench, name: str, side: int, out: Path) -> tuple[list[str], Path]:
    """What starts a program, and in which folder."""
    python, here = os.environ.get("PEER_PYTHON") or sys.executable, Path(__file__).resolve().parents[2]
    if name == "sd-scripts":
        return [
            python, "train_network.py", f"--pretrained_model_name_or_path={bench.base}", f"--train_data_dir={bench.pictures(side)}",
            f"--resolution={side},{side}", f"--output_dir={out}", "--output_name=theirs", "--network_module=networks.lora", "--network_dim=16",
            "--network_alpha=16", "--network_train_unet_only", "--optimizer_type=AdamW", "--learning_rate=1e-4", "--train_batch_size=1",
            f"--max_train_steps={bench.steps}", "--mixed_precision=bf16", "--save_precision=fp16", "--cache_latents", "--sdpa",
            "--caption_extension=.txt", "--max_data_loader_n_workers=0", "--save_model_as=safetensors", "--seed=42",
            f"--tokenizer_cache_dir={bench.tokenizers}",
        ], Path(os.environ["SD_SCRIPTS"]).expanduser()  # fmt: skip
    if name == "diffusers":
        return [
            python, "train_text_to_image_lora.py", f"--pretrained_model_name_or_path={bench.base_folder}", f"--train_data_dir={bench.listed(side)}",
            f"--resolution={side}", "--center_crop", "--train_batch_size=1", f"--max_train_steps={bench.steps}", "--rank=16", "--mixed_precision=bf16",
            "--learning_rate=1e-4", "--lr_scheduler=constant", "--lr_warmup_steps=0", f"--output_dir={out}", f"--cache_dir={out / 'datasets'}", "--seed=42",
        ], Path(os.environ["DIFFUSERS_EXAMPLES"]).expanduser() / "text_to_image"  # fmt: skip
    targets = ["attention"] if "attention" in name else ["attention", "feed_forward", "projections"]
    settings = settings_file.from_dict({
        "base": str(bench.base), "data": str(bench.pictures(side)), "resolution": side, "steps": bench.steps, "rank": 16, "precision": "bf16",
        "targets": targets, "device": "cpu", "min_snr_gamma": 0, "schedule": "constant", "preview_every_steps": 0, "save_every_steps": 0,
        "runs_folder": str(out / "runs"), "cache_folder": str(out / "cache"), "trigger": "noise",
    })  # fmt: skip
    return [sys.executable, "-m", "app", "worker", str(run_folder.create(settings).path)], here


def report(side: int, found: dict[str, Measured], pictures: int) -> None:
    """The table and the ratios to the goals."""
    print(f"\n{side} px, bf16, {pictures} pictures\n")
    print("| program | CPU-s a step | start, wall s | start, CPU-s | peak GB |\n|---|---|---|---|---|")
    for name, measured in found.items():
        print(measured.row(name))
    print()
    for peer, own in (("sd-scripts", "ours"), ("diffusers", "ours, attention only")):
        if peer not in found:
            continue
        _judge(f"{side} px: step, {own} / {peer}", found[own].step / found[peer].step, GOALS[peer].get(side))
        walls = [statistics.median(found[n].start_wall) for n in (own, peer)]
        busy = [statistics.median(found[n].start_cpu) for n in (own, peer)]
        goal = START_GOAL if peer == "sd-scripts" else None  # diffusers' script caches nothing, so it starts at once
        _judge(f"{side} px: start to first step, {own} / {peer}, wall", walls[0] / walls[1], goal)
        _judge(f"{side} px: start to first step, {own} / {peer}, CPU", busy[0] / busy[1], goal)
    print(flush=True)


def _judge(what: str, ratio: float, goal: float | None) -> None:
    verdict = "" if goal is None else f" (goal {goal:.2f}: {'reached' if ratio <= goal else 'NOT reached'})"
    print(f"{what}: {ratio:.2f}{verdict}")


if __name__ == "__main__":
    main()
