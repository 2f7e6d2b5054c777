"""One way of training for tests/benchmarks/claims.py, in a process of its own: prints its figures as a line of JSON.

python -m tests.benchmarks.claims_one sd1|demo full|lora|lora_packed|qlora|lora_prior FOLDER RATE
"""

from __future__ import annotations

import dataclasses
import gc
import json
import resource
import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch

import resources
from trainer import dataset, export, families, heap, optim, run_folder, settings_file, validation
from trainer import device as devices
from trainer.batches import entries_of
from trainer.feed import size_ids
from trainer.session import Session, prepare
from trainer.training_step import batch_loss, optimizer_step

if TYPE_CHECKING:
    from trainer.families.backbone import Backbone, Conditioning

    Shown = list[tuple[torch.Tensor, Conditioning, torch.Tensor]]

CHANGES: dict[str, dict[str, Any]] = {
    "full": {"packed_weights": "off"},
    "lora": {"packed_weights": "off"},
    "lora_packed": {"packed_weights": "on"},
    "qlora": {"packed_weights": "off", "quantization": "nf4"},
    "lora_prior": {"packed_weights": "off"},
}
TRUE_SIZE_STEPS = 5
CPU = torch.device("cpu")


def main(model: str, way: str, folder: Path, rate: float) -> None:
    """Trains, measures and prints."""
    heap.steady()  # as the worker does; what torch reads of it when it is imported, claims.py has set
    values = values_of(model, folder) | CHANGES[way]
    if way == "lora_prior":
        values["regularization"] = str(half_of_the_base_pictures(folder / "prior"))
    session = prepare(run_folder.create(settings_file.from_dict(values)), lambda event: None)
    shown = {} if model == "sd1" else {"held_out": held_out(session), "base": base_pictures(session)}
    before = {name: answers(untouched(session), session, some) for name, some in shown.items()}
    if way == "full":
        session = dataclasses.replace(session, trained=None)  # type: ignore[arg-type]  # its UNet leaves memory
        gc.collect()
        seconds = full(session, rate)
    else:
        seconds = [timed(lambda n=n: optimizer_step(session, n, session.settings.steps)) for n in range(session.settings.steps)]  # fmt: skip
    found = {
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
        "step_cpu_s": statistics.median(seconds[1:]),
        "file_mb": written(session, way, folder / "out.safetensors") / 1e6,
        "rate": rate or session.settings.learning_rate,
        "cores": float(torch.get_num_threads()),
    }
    if shown:
        found |= learned(session, shown, before)
    print(json.dumps(found))


def values_of(model: str, folder: Path) -> dict[str, Any]:
    """The settings of the run: true size as in tests/benchmarks/true_size.py, or the demo's."""
    if model == "demo":
        values = settings_file.read_dict(resources.path("demo", "character.toml"))
        own: dict[str, Any] = {"regularization": None, "previews": []}
    else:
        values = {"base": str(folder / "sd1.safetensors"), "data": str(folder / "pictures"), "resolution": 256}
        own = {"precision": "bf16", "rank": 16, "trigger": "noise", "steps": TRUE_SIZE_STEPS}
    own |= {"device": "cpu", "runs_folder": str(folder / "runs"), "cache_folder": str(folder / "cache")}
    return {key: value for key, value in (values | own).items() if value is not None}


