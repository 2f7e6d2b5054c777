"""How fast the demo run is, and what the engine adds to a bare loop.

    python -m tests.benchmarks.demo_speed

Prints start-up, cache, preview and step times, peak memory, and the ratio of the engine's step to a loop that does only
UNet forward, backward and optimizer on the same cached tensors. Engine and bare steps alternate in blocks in one process, in
CPU seconds, so that a busy machine moves both; the ratio is the median of the blocks'.
"""

from __future__ import annotations

import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

import resources
from trainer import device as devices
from trainer import diffusion, run_folder, settings_file
from trainer.batches import torch_seed
from trainer.events import Event, Phase
from trainer.feed import size_ids
from trainer.session import Session, prepare
from trainer.training_step import optimizer_step

if TYPE_CHECKING:
    from collections.abc import Callable

BLOCKS, STEPS = 10, 8


def main() -> None:
    """Measures and prints."""
    with tempfile.TemporaryDirectory() as folder:
        values = settings_file.read_dict(resources.path("demo", "character.toml"))
        values |= {"runs_folder": folder, "cache_folder": str(Path(folder, "cache"))}
        settings = settings_file.from_dict(values)
        for name in ("first start (nothing cached)", "second start (all cached)"):
            session, seconds = timed_start(run_folder.create(settings))
            print(
                f"{name}: {seconds['total']:.2f} s, of it "
                + ", ".join(f"{k} {v:.2f} s" for k, v in seconds.items() if k != "total")
            )
        print_preview_time(session)
        compare_steps(session)
    print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


def timed_start(folder: run_folder.RunFolder) -> tuple[Session, dict[str, float]]:
    """A session made ready, and the wall seconds of its phases."""
    begun, phases = time.perf_counter(), []

    def note(event: Event) -> None:
        if isinstance(event, Phase) and (not phases or phases[-1][0] != event.title):
            phases.append((event.title, time.perf_counter()))

    session = prepare(folder, note)
    ended = time.perf_counter()
    ends = [at for _, at in phases[1:]] + [ended]
    return session, {"total": ended - begun} | {title: end - at for (title, at), end in zip(phases, ends, strict=True)}


def print_preview_time(session: Session) -> None:
    """Wall seconds of one preview picture."""
    prompt = session.prompts[0]
    told, untold = session.told([prompt.prompt]), session.told([prompt.negative])
    seconds = []
    for _ in range(3):
        begun = time.perf_counter()
        session.painter.draw(prompt, told, untold)
        seconds.append(time.perf_counter() - begun)
    print(f"a preview of {prompt.steps} steps at {prompt.width} px: {statistics.median(seconds):.2f} s")


def compare_steps(session: Session) -> None:
    """CPU and wall seconds of a step, engine against bare loop."""
    bare_batches = [frozen_batch(session, number) for number in range(STEPS)]
    total, counter = session.batches.total_steps, iter(range(10_000))

    def engine() -> None:
        optimizer_step(session, next(counter) % total, total)

    def bare() -> None:
        noisy, t, told, ids, target = bare_batches[next(counter) % STEPS]
        with devices.autocast(session.device, session.dtype):
            predicted = session.backbone.denoise(noisy, t, told, ids)
        (predicted.float() - target).square().mean().backward()
        session.trained.optimizer.step()
        session.trained.optimizer.zero_grad(set_to_none=True)

    for warm in (engine, bare):
        seconds_of(warm, 2)
    rows = [(seconds_of(engine, STEPS), seconds_of(bare, STEPS)) for _ in range(BLOCKS)]
    ratios = [e[0] / b[0] for e, b in rows]
    for name, i in (("engine", 0), ("bare loop", 1)):
        print(
            f"{name}: {statistics.median(r[i][0] for r in rows):.3f} CPU s, {statistics.median(r[i][1] for r in rows):.3f} s wall a step (median of {BLOCKS} blocks)"
        )
    print(f"engine / bare, CPU seconds: median {statistics.median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f}")


def seconds_of(step: Callable[[], None], count: int) -> tuple[float, float]:
    """CPU and wall seconds of a step, the mean of `count`."""
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(count):
        step()
    return (time.process_time() - cpu) / count, (time.perf_counter() - wall) / count


def frozen_batch(session: Session, number: int) -> tuple[object, ...]:
    """A batch with its noise added, ready for the UNet."""
    views = session.batches.batch(number)
    x0 = torch.stack([session.cache.latents(v.entry, v.mirrored) for v in views])
    torch.manual_seed(torch_seed(session.settings.seed, number))
    draw = diffusion.draw(x0, session.settings)
    noisy = session.schedule.noisy(x0, draw.input_noise, draw.t).to(session.device, session.dtype)
    ids = torch.tensor([size_ids(v.entry) for v in views], device=session.device)
    return noisy, draw.t.to(session.device), session.told([v.text for v in views]), ids, draw.noise.to(session.device)


if __name__ == "__main__":
    main()
