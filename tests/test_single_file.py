"""Single files in the original layout: the same model as the folder, in every spelling; damaged and strange ones said."""

from __future__ import annotations

import hashlib
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import safetensors.torch
import torch

from tests import single_files
from tests.runs import losses, make_run, train
from trainer import families, preflight, settings_file
from trainer.diffusion import Schedule
from trainer.errors import ModelError
from trainer.families import FAMILIES
from trainer.families.headers import identify
from trainer.lora_file import read_header

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.families.backbone import Backbone

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch, tiny_models: dict[str, Path]) -> None:
    single_files.use_tiny_configs(monkeypatch, tiny_models)


def everything(backbone: Backbone, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """All weights of all parts."""
    backbone.load_text_encoders(dtype, CPU)
    parts = {"unet": backbone.load_unet(dtype, CPU), "vae": backbone.load_vae(CPU), **backbone.text_encoders}
    assert not any(p.requires_grad or p.is_meta for part in parts.values() for p in part.parameters())
    assert not any(b.is_meta for part in parts.values() for b in part.buffers())
    assert not any(part.training for part in parts.values())
    return {f"{part}.{name}": t for part, module in parts.items() for name, t in module.state_dict().items()}


def assert_same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name in theirs:
        assert torch.equal(ours[name], theirs[name]), name


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt", ".pt"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_file_gives_the_same_model_as_the_folder(
    family: str, suffix: str, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    path = single_files.write(family, tiny_models[family], tmp_path / f"model{suffix}")
    assert families.detect(path) is FAMILIES[family]
    file, folder = families.load(path), families.load(tiny_models[family])
    assert_same(everything(file), everything(folder))
    told = [b.encode_captions(["ab cd"], clip_skip=1, max_tokens=75).states for b in (file, folder)]
    assert torch.equal(*told)
    assert (
        file.tokenize("text_encoder", ["Ab, cd"], 75)[0].tolist()
        == folder.tokenize("text_encoder", ["Ab, cd"], 75)[0].tolist()
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_files_are_read_in_the_dtype_that_is_asked_for(
    family: str, dtype: torch.dtype, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    path = single_files.write(family, tiny_models[family], tmp_path / "model.safetensors", dtype=dtype)
    expected = {k: v.to(dtype) for k, v in everything(families.load(tiny_models[family])).items()}
    got = everything(families.load(path), torch.bfloat16)
    for name, tensor in got.items():
        assert tensor.dtype is (torch.float32 if name.startswith("vae.") else torch.bfloat16)
        assert torch.equal(tensor, expected[name].to(tensor.dtype)), name


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_training_resume_and_export_run_over_a_file_with_the_same_losses(
    family: str, suffix: str, tiny_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    path = single_files.write(family, tiny_models[family], tmp_path / f"model{suffix}")
    options: dict[str, Any] = {"steps": 3, "cache": "memory", "save_every_steps": 2}
    run = make_run(path, pictures, tmp_path / "a", **options)
    file = train(run)
    folder = train(make_run(tiny_models[family], pictures, tmp_path / "b", **options))
    assert losses(file) == losses(folder)
    exported = safetensors.torch.load_file(next(run.export.glob("*.safetensors")))
    theirs = safetensors.torch.load_file(next((tmp_path / "b").rglob("export/*.safetensors")))
    assert_same(exported, theirs)
    said = read_header(next(run.export.glob("*.safetensors"))).metadata
    raw = path.read_bytes()
    assert said["ss_sd_model_name"] == path.name
    assert said["ss_new_sd_model_hash"] == hashlib.sha256(raw).hexdigest()
    assert said["ss_sd_model_hash"] == hashlib.sha256(raw[0x100000:0x110000]).hexdigest()[:8]
    assert "ss_vae_name" not in said and str(tmp_path) not in str(said)


def test_a_vae_that_is_given_is_named_with_its_hashes(
    tiny_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    vae = tiny_models["sd1"] / "vae" / "diffusion_pytorch_model.safetensors"
    run = make_run(tiny_models["sd1"], pictures, tmp_path / "a", steps=1, vae=str(vae))
    train(run)
    said = read_header(next(run.export.glob("*.safetensors"))).metadata
    assert said["ss_vae_name"] == vae.name and said["ss_new_vae_hash"] == hashlib.sha256(vae.read_bytes()).hexdigest()
    assert "ss_sd_model_hash" not in said


def test_a_run_from_a_file_can_be_resumed(tiny_models: dict[str, Path], pictures: Path, tmp_path: Path) -> None:
    path = single_files.write("sd1", tiny_models["sd1"], tmp_path / "model.safetensors")
    whole = train(make_run(path, pictures, tmp_path / "a", steps=4, save_every_steps=2))
    run = make_run(path, pictures, tmp_path / "b", steps=4, save_every_steps=2)
    train(run)
    shutil.rmtree(run.checkpoint(4))
    assert losses(train(run)) == losses(whole)[2:]


def test_the_normal_weights_are_taken_and_ema_copies_left_aside(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    plus = single_files.ema(single_files.tensors_of("sd1", tiny_models["sd1"]))
    path = single_files.write("sd1", tiny_models["sd1"], tmp_path / "ema.safetensors", plus=plus)
    assert identify(path).has_ema and "with EMA" in identify(path).sentence
    assert_same(everything(families.load(path)), everything(families.load(tiny_models["sd1"])))


def test_old_text_encoder_names_and_linear_attention_of_the_vae_are_read(
    tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    tensors = single_files.tensors_of("sd1", tiny_models["sd1"])
    tensors = {k.replace("transformer.text_model.", "transformer."): v for k, v in tensors.items()}
    tensors = {k: v[:, :, 0, 0].contiguous() if ".attn_1." in k and v.ndim == 4 else v for k, v in tensors.items()}
    safetensors.torch.save_file(tensors, tmp_path / "old.safetensors")
    assert_same(everything(families.load(tmp_path / "old.safetensors")), everything(families.load(tiny_models["sd1"])))


@pytest.mark.parametrize(
    ("keys", "metadata", "prediction", "zero"),
    [
        ([], {}, "epsilon", False),
        (["v_pred"], {}, "v_prediction", False),
        (["v_pred", "ztsnr"], {}, "v_prediction", True),
        ([], {"modelspec.prediction_type": "v"}, "v_prediction", False),
    ],
)
def test_marker_keys_set_what_is_predicted(
    keys: list[str], metadata: dict[str, str], prediction: str, zero: bool, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    plus = {key: torch.empty(0) for key in keys}
    path = single_files.write("sdxl", tiny_models["sdxl"], tmp_path / "m.safetensors", plus=plus, metadata=metadata)
    schedule = Schedule.of(families.load(path).noise, settings_file.from_dict({}))
    assert schedule.prediction == prediction
    assert (schedule.alpha_bar[-1].item() < 1e-8) is zero


def test_sd2_that_does_not_tell_its_prediction_is_asked(
    tiny_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer at the last timestep for a grey picture x: about noise for epsilon, about -x times a lot for v."""
    path = single_files.write("sd2", tiny_models["sd2"], tmp_path / "m.safetensors")
    assert identify(path).prediction == ""
    backbone = families.load(path)
    unet = backbone.load_unet(torch.float32, CPU)
    assert backbone.noise["prediction_type"] == "epsilon"
    backbone = families.load(path)
    monkeypatch.setattr(type(unet), "forward", lambda self, x, *args, **options: (x - 2,))
    backbone.load_unet(torch.float32, CPU)
    assert backbone.noise["prediction_type"] == "v_prediction"


# The autoencoder


@pytest.mark.parametrize("kind", ["original", "with prefix", "diffusers file", "vae folder", "model folder", "ckpt"])
def test_another_vae_replaces_the_models_own(kind: str, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    tensors, config = single_files.folder_tensors(tiny_models["sd1"], "vae")
    tensors = {k: v + 1 for k, v in tensors.items()}
    named = single_files.original_tensors("sd1", "vae", tensors, config)
    bare = {k.removeprefix("first_stage_model."): v for k, v in named.items()}
    given = tmp_path / ("vae.ckpt" if kind == "ckpt" else "vae.safetensors")
    match kind:
        case "original":
            safetensors.torch.save_file(bare | {"loss.logvar": torch.zeros(1)}, given)
        case "with prefix":
            safetensors.torch.save_file(named, given)
        case "diffusers file":
            safetensors.torch.save_file(tensors, given)
        case "ckpt":
            torch.save({"state_dict": bare}, given)
        case _:
            given = tmp_path / "folder"
            inner = given if kind == "vae folder" else given / "vae"
            inner.mkdir(parents=True)
            safetensors.torch.save_file(tensors, inner / "diffusion_pytorch_model.safetensors", {"format": "pt"})
            (inner / "config.json").write_bytes((tiny_models["sd1"] / "vae" / "config.json").read_bytes())
    base = single_files.write("sd1", tiny_models["sd1"], tmp_path / "base.safetensors", without="first_stage_model.")
    for model in (base, tiny_models["sd1"]):
        backbone = families.load(model, given)
        vae = backbone.load_vae(CPU).state_dict()
        assert_same(vae, tensors)
        assert backbone.fingerprint(["vae"]) != families.load(tiny_models["sd1"]).fingerprint(["vae"])
        assert backbone.fingerprint(["text_encoder"]) == families.load(model, given).fingerprint(["text_encoder"])


def test_a_file_without_vae_asks_for_one(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    path = single_files.write("sd1", tiny_models["sd1"], tmp_path / "novae.safetensors", without="first_stage_model.")
    assert families.detect(path).id == "sd1" and "without VAE" in identify(path).sentence
    with pytest.raises(
        ModelError, match=r"novae\.safetensors holds no VAE\. Give the VAE that belongs to it .* under VAE\."
    ):
        families.load(path)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (None, r'There is no VAE ".*v\.safetensors"'),
        ({"a": torch.zeros(1)}, r"v\.safetensors holds no VAE \(Unknown\)"),
        (
            {"encoder.down.0.block.0.conv1.weight": torch.zeros(1), "decoder.conv_in.weight": torch.zeros(4, 16, 3, 3)},
            "is a VAE with 16 channels",
        ),
    ],
)
def test_a_vae_that_is_none_is_said(
    tensors: dict[str, torch.Tensor] | None, message: str, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "v.safetensors"
    if tensors:
        safetensors.torch.save_file(tensors, path)
    with pytest.raises(ModelError, match=message):
        families.load(tiny_models["sd1"], path)
    with pytest.raises(ModelError, match="is no VAE: it has neither"):
        families.load(tiny_models["sd1"], tmp_path)


def test_two_files_that_differ_in_a_part_have_other_fingerprints_of_it(
    tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    one = single_files.write("sdxl", tiny_models["sdxl"], tmp_path / "one.safetensors")
    tensors = safetensors.torch.load_file(one)
    changed = {k: v + 1 if k.startswith("first_stage_model.") else v for k, v in tensors.items()}
    safetensors.torch.save_file(changed, tmp_path / "two.safetensors")
    a, b = families.load(one), families.load(tmp_path / "two.safetensors")
    assert a.fingerprint(["vae"]) != b.fingerprint(["vae"])
    assert a.fingerprint(["text_encoder", "text_encoder_2"]) == b.fingerprint(["text_encoder", "text_encoder_2"])


# Damage


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_a_file_that_is_cut_off_is_said(suffix: str, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    path = single_files.write("sd1", tiny_models["sd1"], tmp_path / f"m{suffix}")
    os.truncate(path, path.stat().st_size * 2 // 3)
    with pytest.raises(ModelError, match=r"m\.(safetensors|ckpt) .*cut off.* Copy it again"):
        families.detect(path)


def test_a_missing_weight_is_named(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    path = single_files.write(
        "sdxl", tiny_models["sdxl"], tmp_path / "m.safetensors", without="model.diffusion_model.out.2.bias"
    )
    with pytest.raises(
        ModelError,
        match=r"The UNet of m\.safetensors lacks 1 of its weights, e\.g\. model\.diffusion_model\.out\.2\.bias",
    ):
        families.load(path).load_unet(torch.float32, CPU)


def test_a_weight_of_another_shape_or_dtype_is_named(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    for wrong in (torch.zeros(3), torch.zeros(4, dtype=torch.int64)):
        path = single_files.write(
            "sdxl", tiny_models["sdxl"], tmp_path / "m.safetensors", plus={"model.diffusion_model.out.2.bias": wrong}
        )
        with pytest.raises(
            ModelError,
            match=r"out\.2\.bias in m\.safetensors is (F32|I64) of shape \[\d\]; a usual SDXL model has \[4\]",
        ):
            families.load(path).load_unet(torch.float32, CPU)


def test_preflight_takes_files(tiny_models: dict[str, Path], pictures: Path, tmp_path: Path) -> None:
    path = single_files.write("sd1", tiny_models["sd1"], tmp_path / "m.safetensors", without="first_stage_model.")
    values = {"base": str(path), "data": str(pictures), "runs_folder": str(tmp_path / "runs")}
    with pytest.raises(ModelError, match="holds no VAE"):
        preflight.check(settings_file.from_dict(values))
    preflight.check(settings_file.from_dict(values | {"vae": str(tiny_models["sd1"] / "vae")}))
