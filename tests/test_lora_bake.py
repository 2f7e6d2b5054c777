"""Checkpoints with LoRAs baked in: against dense arithmetic, against diffusers, byte for byte where nothing is touched."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import safetensors
import safetensors.torch
import torch

from tests import single_files
from tests.test_export import trained
from trainer import export, families, lora_bake, lora_convert, lora_file
from trainer.errors import DivergedError, ModelError, RunError
from trainer.families import lora_names, original
from trainer.families.checkpoint_layers import CheckpointLayers
from trainer.lora_tools import Layer
from trainer.tasks import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Tensors = dict[str, torch.Tensor]
FIRST = next(iter(families.FAMILIES))
KINDS: dict[str, dict[str, Any]] = {"cat": {"conv_rank": 3, "conv_alpha": 2.0}, "dora": {"dora": True}}


@pytest.fixture(scope="module")
def prepared(tiny_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A family's folder with base.safetensors, cat.safetensors (all layers) and dora.safetensors, made once."""
    return functools.cache(lambda family: prepare(family, tiny_models, tmp_path_factory.mktemp(family)))


@pytest.fixture(params=list(families.FAMILIES))
def given(request: Any, prepared: Callable[[str], Path]) -> tuple[str, Path]:
    return request.param, prepared(request.param)


@pytest.fixture
def first(prepared: Callable[[str], Path]) -> Path:
    return prepared(FIRST)


def prepare(family: str, tiny_models: dict[str, Path], folder: Path) -> Path:
    tensors = single_files.tensors_of(family, tiny_models[family])
    told = {"modelspec.title": "Base", "modelspec.hash_sha256": "0x1", "x": "y"}
    plus = single_files.ema(tensors) | {"some.ids": torch.arange(5)}
    single_files.write(family, tiny_models[family], folder / "base.safetensors", metadata=told, plus=plus)
    said = {"ss_base_model_version": families.FAMILIES[family].kohya_version, "modelspec.title": "Cat"}
    for name, changes in KINDS.items():
        export.write(folder / f"{name}.safetensors", trained(tiny_models[family], **changes).tensors(), said, "fp32")
    return folder


def densely(base: Tensors, lora: Tensors, weight: float, family: str) -> Tensors:
    """The same by the book: every dW as a whole, names from diffusers' configuration of the tiny model's kind, fp64."""
    out = {name: tensor.clone() for name, tensor in base.items()}
    for key, down in lora.items():
        if not key.endswith(".lora_down.weight"):
            continue
        stem = key.removesuffix(".lora_down.weight")
        found = lora_names.path(stem)
        assert found is not None
        part, module = found
        ups = {"up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3)} if family != "sdxl" else {}
        at = original.origin(f"{module}.weight", single_files.PLACES[family][part], ups)
        up, alpha = lora[f"{stem}.lora_up.weight"].double(), float(lora[f"{stem}.alpha"])
        delta = weight * alpha / len(down) * up.flatten(1) @ down.double().flatten(1)
        whole = out[at.name]
        third = len(whole) // 3
        rows = slice(None) if at.third is None else slice(at.third * third, (at.third + 1) * third)
        whole[rows] = (whole[rows].double() + delta.reshape(whole[rows].shape)).to(whole.dtype)
    return out


def test_baking_is_adding_the_dense_change_and_nothing_else(given: tuple[str, Path], tmp_path: Path) -> None:
    family, folder = given
    made = lora_bake.bake_file(
        folder / "base.safetensors", [(folder / "cat.safetensors", -0.7)], tmp_path / "o.safetensors"
    )
    base, out = (safetensors.torch.load_file(p) for p in (folder / "base.safetensors", tmp_path / "o.safetensors"))
    lora = safetensors.torch.load_file(folder / "cat.safetensors")
    expected = densely(base, lora, -0.7, family)
    assert list(out) == list(base)
    for name, tensor in base.items():
        torch.testing.assert_close(out[name], expected[name], rtol=0, atol=2e-6)
        assert out[name].dtype == tensor.dtype
    touched = {name for name in base if not torch.equal(out[name], base[name])}
    assert len(touched) > 200 and not any(n.startswith(("model_ema.", "first_stage_model.", "betas")) for n in touched)
    assert made.layers == sum(k.endswith(".alpha") for k in lora) and made.ranks == (3, 4)
    spans = [lora_file.read_header(p).spans for p in (folder / "base.safetensors", tmp_path / "o.safetensors")]
    assert sorted(spans[0], key=lambda n: spans[0][n]) == sorted(spans[1], key=lambda n: spans[1][n])


@pytest.mark.parametrize("name", ["cat", "dora"])
@torch.no_grad()
def test_a_baked_model_does_what_the_model_with_the_lora_does(
    name: str, given: tuple[str, Path], tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """peft's layers, which hold LoRA and DoRA beside the base, against the app's own reader of the baked file."""
    family, folder = given
    lora_bake.bake_file(
        folder / "base.safetensors", [(folder / f"{name}.safetensors", 1.0)], tmp_path / "o.safetensors"
    )
    adapter = trained(tiny_models[family], **KINDS[name])
    adapter.load(safetensors.torch.load_file(folder / f"{name}.safetensors"))
    theirs = adapter.backbone
    single_files.use_tiny_configs(monkeypatch, tiny_models)
    ours = families.load(tmp_path / "o.safetensors")
    ours.load_unet(torch.float32, torch.device("cpu"))
    ours.load_text_encoders(torch.float32, torch.device("cpu"))
    plain = families.load(folder / "base.safetensors")
    plain.load_unet(torch.float32, torch.device("cpu"))
    noisy, ids = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1)), torch.tensor([[64, 64, 0, 0, 64, 64]])  # fmt: skip
    told = theirs.encode_captions(["a round thing"], clip_skip=1, max_tokens=75)
    mine = ours.encode_captions(["a round thing"], clip_skip=1, max_tokens=75)
    torch.testing.assert_close(mine.states, told.states, rtol=0, atol=1e-4)
    answers = [b.denoise(noisy, torch.tensor([400]), told, ids) for b in (ours, theirs, plain)]
    torch.testing.assert_close(answers[0], answers[1], rtol=0, atol=2e-4)
    assert float((answers[0] - answers[2]).abs().max()) > 0.01


