"""adapter_sizes.py: what a LoRA, its file and its checkpoints weigh, against the real ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import safetensors.torch
import torch

from tests import runs, tiny_models
from tests.conftest import draw_pictures
from trainer import adapter_sizes, dataset, forecast_run, optim
from trainer.adapter import Adapter, fresh_sizes
from trainer.families import FAMILIES, anatomy, load
from trainer.settings import PreviewPrompt, TrainingSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CPU = torch.device("cpu")
ALL = ["attention", "feed_forward", "projections", "convolutions"]
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "everything": {"targets": ALL, "conv_rank": 3, "train_text_encoder": True},
    "dora": {"targets": ALL, "dora": True},
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def model(family: str) -> Path:
        if family not in made:
            made[family] = tiny_models.make(family, tmp_path_factory.mktemp("sizes") / family)
        return made[family]

    return model


def real(base: Path, settings: TrainingSettings) -> Adapter:
    backbone = load(base)
    backbone.load_unet(torch.float32, CPU)
    backbone.load_text_encoders(torch.float32, CPU)
    return Adapter(backbone, fresh_sizes(backbone, settings), settings)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_numbers_and_file_are_those_of_the_real_adapters(family: str, kind: str, tiny: Any, tmp_path: Path) -> None:
    settings = TrainingSettings(rank=5, **KINDS[kind])
    body, adapter = anatomy.of(tiny(family)), real(tiny(family), settings)
    layers = adapter_sizes.adapted(body, settings)
    assert sum(item.parameters for item in layers) == sum(p.numel() for p in adapter.parameters())
    for precision, dtype in (("fp16", torch.float16), ("fp32", torch.float32)):
        chosen = settings.model_copy(update={"export_precision": precision})
        tensors = {key: value.to(dtype) for key, value in adapter.tensors().items()}
        told = {"ss_something": "what it says", "ss_more": "x" * 1000}
        hashes = {"sshs_model_hash": "0" * 64, "sshs_legacy_hash": "0" * 8, "modelspec.hash_sha256": "0x" + "0" * 64}
        size = len(safetensors.torch.save(tensors, told | hashes))
        assert adapter_sizes.file_bytes(layers, body, chosen, told) == pytest.approx(size, abs=250)


@pytest.mark.parametrize("optimizer", ["adamw", "lion", "prodigy", "adafactor", "adamw8bit", "lion8bit"])
def test_the_optimizers_state_is_what_it_keeps_after_a_step(optimizer: str, tiny: Any) -> None:
    settings = TrainingSettings(rank=24, optimizer=optimizer, learning_rate=1e-3, targets=ALL)
    adapter = real(tiny("sd1"), settings)
    made, _ = optim.build(settings, [{"params": adapter.parameters(), "lr": 1e-3, "part": "unet"}], CPU)
    for parameter in adapter.parameters():
        parameter.grad = torch.ones_like(parameter)
    made.step()
    kept = [v for state in made.state.values() for v in state.values() if isinstance(v, torch.Tensor)]
    size = sum(v.numel() * v.element_size() for v in kept)
    told = adapter_sizes.state_bytes(adapter_sizes.adapted(anatomy.of(tiny("sd1")), settings), optimizer)
    assert told == pytest.approx(size, rel=0.12)


def test_the_rank_of_a_lora_to_start_from_counts_whatever_its_layers_are_called(tiny: Any, tmp_path: Path) -> None:
    base = tiny("sdxl")
    adapter = real(base, TrainingSettings(rank=7, train_text_encoder=True))
    path = tmp_path / "first.safetensors"
    safetensors.torch.save_file(adapter.tensors(), path)
    settings = TrainingSettings(rank=2, start_from=path, train_text_encoder=True)
    layers = adapter_sizes.adapted(anatomy.of(base), settings)
    assert {item.rank for item in layers} == {7} and {item.part for item in layers} == {
        "unet",
        *FAMILIES["sdxl"].text_parts,
    }
    assert sum(item.parameters for item in layers) == sum(p.numel() for p in adapter.parameters())
    peft = {
        f"unet.{item.layer.name}.lora_{half}.weight": torch.zeros(shape)
        for item in layers if item.part == "unet"
        for half, shape in (("A", item.down), ("B", item.up))
    }  # fmt: skip
    safetensors.torch.save_file(peft, path)
    again = adapter_sizes.adapted(anatomy.of(base), settings)
    assert {item.part for item in again} == {"unet"} and len(again) == len(peft) // 2


@pytest.mark.parametrize("previews", [(), (PreviewPrompt(prompt="zz", steps=1),)])
def test_the_exported_file_and_the_disk_are_foretold_within_a_hundredth(
    previews: tuple[PreviewPrompt, ...], tiny: Any, tmp_path: Path
) -> None:
    pictures = draw_pictures(tmp_path / "pictures")
    folder = runs.make_run(
        tiny("sd1"), pictures, tmp_path / "runs", rank=64, steps=2, targets=ALL, previews=[p.model_dump() for p in previews],
        preview_every_steps=2, save_every_steps=1, keep_checkpoints=0, cache_folder=str(tmp_path / "cache"),
    )  # fmt: skip
    settings = folder.settings()
    told = forecast_run.foretell(settings, dataset.scan_training(settings), None, [])
    runs.train(folder)
    made = next(folder.export.glob("*.safetensors"))
    assert told.disk.file == pytest.approx(made.stat().st_size, rel=0.01)
    checkpoints = sum(p.stat().st_size for p in (folder.path / "checkpoints").rglob("*") if p.is_file())
    assert told.disk.checkpoints == pytest.approx(checkpoints, rel=0.1)
    cache = sum(p.stat().st_size for p in (tmp_path / "cache").rglob("*.safetensors"))
    assert told.disk.cache == pytest.approx(cache, rel=0.1)
