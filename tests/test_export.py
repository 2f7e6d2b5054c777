"""Exported files: bytes, hashes, what happens when writing fails, and that diffusers draws the same with them."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import numpy
import pytest
import safetensors
import safetensors.torch
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)

from trainer import adapter as adapters
from trainer import export, families
from trainer.adapter import Adapter
from trainer.errors import DivergedError, ModelError, RunError
from trainer.metadata import Words
from trainer.preview import Painter
from trainer.run_folder import RunFolder
from trainer.settings import PreviewPrompt, TrainingSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CPU = torch.device("cpu")
METADATA = {
    "ss_output_name": "zörblin",
    "ss_network_args": '{"a": "b\\"c"}',
    "modelspec.title": "zorblin",
    "other": "x",
}
STALE = {"sshs_model_hash": "of an earlier file"}


def tensors(*, scale: float = 1.0) -> dict[str, torch.Tensor]:
    """More than 1 MiB in every precision, so that the old hash, which begins there, has something to read."""
    generator = torch.Generator().manual_seed(0)
    return {
        "lora_unet_a.lora_down.weight": torch.randn(640, 1000, generator=generator) * scale,
        "lora_unet_a.lora_up.weight": torch.randn(64, 640, generator=generator),
        "lora_unet_a.alpha": torch.tensor(4.0),
    }


def parts(raw: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and data section, as the format says: 8 bytes length, JSON, data."""
    length = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


# Bytes


