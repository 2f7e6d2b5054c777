"""Quantised bases: bitsandbytes' numbers to the bit, made weight by weight, kept on disk, trained on and exported as any other."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import bitsandbytes
import pytest
import safetensors.torch
import torch
from diffusers import UNet2DConditionModel

from tests import single_files
from tests.runs import AtPoll, losses, make_run, train
from trainer import adapter as adapters
from trainer import families, metadata_settings, packed, proof, quantized, quantized_parts, settings_file
from trainer.errors import ConfigError, ModelError
from trainer.events import Exported, Phase, Started, Stop
from trainer.families.backbone import Conditioning
from trainer.lora_file import read_header
from trainer.quantized import QuantizedLinear
from trainer.quantized_parts import TITLE, Quantization
from trainer.settings import TrainingSettings

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.families.backbone import Backbone

CPU = torch.device("cpu")
KINDS = ("nf4", "int8")
TARGETS = ("attention", "feed_forward", "projections")


def layers(model: torch.nn.Module) -> dict[str, QuantizedLinear]:
    return {name: module for name, module in model.named_modules() if isinstance(module, QuantizedLinear)}


def layer(weight: torch.Tensor, kind: Any, dtype: torch.dtype = torch.float32, bias: bool = True) -> QuantizedLinear:
    """A layer of that weight."""
    plain = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=bias, dtype=dtype).requires_grad_(False)
    out = QuantizedLinear(plain, kind, dtype)
    for name, value in quantized.quantize(weight, kind).items():
        setattr(out, name, value)
    return out


def apart(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(((a.float() - b.float()).norm() / b.float().norm()).detach())


# Numbers


@pytest.mark.parametrize("shape", [(64, 64), (640, 100), (8, 24), (321, 64), (5120, 160)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_nf4_is_that_of_bitsandbytes_to_the_bit(shape: tuple[int, int], dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    weight = (torch.randn(shape) * torch.logspace(-4, 2, shape[0])[:, None]).to(dtype)
    weight[0] = 0
    weight[-1] = weight[-1].sign()  # the ends of the scale
    ours = quantized.quantize(weight, "nf4")
    codes, state = bitsandbytes.functional.quantize_4bit(weight, compress_statistics=True, quant_type="nf4")
    assert torch.equal(ours["codes"], codes.view(-1))
    assert torch.equal(ours["scales"], state.absmax) and torch.equal(ours["scales_scales"], state.state2.absmax)
    assert torch.equal(ours["scales_mean"][0], state.offset)
    assert torch.equal(layer(weight, "nf4", dtype).weight, bitsandbytes.functional.dequantize_4bit(codes, state))


def test_nf4_is_exact_at_every_bound_between_two_codes() -> None:
    values = bitsandbytes.functional.get_4bit_type("nf4", device="cpu")
    bounds = (values[:-1] + values[1:]) / 2
    near = [torch.nextafter(bounds, torch.tensor(to)) for to in (-2.0, 2.0)]
    numbers = torch.cat([torch.ones(1), bounds, *near, values, torch.tensor([-1.0, 0.0])])
    assert len(numbers) == 64
    for scale in (1.0, 0.02, 3.7e-5):
        expected, state = bitsandbytes.functional.quantize_4bit(numbers.view(2, 32) * scale, quant_type="nf4")
        codes, sizes = quantized._nf4_codes(numbers * scale)
        assert torch.equal(codes, expected.view(-1)) and torch.equal(sizes, state.absmax)


def test_int8_is_that_of_bitsandbytes() -> None:
    torch.manual_seed(1)
    weight = torch.randn(2000, 640).half()
    weight[7] = 0
    codes, scales, _ = bitsandbytes.functional.int8_vectorwise_quant(weight.float())
    ours = quantized.quantize(weight, "int8")
    kept = torch.arange(2000) != 7
    assert torch.equal(ours["codes"][kept], codes[kept]) and torch.equal(ours["scales"], scales)
    made = layer(weight, "int8").weight
    assert not ours["codes"][7].any() and not made[7].any()
    assert torch.allclose(made, bitsandbytes.functional.int8_vectorwise_dequant(ours["codes"], scales), rtol=1e-6)


@pytest.mark.parametrize(("kind", "off"), [("nf4", 0.1), ("int8", 0.01)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_outputs_and_gradients_are_near_those_of_the_plain_layer(kind: str, off: float, dtype: torch.dtype) -> None:
    torch.manual_seed(2)
    weight = torch.randn(256, 128) * 0.05
    ours = layer(weight, kind, dtype)
    x, gradient = torch.randn(3, 7, 128).to(dtype), torch.randn(3, 7, 256).to(dtype)
    mine, exact, plain = (x.clone().requires_grad_() for _ in range(3))
    out = ours(mine)
    made = torch.nn.functional.linear(exact, ours.weight, ours.bias)
    true = torch.nn.functional.linear(plain, weight.to(dtype), ours.bias)
    torch.autograd.backward([out, made, true], [gradient] * 3)
    assert out.dtype is dtype and torch.equal(out, made)
    assert 0 < apart(out, true) < off
    assert mine.grad is not None and exact.grad is not None and plain.grad is not None
    assert apart(mine.grad, exact.grad) < 1e-6 and 0 < apart(mine.grad, plain.grad) < off


def test_nothing_is_kept_for_the_way_back() -> None:
    kept: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, keep):
        layer(torch.randn(64, 64), "nf4")(torch.randn(2, 64, requires_grad=True)).sum()
    assert kept == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_is_refused(kind: Any, wrong: float) -> None:
    weight = torch.randn(64, 64)
    weight[40, 3] = wrong
    with pytest.raises(ValueError, match="not finite"):
        quantized.quantize(weight, kind)


def test_bytes_are_a_quarter_and_a_half_of_those_of_bf16(tiny_models: dict[str, Path]) -> None:
    for kind, most in (("nf4", 0.30), ("int8", 0.55)):
        model = torch.nn.Sequential(torch.nn.Linear(640, 640), torch.nn.Conv2d(4, 4, 3), torch.nn.Linear(640, 2560))
        plain = sum(m.weight.numel() * 2 for m in model if isinstance(m, torch.nn.Linear))
        paths = quantized.replace_linears(model, kind, torch.bfloat16)  # type: ignore[arg-type]
        assert paths == ["0", "2"] and quantized.quantized_bytes(model) <= most * plain


def test_what_blocks_of_64_do_not_fit_stays_as_it_is() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(9, 64), torch.nn.Linear(10, 10), torch.nn.Linear(16, 4))
    assert quantized.replace_linears(model, "nf4", torch.float32) == ["2"]


# Parts


@pytest.fixture(params=["folder", "file", "ckpt"])
def base(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def opened(family: str, base: str, models: dict[str, Path], tmp_path: Path, patch: pytest.MonkeyPatch) -> Backbone:
    """A tiny model as a folder or as a file."""
    if base == "folder":
        return families.load(models[family])
    single_files.use_tiny_configs(patch, models)
    path = tmp_path / f"{family}.{'ckpt' if base == 'ckpt' else 'safetensors'}"
    return families.load(single_files.write(family, models[family], path, dtype=torch.float16))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", families.FAMILIES)
def test_parts_are_quantised_from_folders_and_files(
    family: str, kind: Any, base: str, tiny_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = opened(family, base, tiny_models, tmp_path, monkeypatch)
    told: list[tuple[str, int, int]] = []
    how = Quantization(kind, tmp_path / "kept", lambda *words: told.append(words))
    plain = backbone.load_unet(torch.float32, CPU)
    backbone.load_text_encoders(torch.float32, CPU)
    parts = {"unet": plain, **backbone.text_encoders}
    unet = backbone.load_unet(torch.bfloat16, CPU, how)
    backbone.load_text_encoders(torch.bfloat16, CPU, how)
    for part, before in parts.items():
        after = backbone.part(part)
        linears = {name: m for name, m in before.named_modules() if type(m) is torch.nn.Linear}
        assert layers(after).keys() == linears.keys() and len(linears) > 10
        for name, found in layers(after).items():
            expected = quantized.quantize(linears[name].weight, kind)
            assert all(torch.equal(getattr(found, key), value) for key, value in expected.items()), name
        others = {
            n: p for n, p in before.named_parameters() if n.rpartition(".")[0] not in linears or n.endswith("bias")
        }
        mine = dict(after.named_parameters())
        assert mine.keys() == others.keys()
        assert all(torch.equal(mine[name], value.bfloat16()) for name, value in others.items())
        assert not any(p.requires_grad for p in after.parameters()) and not after.training
    assert unet.dtype is torch.bfloat16
    assert {title for title, _, _ in told} == {TITLE} and told[0][1] == 0 and all(0 <= a <= b for _, a, b in told)


@pytest.mark.parametrize("kind", KINDS)
def test_the_second_time_no_weight_of_the_base_is_read(
    kind: Any, base: str, tiny_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = opened("sdxl", base, tiny_models, tmp_path, monkeypatch)
    first = backbone.load_unet(torch.bfloat16, CPU, Quantization(kind, tmp_path / "kept")).state_dict()

    def never(*words: object) -> Any:
        raise AssertionError(words)

    for module in ("folder", "single_file"):
        monkeypatch.setattr(f"trainer.families.{module}.read_tensor", never)
    again = backbone.load_unet(torch.bfloat16, CPU, Quantization(kind, tmp_path / "kept", never)).state_dict()
    assert again.keys() == first.keys() and all(torch.equal(again[name], first[name]) for name in first)
    for other in (torch.float32, torch.float16):
        with pytest.raises(AssertionError):
            backbone.load_unet(other, CPU, Quantization(kind, tmp_path / "kept"))
    assert [p.suffix for p in (tmp_path / "kept").iterdir()] == [".safetensors"]


def test_without_a_folder_or_with_a_full_disk_it_is_made_in_memory(
    tiny_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = families.load(tiny_models["sd1"])
    kept = backbone.load_unet(torch.bfloat16, CPU, Quantization("nf4", tmp_path / "kept")).state_dict()
    made = [backbone.load_unet(torch.bfloat16, CPU, Quantization("nf4"))]
    (tmp_path / "file").touch()
    made.append(backbone.load_unet(torch.bfloat16, CPU, Quantization("nf4", tmp_path / "file" / "no folder")))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1_000_000))
    made.append(backbone.load_unet(torch.bfloat16, CPU, Quantization("nf4", tmp_path / "full")))
    assert not list((tmp_path / "full").iterdir())
    for model in made:
        assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("damage", ["cut", "header", "other", "empty"])
def test_a_damaged_file_is_made_anew(damage: str, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    backbone, how = families.load(tiny_models["sd1"]), Quantization("nf4", tmp_path)
    whole = {k: v.clone() for k, v in backbone.load_unet(torch.bfloat16, CPU, how).state_dict().items()}
    backbone.unet = None
    path = next(tmp_path.glob("*.safetensors"))
    raw = path.read_bytes()
    path.unlink()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    header["conv_in.weight"]["shape"].reverse()
    text = json.dumps(header).encode().ljust(length)
    damaged = {"cut": raw[: len(raw) // 2], "header": b"\xff" * 64 + raw[64:], "other": raw[:8] + text + raw[8 + length :], "empty": b""}  # fmt: skip
    path.write_bytes(damaged[damage])
    again = backbone.load_unet(torch.bfloat16, CPU, how).state_dict()
    assert all(torch.equal(again[name], whole[name]) for name in whole)
    assert path.read_bytes() == raw


def test_another_model_is_not_taken_for_it(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    other = shutil.copytree(tiny_models["sd1"], tmp_path / "other")
    model = UNet2DConditionModel.from_pretrained(other / "unet")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    model.save_pretrained(other / "unet")
    how = Quantization("nf4", tmp_path / "kept")
    one, two = (families.load(path).load_unet(torch.bfloat16, CPU, how) for path in (tiny_models["sd1"], other))
    assert not torch.equal(
        next(iter(layers(one).values())).scales_scales, next(iter(layers(two).values())).scales_scales
    )
    assert len(list((tmp_path / "kept").iterdir())) == 2


def test_what_is_kept_stays_within_bounds(
    tiny_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = families.load(tiny_models["sd1"])
    backbone.load_unet(torch.bfloat16, CPU, Quantization("nf4", tmp_path))
    first = next(tmp_path.glob("*.safetensors"))
    abandoned, fresh = tmp_path / ".x.safetensors.1.part", tmp_path / ".y.safetensors.2.part"
    abandoned.touch()
    fresh.touch()
    long_ago = time.time() - 200_000
    for path in (first, abandoned):
        os.utime(path, (long_ago, long_ago))
    backbone.load_unet(torch.bfloat16, CPU, Quantization("nf4", tmp_path))
    assert first.stat().st_mtime > long_ago + 1000 and abandoned.exists()  # used again: young again
    monkeypatch.setattr(quantized_parts, "KEPT_BYTES", int(2.5 * first.stat().st_size))
    os.utime(first, (long_ago, long_ago))
    backbone.load_unet(torch.float32, CPU, Quantization("nf4", tmp_path))  # larger, as convolutions are
    assert not abandoned.exists() and fresh.exists()
    assert not first.exists() and len(list(tmp_path.glob("*.safetensors"))) == 1


def test_a_stop_while_quantising_leaves_nothing(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    class Enough(Exception):
        pass

    def tell(title: str, done: int, total: int) -> None:
        if done > total // 2:
            raise Enough

    with pytest.raises(Enough):
        families.load(tiny_models["sd1"]).load_unet(torch.bfloat16, CPU, Quantization("nf4", tmp_path, tell))
    assert not list(tmp_path.iterdir())


def test_faults_of_the_base_are_sentences(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    def unet(**changes: torch.Tensor | None) -> Any:
        folder = shutil.copytree(tiny_models["sd1"], tmp_path / "model", dirs_exist_ok=True)
        path = next((folder / "unet").glob("*.safetensors"))
        tensors = safetensors.torch.load_file(next((tiny_models["sd1"] / "unet").glob("*.safetensors"))) | changes
        safetensors.torch.save_file({k: v for k, v in tensors.items() if v is not None}, path)
        return families.load(folder).load_unet(torch.bfloat16, CPU, Quantization("nf4", tmp_path / "kept"))

    name = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight"
    with pytest.raises(
        ModelError,
        match=r"^unet of the base model .*model lacks 1 of its weights, e\.g\. mid_block\..*Copy the model again",
    ):
        unet(**{name: None})
    with pytest.raises(
        ModelError,
        match=r"^unet of the base model .*cannot be read \(mid_block\.\S+to_q\.weight in \S+ is F32 of shape \[2, 3\], not \[32, 32\]\)",
    ):
        unet(**{name: torch.zeros(2, 3)})
    with pytest.raises(
        ModelError,
        match=rf"^The base model cannot be quantised: {name} holds numbers that are not finite\. Copy or download",
    ):
        unet(**{name: torch.full((32, 32), torch.nan)})
    assert not list((tmp_path / "kept").glob("*"))


# Adapters on them


def made(model: Path, kind: Any, dtype: torch.dtype, fuse: bool = True, **changes: Any) -> adapters.Adapter:
    torch.manual_seed(3)
    backbone = families.load(model)
    backbone.load_unet(dtype, CPU, Quantization(kind) if kind else None)
    settings = TrainingSettings(**({"rank": 4, "alpha": 2.0, "targets": TARGETS} | changes))
    adapter = adapters.Adapter(backbone, adapters.fresh_sizes(backbone, settings), settings)
    with torch.no_grad():
        for weight in (w for of in adapter.layers.values() for w in (of.lora_A["default"].weight, of.lora_B["default"].weight)):  # fmt: skip
            weight.copy_(torch.randn(weight.shape) * 0.3 / weight.shape[-1] ** 0.5)
    if fuse:
        adapter.fuse()
    return adapter


def learned(adapter: adapters.Adapter, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """The UNet's answer to a fixed question, and the gradient of all adapters in a row."""
    torch.manual_seed(5)
    backbone = adapter.backbone
    wide = len(backbone.family.text_parts) > 1
    told = Conditioning(torch.randn(2, 77, 64 if wide else 32), torch.randn(2, 32) if wide else None)
    noisy, t, ids = torch.randn(2, 4, 8, 16), torch.tensor([10, 900]), torch.tensor([[64, 128, 0, 0, 64, 128]] * 2)
    with torch.autocast("cpu", dtype, enabled=dtype is not torch.float32):
        out = backbone.denoise(noisy.to(dtype), t, told.to(CPU, dtype), ids).float()
    torch.autograd.backward(torch.nn.functional.gelu(out).square().mean())
    gradients = [p.grad.flatten() for p in adapter.parameters() if p.grad is not None]
    assert len(gradients) == len(adapter.parameters()) and all(g.dtype is torch.float32 for g in gradients)
    return out.detach(), torch.cat(gradients)