def test_several_loras_are_added_up_in_any_order_and_half_a_dora_goes_half_the_way(first: Path, tmp_path: Path) -> None:
    base, cat, dora = (first / f"{n}.safetensors" for n in ("base", "cat", "dora"))
    for name, loras in {"a": [(cat, 0.5), (dora, 0.5)], "b": [(dora, 0.5), (cat, 0.5)], "c": [(cat, 1.0)], "d": [(dora, 1.0)]}.items():  # fmt: skip
        lora_bake.bake_file(base, loras, tmp_path / f"{name}.safetensors")
    plain, a, b, c, d = (safetensors.torch.load_file(p) for p in (base, *(tmp_path / f"{n}.safetensors" for n in "abcd")))  # fmt: skip
    for name in plain:
        torch.testing.assert_close(a[name], b[name], rtol=0, atol=1e-6)
        torch.testing.assert_close(a[name].double(), (c[name].double() + d[name].double()) / 2, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["cat", "dora"])
def test_pefts_files_are_baked_as_kohyas_are(name: str, first: Path, tmp_path: Path) -> None:
    lora_convert.convert_file(first / f"{name}.safetensors", tmp_path / "peft.safetensors", "peft")
    for path, out in ((first / f"{name}.safetensors", "a"), (tmp_path / "peft.safetensors", "b")):
        lora_bake.bake_file(first / "base.safetensors", [(path, 0.5)], tmp_path / f"{out}.safetensors")
    a, b = (safetensors.torch.load_file(tmp_path / f"{n}.safetensors") for n in "ab")
    assert all(torch.allclose(a[k], b[k], rtol=0, atol=1e-6) for k in a)


