"""Single files at true size with random weights: time to tell what they are, load time and peak memory, against diffusers.

    nice -n 10 python -m tests.benchmarks.single_file [sd1] [sdxl]

Writes to a temporary folder (2.1 GB and 6.9 GB, removed at the end); each loader runs in a process of its own. Peak memory is
the process's largest resident size less what it had before loading; "parts" is the size of what is loaded, in bf16.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

import resources
from tests import single_files
from trainer.families.vocabulary import merges, vocabulary

_COMMON = """
import gc, resource, sys, time, warnings
warnings.simplefilter("ignore")
from pathlib import Path
import torch, diffusers, transformers
path, configs = Path(sys.argv[1]), sys.argv[2]
def resident():
    return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmRSS")) * 1024
"""
_OURS = """
from trainer import families
import trainer.families.sd, trainer.families.sdxl
before, begin, busy = resident(), time.perf_counter(), time.process_time()
backbone = families.load(path)
cpu = torch.device("cpu")
backbone.load_unet(torch.bfloat16, cpu); backbone.load_vae(cpu); backbone.load_text_encoders(torch.bfloat16, cpu)
"""
_THEIRS = """
kind = diffusers.StableDiffusionXLPipeline if "sdxl" in configs else diffusers.StableDiffusionPipeline
kind.from_single_file, transformers.CLIPTextModel, transformers.CLIPTokenizer
before, begin, busy = resident(), time.perf_counter(), time.process_time()
pipe = kind.from_single_file(path, config=configs, local_files_only=True, torch_dtype=torch.bfloat16)
"""
_END = """
print(f"  ({time.process_time() - busy:.1f} s of processor time)")
print("RESULT", time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before)
"""
_IDENTIFY = """
import sys, time
from pathlib import Path
from trainer.families.headers import identify
path = Path(sys.argv[1])
times = []
for _ in range(5):
    begin = time.perf_counter(); identity = identify(path); times.append(time.perf_counter() - begin)
print("RESULT", times[0], min(times))
print(identity.sentence)
"""


def write_random(family: str, path: Path) -> int:
    """A true-size fp16 file, streamed so that no memory is needed; returns its number of weights."""
    entries, end = {}, 0
    for name, tensor in sorted(single_files.true_size(family).items()):
        size = 2 * math.prod(tensor.shape)
        entries[name] = {"dtype": "F16", "shape": list(tensor.shape), "data_offsets": [end, end + size]}
        end += size
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    block = (torch.randn(1 << 23) * 0.02).half().numpy().tobytes()
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        while end > 0:
            file.write(block[: min(end, len(block))])
            end -= len(block)
    return sum(math.prod(e["shape"]) for e in entries.values())  # type: ignore[arg-type]


def configs_with_vocabulary(family: str, folder: Path) -> Path:
    """Our configurations with the vocabulary as files, which diffusers needs."""
    target = Path(shutil.copytree(resources.path("configs", family), folder / family))
    for tokenizer in target.glob("tokenizer*"):
        (tokenizer / "vocab.json").write_text(json.dumps(vocabulary()), encoding="utf-8")
        (tokenizer / "merges.txt").write_text("#version: 0.2\n" + "\n".join(map(" ".join, merges())), encoding="utf-8")
    return target


def run(code: str, path: Path, configs: Path) -> tuple[float, float]:
    """Two numbers that the code prints, from a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), str(configs)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(done.stderr[-2000:])
        return math.nan, math.nan
    print(*[line for line in done.stdout.splitlines() if not line.startswith("RESULT")], sep="\n", end="")
    words = next(line for line in done.stdout.splitlines() if line.startswith("RESULT")).split()
    return float(words[1]), float(words[2])


def main(families: list[str]) -> None:
    """Measures each family."""
    with tempfile.TemporaryDirectory(prefix="single_file_") as temporary:
        folder = Path(temporary)
        for family in families:
            if shutil.disk_usage(folder).free < 15e9:
                raise SystemExit("Less than 15 GB are free; nothing was measured.")
            path = folder / f"{family}.safetensors"
            weights = write_random(family, path)
            configs = configs_with_vocabulary(family, folder)
            first, best = run(_IDENTIFY, path, configs)
            print(
                f"\n{family}: told in {1000 * first:.0f} ms the first time, {1000 * best:.0f} ms at best; parts {2 * weights / 1e9:.2f} GB in bf16"
            )
            for title, code in (("diffusers", _THEIRS), ("ours", _OURS)):
                begin = time.perf_counter()
                seconds, peak = run(_COMMON + code + _END, path, configs)
                print(
                    f"  {title:9} {seconds:6.1f} s, peak {peak / 1e9:.2f} GB = {peak / (2 * weights):.2f} x parts (process {time.perf_counter() - begin:.0f} s)"
                )
            path.unlink()


if __name__ == "__main__":
    main(sys.argv[1:] or ["sd1", "sdxl"])