@pytest.mark.parametrize(("kind", "off"), [("nf4", 0.25), ("int8", 0.03)])
@pytest.mark.parametrize("family", families.FAMILIES)
def test_fused_adapters_give_the_numbers_of_pefts(
    family: str, kind: str, off: float, tiny_models: dict[str, Path]
) -> None:
    model = tiny_models[family]
    peft_out, peft_gradients = learned(made(model, kind, torch.float32, fuse=False), torch.float32)
    adapter = made(model, kind, torch.float32)
    assert adapter.fuse() == len(adapter.layers)
    out, gradients = learned(adapter, torch.float32)
    assert apart(out, peft_out) < 2e-5 and apart(gradients, peft_gradients) < 2e-5
    plain_out, plain_gradients = learned(made(model, "", torch.float32), torch.float32)
    assert 0 < apart(out, plain_out) < off and 0 < apart(gradients, plain_gradients) < 2 * off
    half_out, half_gradients = learned(made(model, kind, torch.bfloat16), torch.bfloat16)
    assert apart(half_out, out) < 0.05 and apart(half_gradients, gradients) < 0.1


def test_checkpointed_blocks_give_the_same_gradients(tiny_models: dict[str, Path]) -> None:
    expected = learned(made(tiny_models["sd1"], "nf4", torch.float32), torch.float32)[1]
    adapter = made(tiny_models["sd1"], "nf4", torch.float32)
    unet: Any = adapter.backbone.unet
    unet.enable_gradient_checkpointing()
    unet.train()
    assert apart(learned(adapter, torch.float32)[1], expected) < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_dora_works_on_them(kind: str, tiny_models: dict[str, Path]) -> None:
    """Fresh magnitudes are the lengths of the quantised weights, with which DoRA changes nothing."""
    adapter = made(tiny_models["sd1"], kind, torch.float32, dora=True)
    for layer_ in adapter.layers.values():
        torch.nn.init.zeros_(layer_.lora_B["default"].weight)
    out, _ = learned(adapter, torch.float32)
    assert apart(out, learned(made(tiny_models["sd1"], kind, torch.float32, alpha=1e-30), torch.float32)[0]) < 1e-4
    assert any(key.endswith("dora_scale") for key in adapter.tensors())


