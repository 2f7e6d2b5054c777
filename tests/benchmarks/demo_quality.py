"""How good the demo model and the demo LoRA are, by a classifier and by held-out loss; draws the sample sheets.

    python -m tests.benchmarks.demo_quality [RUN_FOLDER] [--samples 200] [--out FOLDER]

Without a run folder only the base model is judged. The judge is trained on drawn pictures by packaging/demo_model/judge.py
and knows the concepts. A run folder is one of `lora-atelier demo`; its last checkpoint is judged.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path

import numpy
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "packaging" / "demo_model"))

import resources  # noqa: E402
from autoencoder import concepts  # noqa: E402
from judge import Judge, load  # noqa: E402
from pictures import COLOURS, SUBJECTS, caption, random_spec, sheet  # noqa: E402
from trainer import checkpoint, run_folder, settings_file  # noqa: E402
from trainer.run_folder import RunFolder  # noqa: E402
from trainer.session import Session, prepare  # noqa: E402
from trainer.settings import PreviewPrompt  # noqa: E402
from work import as_bytes, as_signal, drawn, psnr_db  # noqa: E402

GUIDANCE = 5.0


def main() -> None:
    """Judges, prints and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("demo_quality"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    judge = load()
    rng = random.Random(123)
    specs = [random_spec(rng) for _ in range(options.samples)]
    prompts = [caption(s, rng) for s in specs]
    with tempfile.TemporaryDirectory() as scratch:
        session = open_session(options.run, prompts, scratch)
        if options.run is None:
            print_autoencoder(session)
        trained = RunFolder(options.run.absolute()) if options.run else None
        with session.trained.adapter.off():
            before = draw_all(session, prompts)
            report_base("base model", judge, before, specs, options.out / "base.png")
            concept = concept_prompts(session) if trained else []
            concept_before = draw_all(session, concept)
        if trained is not None:
            checkpoint.restore(trained, session.trained, trained.checkpoints()[-1])
            after = draw_all(session, prompts)
            report_base("base prompts with the LoRA", judge, after, specs, options.out / "base_with_lora.png")
            same, other = distance(before, after), distance(before, before.roll(1, 0))
            print(
                f"base prompts before and after, same seeds: {same:.4f} apart; two different base pictures: {other:.4f}"
            )
            report_concept(session, judge, concept_before, draw_all(session, concept), options.out)
            print_held_out(trained)


def open_session(run: Path | None, prompts: list[str], scratch: str) -> Session:
    """The run's session with all prompts encoded, in a scratch folder; nothing of the run is changed."""
    source = run / "run.toml" if run else resources.path("demo", "character.toml")
    values = settings_file.read_dict(source)
    trigger = values["trigger"]
    concept = _concept_texts(trigger)
    values |= {"runs_folder": scratch, "previews": [{"prompt": p} for p in {*prompts, *concept}]}
    return prepare(run_folder.create(settings_file.from_dict(values)), lambda event: None)


def draw_all(session: Session, prompts: list[str]) -> torch.Tensor:
    """One picture a prompt, seed = its number, DPM++ 2M, 20 steps: (N, 3, 128, 128) in [-1, 1]."""
    out = []
    for i, prompt in enumerate(prompts):
        settings = PreviewPrompt(prompt=prompt, seed=i, width=128, height=128, guidance=GUIDANCE, steps=20)
        picture = session.painter.draw(settings, session.told([prompt]), session.told([""]))
        out.append(as_signal(as_bytes(picture)))
    return torch.stack(out) if out else torch.empty(0, 3, 128, 128)


def report_base(title: str, judge: Judge, pictures: torch.Tensor, specs: list[object], path: Path) -> None:
    """How often subject and colour are those of the prompt."""
    names = judge.names(pictures)
    subject = sum(n[0] == s.subject for n, s in zip(names, specs, strict=True)) / len(specs)  # type: ignore[attr-defined]
    colour = sum(n[1] == s.colour for n, s in zip(names, specs, strict=True)) / len(specs)  # type: ignore[attr-defined]
    print(f"{title}: {len(specs)} samples, right subject {subject:.1%}, right colour {colour:.1%}", flush=True)
    save_sheet(pictures[:48], path, 12)


def report_concept(session: Session, judge: Judge, before: torch.Tensor, after: torch.Tensor, out: Path) -> None:
    """How often the concept is recognised in triggered samples, and how near they are to the training pictures."""
    place, wanted = (0, "zorblin") if session.settings.trigger == "zorblin" else (2, "nwave style")
    for title, pictures in (("before", before), ("after", after)):
        share = sum(n[place] == wanted for n in judge.names(pictures)) / len(pictures)
        print(
            f"{wanted} recognised {title}: {share:.1%} of {len(pictures)} triggered samples; mean distance to the nearest training picture {nearest(session, pictures):.4f}"
        )
    save_sheet(torch.stack([before[:24], after[:24]], dim=1).flatten(0, 1), out / "concept_before_after.png", 12)


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """Root mean square difference at 16 x 16 px, mean over the pairs."""
    small_a, small_b = (torch.nn.functional.avg_pool2d(x, 8).flatten(1) for x in (a, b))
    return float((small_a - small_b).square().mean(1).sqrt().mean())


def nearest(session: Session, pictures: torch.Tensor) -> float:
    """Root mean square difference at 16 x 16 px to the nearest training picture, mean over the samples."""
    training = torch.stack(
        [as_signal(as_bytes(Image.open(e.picture.path).convert("RGB"))) for e in session.pictures.training]
    )
    small = [torch.nn.functional.avg_pool2d(x, 8).flatten(1) for x in (pictures, training)]
    return float((torch.cdist(*small) / small[0].shape[1] ** 0.5).min(1).values.mean())


def print_held_out(folder: RunFolder) -> None:
    """The held-out loss at fixed noise and timesteps, first and last."""
    events = [json.loads(line) for line in folder.events_path.read_text(encoding="utf-8").splitlines()]
    losses = [e["loss"] for e in events if e["type"] == "validated"]
    print(
        f"held-out loss at fixed noise and timesteps: {losses[0]:.4f} -> {losses[-1]:.4f} ({losses[-1] / losses[0] - 1:+.1%})"
    )


def print_autoencoder(session: Session) -> None:
    """PSNR of the autoencoder on pictures it was not trained on."""
    vae = session.backbone.load_vae(session.device)
    for name, pictures in (("base pictures", drawn(64, 999)), ("concepts", concepts(64, 998))):
        x = as_signal(pictures)
        with torch.no_grad():
            y = torch.cat([vae.decode(vae.encode(p).latent_dist.mode()).sample for p in x.split(8)]).clamp(-1, 1)
        print(f"autoencoder on held-out {name}: {psnr_db(y, x):.2f} dB")


def concept_prompts(session: Session) -> list[str]:
    """Forty-eight triggered prompts: those of the data set and unseen combinations."""
    return _concept_texts(session.settings.trigger)


def _concept_texts(trigger: str) -> list[str]:
    scenes, styles = ("plain background", "meadow", "night", "beach"), ("flat drawing", "ink drawing", "")
    if trigger == "zorblin":
        return [", ".join(p for p in (trigger, scenes[i % 4], styles[i // 4 % 3]) if p) for i in range(48)]
    subjects, colours = list(SUBJECTS), list(COLOURS)
    return [f"a {colours[(i * 5) % 8]} {subjects[i % 10]}, {scenes[i % 4]}, {trigger}" for i in range(48)]


def save_sheet(pictures: torch.Tensor, path: Path, columns: int) -> None:
    """The pictures side by side."""
    images = [Image.fromarray(numpy.uint8(((p + 1) * 127.5).clamp(0, 255).permute(1, 2, 0).numpy())) for p in pictures]
    sheet(images, columns).save(path)
    print(f"sheet: {path}")


if __name__ == "__main__":
    main()