@pytest.mark.parametrize("by_output", [True, False])
@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 3, 3)])
def test_magnitudes_of_outputs_and_of_inputs_are_the_lengths_that_weights_get(
    shape: tuple[int, ...], by_output: bool
) -> None:
    weight, generator = torch.randn(shape), torch.Generator().manual_seed(1)
    down, up = torch.randn(2, *shape[1:], generator=generator), torch.randn(6, 2, *[1] * (len(shape) - 2), generator=generator)  # fmt: skip
    count = shape[0] if by_output else shape[1]
    lengths = torch.rand(count, generator=generator) + 0.5
    form = [-1, *[1] * (len(shape) - 1)] if by_output else [1, -1, *[1] * (len(shape) - 2)]
    layer = Layer(down, up, 2.0, lengths.reshape(form))
    out = lora_bake.changed(weight, [lora_bake.Change("x", layer, 1.0, None, "f")])
    moved = weight + (up.flatten(1) @ down.flatten(1)).reshape(shape)
    for i in range(count):
        mine, theirs = (out[i], moved[i]) if by_output else (out[:, i], moved[:, i])
        torch.testing.assert_close(mine, theirs / theirs.norm() * lengths[i])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", ["new.ckpt", "old.ckpt", "x.safetensors"])
def test_number_formats_stay_and_checkpoints_with_pickles_become_safetensors(
    dtype: torch.dtype, kind: str, first: Path, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    path = single_files.write(FIRST, tiny_models[FIRST], tmp_path / kind, dtype=dtype, plus={"model_ema.decay": torch.tensor(0.5)}, legacy=kind.startswith("old"))  # fmt: skip
    made = lora_bake.bake_file(path, [(first / "cat.safetensors", 1.0)], tmp_path / "o.safetensors")
    single_files.write(FIRST, tiny_models[FIRST], tmp_path / "same.safetensors", dtype=dtype, plus={"model_ema.decay": torch.tensor(0.5)})  # fmt: skip
    base, out = (safetensors.torch.load_file(tmp_path / f"{n}.safetensors") for n in ("same", "o"))
    lora = safetensors.torch.load_file(first / "cat.safetensors")
    expected = densely(base, lora, 1.0, FIRST)
    assert out.keys() == base.keys() and {k: v.dtype for k, v in out.items()} == {k: v.dtype for k, v in base.items()}
    step = torch.finfo(dtype).eps
    for name, tensor in expected.items():
        torch.testing.assert_close(out[name], tensor, rtol=step, atol=1e-6)
    rounding = max(float((v.float() - out[k].float()).abs().max()) for k, v in densely({k: v.float() for k, v in base.items()}, lora, 1.0, FIRST).items())  # fmt: skip
    assert made.precision == {torch.float16: "fp16", torch.bfloat16: "bf16"}[dtype]
    assert made.difference == pytest.approx(rounding, abs=1e-6) and rounding > 0


def test_the_file_says_what_was_baked_and_hashes_are_those_of_its_data(first: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "o.safetensors"
    lora_bake.bake_file(first / "base.safetensors", [(first / "cat.safetensors", 0.8)], out)
    raw = out.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    told = lora_file.read_header(out).metadata
    assert told == {
        "modelspec.title": "Base", "x": "y", "format": "pt", "modelspec.merged_from": "base, Cat",
        "modelspec.description": "With Cat x 0.8.", "modelspec.hash_sha256": "0x" + hashlib.sha256(raw[start:]).hexdigest(),
    }  # fmt: skip
    assert raw[8:10] == b'{"' and start % 8 == 0
    again = tmp_path / "again.safetensors"
    lora_bake.bake_file(out, [(first / "cat.safetensors", -0.8)], again)
    assert lora_file.read_header(again).metadata["modelspec.merged_from"] == "base, Cat, Cat"
    base, back = (safetensors.torch.load_file(p) for p in (first / "base.safetensors", again))
    assert all(torch.allclose(back[k], base[k], rtol=0, atol=1e-6) for k in base), "taken out again"


def test_an_inpainting_model_takes_layers_that_fit(first: Path, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    conv = "model.diffusion_model.input_blocks.0.0.weight"
    path = single_files.write(FIRST, tiny_models[FIRST], tmp_path / "inpaint.safetensors", plus={conv: torch.randn(16, 9, 3, 3)})  # fmt: skip
    made = lora_bake.bake_file(path, [(first / "cat.safetensors", 1.0)], tmp_path / "o.safetensors")
    assert made.layers > 200


# Refusals


def lora_with(first: Path, tmp_path: Path, kind: str) -> Path:
    """The LoRA with one thing wrong."""
    tensors = safetensors.torch.load_file(first / "cat.safetensors")
    told = lora_file.read_header(first / "cat.safetensors").metadata
    stem = "lora_unet_mid_block_attentions_0_proj_in"
    match kind:
        case "family":
            told["ss_base_model_version"] = "sdxl_base_v1-0"
        case "layer":
            tensors = {k.replace(stem, "lora_unet_mid_block_attentions_7_proj_in"): v for k, v in tensors.items()}
        case "shape":
            tensors[f"{stem}.lora_up.weight"] = torch.ones(33, 4, 1, 1)
        case "huge":
            tensors[f"{stem}.alpha"] = torch.tensor(1e9)
        case "magnitude":
            tensors[f"{stem}.dora_scale"] = torch.ones(7, 1)
        case "nan":
            tensors[f"{stem}.lora_down.weight"][0, 0] = math.nan
    path = tmp_path / "bad.safetensors"
    safetensors.torch.save_file(tensors, path, told)
    return path


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("family", "bad.safetensors is made for SDXL and base.safetensors is SD 1.x; a LoRA can only be baked into a model of its own family."),
        ("layer", "bad.safetensors has 1 layer that base.safetensors does not have, e.g. lora_unet_mid_block_attentions_7_proj_in. Choose a LoRA made for SD 1.x."),
        ("shape", "bad.safetensors does not fit base.safetensors: layer lora_unet_mid_block_attentions_0_proj_in is 32 to 33, in the model it is 32 to 32."),
        ("magnitude", "bad.safetensors is damaged: the magnitudes of layer lora_unet_mid_block_attentions_0_proj_in do not fit its 32 inputs and 32 outputs."),
        ("nan", "layer lora_unet_mid_block_attentions_0_proj_in is empty or holds numbers that are not finite"),
    ],
)  # fmt: skip
def test_a_lora_that_does_not_fit_is_refused(kind: str, sentence: str, first: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as raised:
        lora_bake.bake_file(
            first / "base.safetensors", [(lora_with(first, tmp_path, kind), 1.0)], tmp_path / "o.safetensors"
        )
    assert sentence in str(raised.value)
    assert [p.name for p in tmp_path.iterdir()] == ["bad.safetensors"]


def test_numbers_beyond_the_format_of_the_base_are_refused(
    first: Path, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    base = single_files.write(FIRST, tiny_models[FIRST], tmp_path / "half.safetensors", dtype=torch.float16)
    with pytest.raises(DivergedError, match=r"^With bad\.safetensors, model\.diffusion_model\.middle_block\.1\.proj_in\.weight grows beyond what F16 numbers can hold"):  # fmt: skip
        lora_bake.bake_file(base, [(lora_with(first, tmp_path, "huge"), 1.0)], tmp_path / "o.safetensors")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.safetensors", "half.safetensors"]


@pytest.mark.parametrize(
    ("plus", "sentence"),
    [
        (torch.full((32, 32, 1, 1), math.nan), "base2.safetensors is damaged: model.diffusion_model.middle_block.1.proj_in.weight holds numbers that are not finite."),
        (torch.ones(32, 32, 1, 1, dtype=torch.int8), "model.diffusion_model.middle_block.1.proj_in.weight in base2.safetensors holds I8 numbers, of which a LoRA can neither be added nor taken. Choose the fp16, bf16 or fp32 file."),
    ],
    ids=["nan", "int8"],
)  # fmt: skip
def test_a_base_whose_numbers_cannot_be_added_to_is_refused(
    plus: torch.Tensor, sentence: str, first: Path, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    path = single_files.write(FIRST, tiny_models[FIRST], tmp_path / "base2.safetensors", plus={"model.diffusion_model.middle_block.1.proj_in.weight": plus})  # fmt: skip
    with pytest.raises(ModelError) as raised:
        lora_bake.bake_file(path, [(first / "cat.safetensors", 1.0)], tmp_path / "o.safetensors")
    assert str(raised.value) == sentence


def test_what_is_no_checkpoint_in_one_file_is_refused(
    first: Path, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    cat, out = first / "cat.safetensors", tmp_path / "o.safetensors"
    only_unet = single_files.write(FIRST, tiny_models[FIRST], tmp_path / "u.safetensors", without="cond_stage_model.")
    for base, sentence in (
        (tiny_models[FIRST], "is a folder; this works on a model that is one file"),
        (tmp_path / "none.safetensors", "There is no file"),
        (cat, "cat.safetensors is a LoRA, not a base model."),
        (only_unet, "It holds no text encoder; choose the whole checkpoint."),
    ):
        with pytest.raises((ModelError, RunError), match=sentence):
            lora_bake.bake_file(base, [(first / "dora.safetensors", 1.0)], out)
    with pytest.raises(RunError, match="is the file that is read"):
        lora_bake.bake_file(first / "base.safetensors", [(cat, 1.0)], first / "base.safetensors")
    with pytest.raises(ModelError, match=r"is no checkpoint of torch|is not a \.safetensors file"):
        (tmp_path / "broken.ckpt").write_bytes(b"PK\x03\x04 nothing")
        lora_bake.bake_file(tmp_path / "broken.ckpt", [(cat, 1.0)], out)
    assert not out.exists()


# Names at true size


@pytest.mark.parametrize("family", families.FAMILIES)
def test_every_layer_of_a_true_file_has_the_name_that_kohya_gives_it(family: str) -> None:
    """Against the independent table of tests/test_lora_names.py; and each is found again by its name."""
    from tests.test_lora_names import TRUE_SIZES

    shapes = {name: tuple(tensor.shape) for name, tensor in single_files.true_size(family).items()}
    layers, true = CheckpointLayers(shapes, family), TRUE_SIZES[family]
    usual, all_ = (list(layers.targets(convolutions=c)) for c in (False, True))
    assert {t.stem for t in usual} == true.layers | true.text and len({t.stem for t in usual}) == len(usual)
    assert {t.stem for t in all_} == true.layers | true.text | true.convolutions
    assert all(layers.find(t.stem) == t.origin for t in all_)
    assert len({t.origin for t in all_}) == len(all_)
    fused = [t for t in usual if t.together]
    assert len(fused) == {"sd1": 0, "sd2": 4 * 23, "sdxl": 4 * 32}[family]


# Memory, giving up


_MEASURED = """
import resource, sys, json
from pathlib import Path
import torch
from trainer import lora_bake
folder = Path(sys.argv[1])
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
lora_bake.bake_file(folder / "small.safetensors", [(folder / "cat.safetensors", 1.0)], folder / "o.safetensors")
before = peak()
lora_bake.bake_file(folder / "large.safetensors", [(folder / "cat.safetensors", 1.0)], folder / "o.safetensors")
print(json.dumps([before, peak()]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak as Linux counts it")
def test_memory_does_not_grow_with_the_model(first: Path, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    """A model of 120 MB more; memory may grow by a quarter of it (buffers of a few MB, garbage that is not collected yet)."""
    single_files.write(FIRST, tiny_models[FIRST], tmp_path / "small.safetensors")
    plus = {f"first_stage_model.more.{n}": torch.zeros(1 << 20) for n in range(30)}
    large = single_files.write(FIRST, tiny_models[FIRST], tmp_path / "large.safetensors", plus=plus)
    (tmp_path / "cat.safetensors").write_bytes((first / "cat.safetensors").read_bytes())
    done = subprocess.run([sys.executable, "-c", _MEASURED, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    before, after = json.loads(done.stdout)
    assert after - before < 30, f"{before:.0f} to {after:.0f} MB"
    assert (tmp_path / "o.safetensors").stat().st_size > large.stat().st_size - 1000 > 120_000_000


@pytest.mark.parametrize("when", ["Reading LoRAs", "Writing the model", "Reading the model back"])
def test_giving_up_leaves_nothing_behind_and_what_was_there_as_it_was(when: str, first: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.safetensors"
    out.write_bytes(b"before")
    heard: list[tuple[str, int, int]] = []

    def tell(label: str, done: int, total: int) -> None:
        heard.append((label, done, total))
        if label == when and done >= min(5, total):
            raise Cancelled

    with pytest.raises(Cancelled):
        lora_bake.bake_file(first / "base.safetensors", [(first / "cat.safetensors", 1.0)], out, tell)
    assert [p.name for p in tmp_path.iterdir()] == ["o.safetensors"] and out.read_bytes() == b"before"
    assert heard[0] == ("Reading LoRAs", 0, 1)
