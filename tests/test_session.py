"""session.py: parts of the base model are in memory only while they are needed."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import pytest
import torch

from tests.runs import make_run
from trainer import families, occasions
from trainer.families.backbone import Backbone
from trainer.families.folder import FolderSource
from trainer.session import Session, prepare

if TYPE_CHECKING:
    from pathlib import Path


def prepared(model: Path, pictures: Path, runs: Path, **changes: Any) -> Session:
    """A run made ready."""
    return prepare(make_run(model, pictures, runs, **changes), lambda event: None)


class Reads:
    """Which parts are read, and which of those read before are still there at that moment."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.parts: list[str] = []
        self.dtypes: dict[str, torch.dtype] = {}
        self.beside: dict[str, set[str]] = {}
        self._models: dict[str, weakref.ref[Any]] = {}
        read = FolderSource.read

        def watched(source: FolderSource, kind: Any, part: str, dtype: torch.dtype, *rest: Any) -> Any:
            self.parts.append(part)
            self.beside[part], self.dtypes[part] = self.alive, dtype
            model = read(source, kind, part, dtype, *rest)
            self._models[part] = weakref.ref(model)
            return model

        monkeypatch.setattr(FolderSource, "read", watched)

    @property
    def alive(self) -> set[str]:
        """The parts that are in memory."""
        return {part for part, model in self._models.items() if model() is not None}


@pytest.mark.parametrize("family", families.FAMILIES)
def test_one_part_at_a_time_and_a_cached_run_only_reads_the_unet(
    family: str, tiny_models: dict[str, Path], pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = list(families.FAMILIES[family].text_parts)
    first = Reads(monkeypatch)
    prepared(tiny_models[family], pictures, tmp_path)
    assert first.parts == ["vae", *texts, "unet"]
    assert first.beside[texts[0]] == set() and first.beside["unet"] == set()
    again = Reads(monkeypatch)
    prepared(tiny_models[family], pictures, tmp_path)
    assert again.parts == ["unet"]


def test_previews_read_the_autoencoder_when_they_are_drawn_and_let_it_go(
    tiny_models: dict[str, Path], pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[set[str]] = []
    freed: list[set[str]] = []
    reads = Reads(monkeypatch)
    decode, free = Backbone.decode_latents, Backbone.free_vae

    def decoded(backbone: Backbone, latents: torch.Tensor) -> torch.Tensor:
        drawn.append(reads.alive)
        assert backbone.vae is not None and backbone.vae.dtype is torch.float32
        return decode(backbone, latents)

    def let_go(backbone: Backbone) -> None:
        free(backbone)
        freed.append(reads.alive)

    monkeypatch.setattr(Backbone, "decode_latents", decoded)
    monkeypatch.setattr(Backbone, "free_vae", let_go)
    prompts = [{"prompt": "a hat", "steps": 1}, {"prompt": "a ball", "steps": 1}]
    session = prepared(tiny_models["sd1"], pictures, tmp_path, preview_every_steps=1, previews=prompts)
    for step in (0, 1):
        occasions.draw_previews(session, step, lambda event: None)
    assert drawn == [{"unet", "vae"}] * 4
    assert reads.parts.count("vae") == 1 + 2  # once to encode, once for the pictures of each preview
    assert freed == [set(), *[{"unet"}] * 2]


@pytest.mark.parametrize(("wanted", "expected"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_pictures_are_encoded_as_the_settings_say(
    wanted: str, expected: torch.dtype, tiny_models: dict[str, Path], pictures: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    reads = Reads(monkeypatch)
    prepared(tiny_models["sd1"], pictures, tmp_path, vae_precision=wanted)
    assert reads.dtypes == {"vae": expected, "text_encoder": torch.float32, "unet": torch.float32}


def test_trained_text_encoders_stay(
    tiny_models: dict[str, Path], pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = Reads(monkeypatch)
    session = prepared(tiny_models["sd1"], pictures, tmp_path, train_text_encoder=True)
    assert reads.parts == ["vae", "text_encoder", "unet"] and reads.beside["unet"] == {"text_encoder"}
    assert list(session.backbone.text_encoders) == ["text_encoder"] and session.backbone.vae is None