def full(session: Session, rate: float) -> list[float]:
    """Trains every weight of the UNet, fp32 under autocast; returns each step's CPU seconds."""
    s, backbone = session.settings, session.backbone
    unet = backbone.load_unet(torch.float32, CPU).requires_grad_(True).train()
    group = {"params": list(unet.parameters()), "lr": rate or 1e-5, "part": "unet"}
    optimizer, _ = optim.build(s, [group], CPU)

    def step(number: int) -> None:
        optim.set_learning_rates(optimizer, s, number, s.steps)
        batch_loss(session, session.feed.batch(number)).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(unet.parameters(), s.gradient_clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return [timed(lambda n=n: step(n)) for n in range(s.steps)]


def timed(step: Any) -> float:
    """CPU seconds of this process."""
    begin = time.process_time()
    step()
    return time.process_time() - begin


def written(session: Session, way: str, path: Path) -> int:
    """Bytes of what would be shared, in fp16: the LoRA file, or the UNet."""
    if way == "full":
        assert session.backbone.unet is not None
        tensors = {name: tensor.half().contiguous() for name, tensor in session.backbone.unet.state_dict().items()}
        safetensors.torch.save_file(tensors, path)
    else:
        described = session.metadata_at(session.settings.steps)
        export.write(path, session.trained.adapter.tensors(), described, "fp16")
    size = path.stat().st_size
    path.unlink()
    return size


# What was learnt, and what was forgotten


def held_out(session: Session) -> Shown:
    """Pictures of the concept that are not trained, ready for `validation.loss`."""
    return [
        (session.cache.latents(e, False), session.told([e.texts[0]]), ids_of(e)) for e in session.pictures.validation
    ]


def half_of_the_base_pictures(folder: Path) -> Path:
    """Every second picture of what the base model knows, with its caption, as regularisation pictures."""
    folder.mkdir(exist_ok=True)
    for picture in dataset.scan(resources.path("demo", "base")).pictures[::2]:
        for path in (picture.path, picture.path.with_suffix(".txt")):
            shutil.copy(path, folder)
    return folder


def base_pictures(session: Session) -> Shown:
    """The other half, without the trigger word."""
    found = dataset.scan(resources.path("demo", "base"))
    entries = entries_of(dataclasses.replace(found, pictures=found.pictures[1::2]), session.settings, is_prior=True)
    session.cache.fill_pictures(entries, lambda: session.backbone.load_vae(CPU), lambda done, total: None)
    load = lambda: session.backbone.load_text_encoders(session.dtype, CPU)  # noqa: E731
    session.cache.fill_captions([e.texts[0] for e in entries], load, lambda done, total: None)
    return [(session.cache.latents(e, False), session.told([e.texts[0]]), ids_of(e)) for e in entries]


def ids_of(entry: Any) -> torch.Tensor:
    """The size ids of an entry, (1, 6)."""
    return torch.tensor([size_ids(entry)])


def untouched(session: Session) -> Backbone:
    """The base model as it is before anything is trained or quantised."""
    backbone = families.load(session.backbone.base)
    backbone.load_unet(session.dtype, CPU)
    return backbone


@torch.no_grad()
def answers(backbone: Backbone, session: Session, shown: Shown) -> torch.Tensor:
    """The UNet's predictions for noisy pictures, at the noise and timesteps of `validation.loss`: (N, T, C, h, w)."""
    out = []
    assert backbone.unet is not None
    backbone.unet.eval()
    t = torch.tensor(validation.TIMESTEPS)
    for i, (x0, told, ids) in enumerate(shown):
        noise = torch.randn(len(t), *x0.shape, generator=torch.Generator().manual_seed(i))
        noisy = session.schedule.noisy(x0.expand(len(t), *x0.shape), noise, t)
        many = type(told).cat([told] * len(t)).to(CPU, session.dtype)
        with devices.autocast(CPU, session.dtype):
            out.append(backbone.denoise(noisy.to(session.dtype), t, many, ids.repeat(len(t), 1)).float())
    return torch.stack(out)


def learned(session: Session, shown: dict[str, Shown], before: dict[str, torch.Tensor]) -> dict[str, float]:
    """Losses before and after, and how far the answers moved."""
    out = {}
    base = untouched(session)
    for name, some in shown.items():
        out[f"{name}_before"] = validation.loss(base, session.schedule, some, session.dtype)
        out[name] = validation.loss(session.backbone, session.schedule, some, session.dtype)
        moved = answers(session.backbone, session, some) - before[name]
        out[f"{name}_moved"] = float(moved.square().mean().sqrt() / before[name].square().mean().sqrt())
    return out


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), float(sys.argv[4]))