@pytest.mark.parametrize(("precision", "name"), [("fp16", "F16"), ("bf16", "BF16"), ("fp32", "F32")])
def test_the_file_is_in_the_precision_that_was_asked_for(precision: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "a.safetensors"
    difference = export.write(path, tensors(), METADATA, precision)
    raw = path.read_bytes()
    assert raw[8:10] == b'{"'  # A1111 asserts it
    header, _ = parts(raw)
    assert {entry["dtype"] for key, entry in header.items() if key != "__metadata__"} == {name}
    assert header["lora_unet_a.alpha"]["shape"] == []
    back = safetensors.torch.load_file(path)
    assert back.keys() == tensors().keys()
    worst = max(float((back[key].float() - value).abs().max()) for key, value in tensors().items())
    assert difference == worst
    # half a unit in the last place of numbers up to 8: 11, 8 and 24 bits
    assert worst <= 8 / 2 ** {"fp16": 12, "bf16": 9, "fp32": 99}[precision]


def test_metadata_is_kept_and_hashes_are_added(tmp_path: Path) -> None:
    export.write(tmp_path / "a.safetensors", tensors(), METADATA | STALE, "fp16")
    written = parts((tmp_path / "a.safetensors").read_bytes())[0]["__metadata__"]
    assert {key: written.pop(key) for key in METADATA} == METADATA
    assert set(written) == {"sshs_model_hash", "sshs_legacy_hash", "modelspec.hash_sha256"}


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_the_hashes_are_those_of_the_data_section(precision: str, tmp_path: Path) -> None:
    export.write(tmp_path / "a.safetensors", tensors(), METADATA | STALE, precision)
    header, data = parts((tmp_path / "a.safetensors").read_bytes())
    written = header["__metadata__"]
    digest = hashlib.sha256(data).hexdigest()
    assert written["sshs_model_hash"] == digest
    assert written["modelspec.hash_sha256"] == "0x" + digest
    assert digest != hashlib.sha256(b"").hexdigest()


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_the_legacy_hash_is_that_of_the_file_with_ss_metadata_alone(precision: str, tmp_path: Path) -> None:
    """64 KiB from 1 MiB on of [length][header with only ss_*, padded to 8][data]; only the header's length matters."""
    export.write(tmp_path / "a.safetensors", tensors(), METADATA | STALE, precision)
    header, data = parts((tmp_path / "a.safetensors").read_bytes())
    written = header["__metadata__"]
    header["__metadata__"] = {key: value for key, value in METADATA.items() if key.startswith("ss_")}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    first = bytes(8) + text.ljust(-(-len(text) // 8) * 8) + data
    assert len(first) > 0x100000
    assert written["sshs_legacy_hash"] == hashlib.sha256(first[0x100000 : 0x100000 + 0x10000]).hexdigest()[:8]


def test_a_tensor_that_is_not_contiguous_is_written_as_it_reads(tmp_path: Path) -> None:
    turned = torch.arange(6.0).reshape(2, 3).T
    export.write(tmp_path / "a.safetensors", {"a.lora_up.weight": turned}, {}, "fp32")
    assert torch.equal(safetensors.torch.load_file(tmp_path / "a.safetensors")["a.lora_up.weight"], turned)


# What can go wrong


@pytest.mark.parametrize(
    ("precision", "value"), [("fp16", 70000.0), ("fp16", -1e9), ("bf16", 3.4e38), ("fp32", float("nan"))]
)
def test_a_number_that_the_precision_cannot_hold_is_refused_and_nothing_written(
    precision: str, value: float, tmp_path: Path
) -> None:
    """Largest numbers: fp16 65504, bf16 3.39e38."""
    bad = tensors()
    bad["lora_unet_a.lora_up.weight"][3, 4] = value
    with pytest.raises(
        DivergedError, match=rf"lora_unet_a\.lora_up\.weight holds numbers that {precision} cannot hold"
    ):
        export.write(tmp_path / "a.safetensors", bad, METADATA, precision)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    export.write(path, tensors(), METADATA, "fp16")
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "a.safetensors")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"The LoRA file a\.safetensors could not be written: the disk is full"):
        export.write(path, tensors(scale=2), METADATA, "fp16")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path], "a temporary file is left over"


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit on the size of a file")
def test_a_disk_that_fills_while_the_tensors_are_written_is_told_as_one(tmp_path: Path) -> None:
    """The library's own errors are no OSErrors."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(
            RunError, match=r"The LoRA file a\.safetensors could not be written: File too large \(.*\)\."
        ):
            export.write(tmp_path / "a.safetensors", tensors(), METADATA, "fp32")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (slice(0, -1), "did not read back"),
        (slice(0, 0), "did not read back"),
        (None, "did not come back as it was written"),
    ],
)
def test_a_file_that_comes_back_damaged_is_not_called_saved(
    damage: slice | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(path: Path, write: Callable[[Path], object]) -> None:
        write(path)
        raw = path.read_bytes()
        path.write_bytes(raw[damage] if damage else raw[:-1] + bytes([raw[-1] ^ 1]))

    monkeypatch.setattr(export, "write_atomically", damaged)
    with pytest.raises(RunError, match=rf"a\.safetensors {message}.*Check the disk and export again"):
        export.write(tmp_path / "a.safetensors", tensors(), METADATA, "fp16")


# From a checkpoint


def run_with_checkpoint(folder: Path, values: dict[str, torch.Tensor] | None = None) -> RunFolder:
    """A run folder with the LoRA of step 7, as a worker saves it."""
    run = RunFolder(folder)
    run.checkpoint(7).mkdir(parents=True)
    raw = safetensors.torch.save(values or tensors(), METADATA | {"modelspec.tags": "old"})
    (run.checkpoint(7) / "lora.safetensors").write_bytes(raw)
    (run.checkpoint(7) / "state.json").write_text("{}")
    return run


@pytest.mark.parametrize("precision", ["fp16", "bf16", "fp32"])
def test_a_checkpoint_becomes_a_file_with_other_words_and_fresh_hashes(precision: str, tmp_path: Path) -> None:
    run, out = run_with_checkpoint(tmp_path / "run"), tmp_path / "new" / "a.safetensors"
    difference = export.from_checkpoint(run, 7, out, Words("Mine", "Good.", "a,b"), precision)
    assert difference == export.write(tmp_path / "direct.safetensors", tensors(), {}, precision)
    back, direct = safetensors.torch.load_file(out), safetensors.torch.load_file(tmp_path / "direct.safetensors")
    assert back.keys() == direct.keys() and all(torch.equal(back[k], direct[k]) for k in back)
    header, data = parts(out.read_bytes())
    told = header["__metadata__"]
    assert told["sshs_model_hash"] == hashlib.sha256(data).hexdigest()
    assert (told["modelspec.title"], told["ss_output_name"], told["modelspec.description"], told["modelspec.tags"]) == (
        "Mine",
        "Mine",
        "Good.",
        "a, b",
    )
    assert (told["ss_network_args"], told["other"]) == (METADATA["ss_network_args"], "x")


def test_a_file_that_exists_is_left_alone_unless_that_is_allowed(tmp_path: Path) -> None:
    run, out = run_with_checkpoint(tmp_path / "run"), tmp_path / "a.safetensors"
    out.write_bytes(b"precious")
    with pytest.raises(RunError, match=r"a\.safetensors exists already and is left as it is. Choose another name"):
        export.from_checkpoint(run, 7, out, Words(), "fp16")
    assert out.read_bytes() == b"precious"
    export.from_checkpoint(run, 7, out, Words(), "fp16", overwrite=True)
    assert safetensors.torch.load_file(out)


def test_a_checkpoint_is_never_overwritten_with_its_own_export(tmp_path: Path) -> None:
    run = run_with_checkpoint(tmp_path / "run")
    source = run.checkpoint(7) / "lora.safetensors"
    before = source.read_bytes()
    with pytest.raises(RunError, match="lies among the run's checkpoints"):
        export.from_checkpoint(run, 7, source, Words(), "fp16", overwrite=True)
    assert source.read_bytes() == before


def test_a_checkpoint_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="has no checkpoint of step 8; it has 7"):
        export.from_checkpoint(run_with_checkpoint(tmp_path / "run"), 8, tmp_path / "a.safetensors", Words(), "fp16")
    with pytest.raises(RunError, match="has no checkpoint of step 8; it has none yet"):
        export.from_checkpoint(RunFolder(tmp_path / "none"), 8, tmp_path / "a.safetensors", Words(), "fp16")


def test_a_damaged_checkpoint_is_told_and_nothing_written(tmp_path: Path) -> None:
    run = run_with_checkpoint(tmp_path / "run")
    source = run.checkpoint(7) / "lora.safetensors"
    source.write_bytes(source.read_bytes()[:-9])
    with pytest.raises(ModelError, match=r"lora\.safetensors is cut off: 9 bytes are missing"):
        export.from_checkpoint(run, 7, tmp_path / "a.safetensors", Words(), "fp16")
    assert not (tmp_path / "a.safetensors").exists()


# The proof: the same numbers and the same picture in diffusers


def trained(folder: Path, *, text: bool = True, **changes: Any) -> Adapter:
    """An adapter in all kinds of layers, its up weights random numbers, as if it had been trained."""
    backbone = families.load(folder)
    backbone.load_unet(torch.float32, CPU)
    backbone.load_text_encoders(torch.float32, CPU)
    targets = ("attention", "feed_forward", "projections", "convolutions")
    settings = TrainingSettings(**{"rank": 4, "alpha": 2.0, "targets": targets, "train_text_encoder": text} | changes)
    out = Adapter(backbone, adapters.fresh_sizes(backbone, settings), settings)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for layer in out.layers.values():
            up = layer.lora_B["default"].weight
            up.copy_(torch.randn(up.shape, generator=generator) * 0.1)
    return out


def pipeline(folder: Path, lora: Path | None = None) -> Any:
    kind = StableDiffusionXLPipeline if "sdxl" in folder.name else StableDiffusionPipeline
    out = kind.from_pretrained(folder, local_files_only=True)
    out.set_progress_bar_config(disable=True)
    if lora:
        out.load_lora_weights(lora.parent, weight_name=lora.name)
    return out


def encoded(pipe: Any, text: str) -> list[torch.Tensor]:
    """States, and the pooled embedding where there is one, as the pipeline itself makes them."""
    out = pipe.encode_prompt(text, device=CPU, num_images_per_prompt=1, do_classifier_free_guidance=False)
    return [t for t in (out[0], *out[2:3]) if t is not None]


@pytest.mark.parametrize("settings", [{"conv_rank": 2, "conv_alpha": 3.0}, {"rslora": True}], ids=str)
@pytest.mark.parametrize("family", families.FAMILIES)
@torch.no_grad()
def test_diffusers_computes_the_same_with_the_exported_file(
    family: str, settings: dict[str, Any], tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    """UNet and text encoders against the pipeline after `load_lora_weights`; fp32, within 1e-4 of values around 1."""
    folder = tiny_models[family]
    adapter = trained(folder, **settings)
    backbone = adapter.backbone
    export.write(tmp_path / "a.safetensors", adapter.tensors(), {}, "fp32")
    pipe = pipeline(folder, tmp_path / "a.safetensors")

    told = backbone.encode_captions(["a round thing"], clip_skip=1, max_tokens=75)
    ours = [told.states] if told.pooled is None else [told.states, told.pooled]
    for mine, theirs, plain in zip(
        ours, encoded(pipe, "a round thing"), encoded(pipeline(folder), "a round thing"), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-4)
        assert (mine - plain).abs().max() > 0.05, "the text encoder's adapters do nothing"

    noisy = torch.randn(2, 4, 8, 12, generator=torch.Generator().manual_seed(1))
    t, ids = torch.tensor([40, 900]), torch.tensor([[64, 96, 0, 0, 64, 96]] * 2)
    both = type(told).cat([told, told])
    extra = {} if told.pooled is None else {"added_cond_kwargs": {"text_embeds": both.pooled, "time_ids": ids}}
    ours_unet = backbone.denoise(noisy, t, both, ids)
    torch.testing.assert_close(ours_unet, pipe.unet(noisy, t, both.states, **extra).sample, rtol=0, atol=1e-4)
    with adapter.off():
        assert (ours_unet - backbone.denoise(noisy, t, both, ids)).abs().max() > 0.05


@pytest.mark.parametrize(("sampler", "scheduler"), [("dpmpp_2m", DPMSolverMultistepScheduler), ("ddim", DDIMScheduler)])
@pytest.mark.parametrize("family", families.FAMILIES)
def test_diffusers_draws_the_same_picture_as_the_preview(
    family: str, sampler: Any, scheduler: Any, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    """Same seed, same prompt, guidance 7: every pixel within 2 of 255; without the file one differs by more than 8."""
    folder = tiny_models[family]
    adapter = trained(folder, text=False)
    export.write(tmp_path / "a.safetensors", adapter.tensors(), {}, "fp32")
    prompt = PreviewPrompt(prompt="a round thing", negative="blob", width=96, height=64, steps=5, sampler=sampler)
    with torch.no_grad():
        told, untold = (
            adapter.backbone.encode_captions([s], clip_skip=1, max_tokens=75) for s in (prompt.prompt, prompt.negative)
        )
    ours = Painter(adapter.backbone, CPU, torch.float32, "epsilon", False).draw(prompt, told, untold)

    def drawn(pipe: Any) -> numpy.ndarray:
        pipe.scheduler = scheduler.from_config(pipe.scheduler.config)
        generator = torch.Generator().manual_seed(prompt.seed)
        sizes = {"width": prompt.width, "height": prompt.height, "num_inference_steps": prompt.steps}
        return numpy.asarray(
            pipe(prompt.prompt, negative_prompt="blob", guidance_scale=7.0, generator=generator, **sizes).images[0]
        )

    ours_pixels = numpy.asarray(ours).astype(int)
    assert ours_pixels.shape == (64, 96, 3)
    assert abs(ours_pixels - drawn(pipeline(folder, tmp_path / "a.safetensors"))).max() <= 2
    assert abs(ours_pixels - drawn(pipeline(folder))).max() > 8