def test_packing_skips_them_and_packs_convolutions(tiny_models: dict[str, Path]) -> None:
    adapter = made(tiny_models["sdxl"], "nf4", torch.float32)
    expected = learned(adapter, torch.float32)
    unet: Any = adapter.backbone.unet
    count = len(layers(unet))
    assert packed.pack(unet) > 10 and len(layers(unet)) == count
    for parameter in adapter.parameters():
        parameter.grad = None
    out, gradients = learned(adapter, torch.float32)
    assert apart(out, expected[0]) < 2e-5 and apart(gradients, expected[1]) < 2e-5


def test_injecting_adapters_makes_each_weight_only_a_few_times(
    tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time costs a pass over the model, seconds for SDXL."""
    make, count = QuantizedLinear.weight.fget, 0  # type: ignore[attr-defined]

    def counted(self: QuantizedLinear) -> torch.Tensor:
        nonlocal count
        count += 1
        return make(self)  # type: ignore[no-any-return]

    monkeypatch.setattr(QuantizedLinear, "weight", property(counted))
    adapter = made(tiny_models["sdxl"], "nf4", torch.float32)
    assert count <= 3 * len(adapter.layers)


# Runs


def test_a_run_trains_exports_and_proves_its_file(tiny_models: dict[str, Path], pictures: Path, tmp_path: Path) -> None:
    changes = {"quantization": "nf4", "targets": TARGETS, "precision": "bf16", "steps": 2}
    folder = make_run(tiny_models["sd2"], pictures, tmp_path / "runs", **changes)
    events = train(folder)
    titles = list(dict.fromkeys(e.title for e in events if isinstance(e, Phase)))
    assert titles.index(TITLE) == titles.index("Loading the base model") + 1
    started = next(e for e in events if isinstance(e, Started))
    assert started.quantization == "nf4" and not started.packed
    exported = next(e for e in events if isinstance(e, Exported))
    assert exported.programs.startswith("A1111") and 0 <= exported.model_difference < 0.1
    path = folder.path / exported.path
    assert "not compared" not in proof.prove_export(folder, 2, path).sentence()
    again = train(make_run(tiny_models["sd2"], pictures, tmp_path / "runs", **changes))
    assert not any(e.title == TITLE for e in again if isinstance(e, Phase))
    assert losses(again) == losses(events)
    plain = make_run(tiny_models["sd2"], pictures, tmp_path / "runs", **(changes | {"quantization": "none"}))
    other = plain.path / next(e.path for e in train(plain) if isinstance(e, Exported))
    mine, theirs = read_header(path), read_header(other)
    assert mine.shapes == theirs.shapes and mine.dtypes == theirs.dtypes
    assert mine.metadata["ss_base_quantization"] == "nf4" and "ss_base_quantization" not in theirs.metadata
    assert metadata_settings.settings_from_metadata(mine.metadata)["quantization"] == "nf4"


def test_a_resumed_run_goes_on_as_if_it_had_not_stopped(
    tiny_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    changes: dict[str, Any] = {"quantization": "int8", "train_text_encoder": True}
    whole = losses(train(make_run(tiny_models["sd1"], pictures, tmp_path / "runs", **changes)))
    folder = make_run(tiny_models["sd1"], pictures, tmp_path / "runs", **changes)
    first = losses(train(folder, AtPoll({2: [Stop(export=False)]})))
    assert len(first) == 2 and first + losses(train(folder)) == whole


def test_trained_text_encoders_are_quantised_too(tiny_models: dict[str, Path], pictures: Path, tmp_path: Path) -> None:
    from trainer.session import prepare

    changes = {"quantization": "nf4", "train_text_encoder": True, "cache": "memory"}
    session = prepare(make_run(tiny_models["sdxl"], pictures, tmp_path / "runs", **changes), lambda event: None)
    for part in ("unet", "text_encoder", "text_encoder_2"):
        model = session.backbone.part(part)
        assert layers(model) and not any(type(m) is torch.nn.Linear and m.weight.numel() > 600 for n, m in model.named_modules() if "lora_" not in n)  # fmt: skip
    cache = tmp_path / "nothing"
    assert not cache.exists() and not list(tmp_path.rglob("quantized"))


def test_bitsandbytes_does_not_talk_to_the_user() -> None:
    """About a package that it would like to have; it says so when it is imported, which peft does."""
    done = subprocess.run(
        [sys.executable, "-c", "import trainer, bitsandbytes"], capture_output=True, text=True, check=True
    )
    assert "kernels" not in done.stderr + done.stdout


def test_a_device_without_it_is_refused_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = TrainingSettings(quantization="nf4")
    with pytest.raises(
        ConfigError, match=r"not possible on Apple GPUs.* Set it to none, or the device to cpu\."
    ) as caught:
        quantized_parts.wanted(settings, torch.device("mps"))
    assert caught.value.field == "quantization"
    assert quantized_parts.wanted(TrainingSettings(), torch.device("mps")) is None
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="needs bitsandbytes, which is not installed"):
        quantized_parts.wanted(settings, CPU)
    with pytest.raises(ConfigError, match="not possible on Apple GPUs"):
        settings_file.from_dict({"quantization": "int8", "device": "mps"})
