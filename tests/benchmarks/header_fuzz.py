"""Reads 100,000 damaged, lying and invented model files, and tells what came of it; then times the zoo of true headers.

python -m tests.benchmarks.header_fuzz [CASES] [SEED]

Every error but a sentence is a failure, as is a small file that takes more than 100 ms of computing or asks for more than 20 MB.
"""

from __future__ import annotations

import gc
import random
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from pathlib import Path

from tests import header_cases, single_files
from tests.test_header_fuzz import MAX_BYTES
from tests.test_headers import ZOO
from trainer import lora_kinds
from trainer.families import headers

MAX_SECONDS = 0.1
TRACED = 10  # one in so many is read with its memory watched, which makes it slow


def main(count: int, seed: int) -> int:
    """Runs the cases; the number of failures is the exit code."""
    rng, real = random.Random(seed), header_cases.real_files()
    outcomes: Counter[tuple[str, str]] = Counter()
    seconds: list[tuple[float, str, int]] = []
    peaks: list[int] = []
    failures = 0
    gc.collect()
    gc.freeze()  # torch's own objects, which would be looked through again and again
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.safetensors"
        for n in range(count):
            kind, raw = header_cases.case(rng, real)
            path.write_bytes(raw)
            try:
                if n % TRACED == 0:
                    outcome, peak = traced(path)
                    peaks.append(peak)
                    slow = False
                else:
                    outcome, took = timed(path)
                    if took > MAX_SECONDS:  # again, as the machine may have been busy with something else
                        outcome, took = timed(path)
                    seconds.append((took, kind, n))
                    peak, slow = 0, took > MAX_SECONDS
            except Exception as error:  # to go on counting; the file is kept
                outcome, peak, slow = f"{type(error).__name__}: {str(error)[:90]}", 0, False
            outcomes[kind, outcome] += 1
            if outcome not in ("read", "refused") or slow or peak > MAX_BYTES + len(raw):
                failures += 1
                Path(f"/tmp/header_fuzz_{seed}_{n}.bin").write_bytes(raw)
                print(f"case {n} ({kind}, {len(raw):,} bytes): {outcome}{', slow' if slow else ''}, {peak:,} bytes")
    report(count, outcomes, seconds, peaks)
    zoo()
    print(f"{failures} failures")
    return min(failures, 100)


def timed(path: Path) -> tuple[str, float]:
    """The outcome, and the seconds of computing."""
    begin = time.thread_time()
    outcome = header_cases.read_all(path)
    return outcome, time.thread_time() - begin


def traced(path: Path) -> tuple[str, int]:
    """The outcome, and the most bytes that were asked for."""
    tracemalloc.start()
    try:
        return header_cases.read_all(path), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def report(
    count: int, outcomes: Counter[tuple[str, str]], seconds: list[tuple[float, str, int]], peaks: list[int]
) -> None:
    """Counts and times."""
    print(f"{count:,} cases")
    for (kind, outcome), n in sorted(outcomes.items()):
        print(f"  {kind:<10} {outcome:<10} {n:>8,}")
    ordered = sorted(seconds)
    total = sum(s for s, _, _ in ordered)
    worst, kind, n = ordered[-1]
    print(
        f"  {1e3 * total / len(ordered):.3f} ms a case (computing), half of them below {1e3 * ordered[len(ordered) // 2][0]:.3f} ms, "
        f"the worst {1e3 * worst:.1f} ms (case {n}, {kind}); most memory {max(peaks) / 1e6:.2f} MB in {len(peaks):,} watched"
    )


def zoo() -> None:
    """How long it takes to tell what a file with a true header is."""
    times = []
    for entry in ZOO:
        header = single_files.header(entry.make(), entry.dtype, entry.metadata)
        begin = time.thread_time()
        headers.identify_header(header, entry.file, 1)
        middle = time.thread_time()
        lora_kinds.identify_header(header, entry.file)
        times.append((middle - begin, time.thread_time() - middle, entry.name, len(header.shapes)))
    for what, i in (("base model", 0), ("LoRA", 1)):
        worst = max(times, key=lambda t: t[i])
        mean = sum(t[i] for t in times) / len(times)
        print(
            f"{len(times)} headers of the zoo, told as a {what}: {1e3 * mean:.2f} ms each, "
            f"the worst {1e3 * worst[i]:.2f} ms ({worst[2]}, {worst[3]:,} tensors)"
        )


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    sys.exit(main(given[0] if given else 100_000, given[1] if len(given) > 1 else 1))
