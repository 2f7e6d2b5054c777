"""A small classifier of the demo's pictures: which subject, colour and style a picture shows. It judges samples.

    python judge.py                trains it (about two minutes) and prints how often it is right on fresh drawings

It knows the concepts that the base model does not, and drawings as soft and noisy as samples are.
"""

from __future__ import annotations

import itertools
import random

import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from pictures import BASE_STYLES, COLOURS, SCENES, SUBJECTS, Spec, draw
from work import WORK, as_bytes, as_signal

SUBJECT_NAMES = (*SUBJECTS, "zorblin")
COLOUR_NAMES = tuple(COLOURS)
STYLE_NAMES = (*BASE_STYLES, "nwave style")
PATH = WORK / "judge.safetensors"


class Judge(torch.nn.Module):
    """Convolutions on 64 px pictures; answers (B, subjects), (B, colours), (B, styles)."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 24, 48, 72, 96)
        layers: list[torch.nn.Module] = []
        for a, b in itertools.pairwise(widths):
            layers += [
                torch.nn.Conv2d(a, b, 3, stride=2, padding=1),
                torch.nn.GroupNorm(8, b),
                torch.nn.SiLU(),
                torch.nn.Conv2d(b, b, 3, padding=1),
                torch.nn.SiLU(),
            ]
        self.body = torch.nn.Sequential(*layers)
        self.heads = torch.nn.ModuleList(
            torch.nn.Linear(96 * 2, len(n)) for n in (SUBJECT_NAMES, COLOUR_NAMES, STYLE_NAMES)
        )

    def forward(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        """pictures: (B, 3, 128, 128) in [-1, 1]."""
        x = self.body(functional.avg_pool2d(pictures, 2))
        x = torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1)
        return [head(x) for head in self.heads]

    @torch.no_grad()
    def names(self, pictures: torch.Tensor) -> list[tuple[str, str, str]]:
        """Subject, colour and style of each picture."""
        answers = [a.argmax(1).tolist() for a in self(pictures)]
        return [(SUBJECT_NAMES[s], COLOUR_NAMES[c], STYLE_NAMES[t]) for s, c, t in zip(*answers, strict=True)]


def _example(rng: random.Random) -> tuple[torch.Tensor, list[int]]:
    subject, colour, style = rng.choice(SUBJECT_NAMES), rng.choice(COLOUR_NAMES), rng.choice(STYLE_NAMES)
    colour = "green" if subject == "zorblin" else colour
    picture = draw(Spec(subject, colour, rng.choice(SCENES), style), rng)
    # zorblin has its own colours, and neon changes all: their colour is not asked (-100 is ignored by the loss)
    asked = COLOUR_NAMES.index(colour) if subject != "zorblin" and style != "nwave style" else -100
    return as_bytes(picture), [SUBJECT_NAMES.index(subject), asked, STYLE_NAMES.index(style)]


def _as_soft_as_samples(x: torch.Tensor) -> torch.Tensor:
    """Blur, noise and a colour shift, differently strong."""
    small = functional.interpolate(
        x, scale_factor=float(torch.empty(()).uniform_(0.4, 1)), mode="bilinear", antialias=True
    )
    x = functional.interpolate(small, size=x.shape[-2:], mode="bilinear")
    x = x + 0.08 * torch.rand(len(x), 1, 1, 1) * torch.randn_like(x)
    return x * torch.empty(len(x), 1, 1, 1).uniform_(0.85, 1.1) + torch.empty(len(x), 3, 1, 1).uniform_(-0.08, 0.08)


def train(count: int = 6000, epochs: int = 8) -> Judge:
    """Trains the judge and keeps it in the work folder."""
    torch.manual_seed(0)
    rng = random.Random(77)
    examples = [_example(rng) for _ in range(count + 500)]
    pictures, labels = torch.stack([p for p, _ in examples]), torch.tensor([n for _, n in examples])
    judge = Judge()
    optimizer = torch.optim.AdamW(judge.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=epochs * -(-count // 64))
    for epoch in range(epochs):
        for some in torch.randperm(count).split(64):
            answers = judge(_as_soft_as_samples(as_signal(pictures[some])))
            loss = sum(functional.cross_entropy(a, labels[some, i], ignore_index=-100) for i, a in enumerate(answers))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            answers = judge(as_signal(pictures[count:]))
        asked = labels[count:] >= 0
        right = [float((a.argmax(1) == labels[count:, i])[asked[:, i]].float().mean()) for i, a in enumerate(answers)]
        print(
            f"epoch {epoch + 1}: right on fresh drawings: subject {right[0]:.1%}, colour {right[1]:.1%}, style {right[2]:.1%}",
            flush=True,
        )
    save_file(judge.state_dict(), PATH)
    return judge


def load() -> Judge:
    """The trained judge; trains it first if need be."""
    if not PATH.is_file():
        return train()
    judge = Judge()
    judge.load_state_dict(load_file(PATH))
    return judge.eval()


if __name__ == "__main__":
    train()
