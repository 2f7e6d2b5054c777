"""LoRA layers: what they compute, and the way to LoRA files and back. Their names: test_lora_names.py."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.nn.functional import conv2d, linear

from trainer import adapter as adapters
from trainer import families
from trainer.adapter import Adapter, Size
from trainer.errors import ModelError
from trainer.settings import TrainingSettings

if TYPE_CHECKING:
    from trainer.families.backbone import Backbone

CPU = torch.device("cpu")
ALL = ("attention", "feed_forward", "projections", "convolutions")
FEW = ("projections",)  # peft takes a millisecond a layer
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "dora": {"dora": True},
    "rslora": {"rslora": True},
    "convolutions": {"targets": (*FEW, "convolutions"), "conv_rank": 2, "conv_alpha": 3.0},
    "text encoders": {"targets": ("feed_forward", "projections"), "train_text_encoder": True},
}


def loaded(folder: Path) -> Backbone:
    backbone = families.load(folder)
    backbone.load_unet(torch.float32, CPU)
    backbone.load_text_encoders(torch.float32, CPU)
    return backbone


def adapted(backbone: Backbone, *, seed: int = 0, stir: bool = True, **changes: Any) -> Adapter:
    """An adapter of rank 4 on a few layers, as if trained unless told otherwise: fresh up weights are 0."""
    settings = TrainingSettings(**{"rank": 4, "alpha": 2.0, "targets": FEW} | changes)
    torch.manual_seed(seed)
    out = Adapter(backbone, adapters.fresh_sizes(backbone, settings), settings)
    with torch.no_grad():
        for layer in out.layers.values() if stir else ():
            layer.lora_B["default"].weight.normal_(std=0.1)
            for magnitude in layer.lora_magnitude_vector.values():
                magnitude.weight.mul_(torch.rand_like(magnitude.weight) + 0.5)
    return out


@torch.no_grad()
def outputs(backbone: Backbone) -> list[torch.Tensor]:
    """The UNet's prediction for fixed inputs, and the encoded caption."""
    told = backbone.encode_captions(["a round thing"], clip_skip=1, max_tokens=75)
    noisy = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    ids = torch.tensor([[64, 64, 0, 0, 64, 64]])
    return [backbone.denoise(noisy, torch.tensor([400]), told, ids), told.states]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


# What they compute


@pytest.mark.parametrize("settings", [{"rslora": True, "conv_rank": 2}, {"dora": True, "conv_rank": 2}], ids=str)
def test_every_layer_computes_what_readers_make_of_the_file(
    settings: dict[str, Any], tiny_models: dict[str, Path]
) -> None:
    """W' = W + (alpha / rank) up @ down, for DoRA m W' / |W'| by output, against peft's own forward (fp32, 1e-5)."""
    backbone = loaded(tiny_models["sd1"])
    changed = adapted(backbone, targets=ALL, **settings)
    tensors = changed.tensors()
    kinds = set()
    for (part, name), layer in changed.layers.items():
        stem = backbone.stems(part, name)[0]
        base = layer.get_base_layer()
        up, down = tensors[f"{stem}.lora_up.weight"], tensors[f"{stem}.lora_down.weight"]
        scale = float(tensors[f"{stem}.alpha"]) / down.shape[0]
        weight = base.weight + scale * (up.flatten(1) @ down.flatten(1)).reshape(base.weight.shape)
        if "dora" in settings:
            length = weight.flatten(1).norm(dim=1).reshape(-1, *[1] * (weight.dim() - 1))
            weight = tensors[f"{stem}.dora_scale"] * weight / length
        if isinstance(base, torch.nn.Linear):
            x = torch.randn(3, base.in_features)
            expected = linear(x, weight, base.bias)
        else:
            x = torch.randn(1, base.in_channels, 6, 6)
            expected = conv2d(x, weight, base.bias, base.stride, base.padding)
        torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(layer(x), base(x), atol=1e-3)
        kinds.add(tuple(base.weight.shape[2:]))
    assert kinds == {(), (1, 1), (3, 3)}


def test_rslora_is_folded_into_alpha() -> None:
    """alpha / sqrt(rank) = (alpha sqrt(rank)) / rank: 2 at rank 16 is written as 8."""
    assert adapters._size(16, 2.0, TrainingSettings(rslora=True)) == Size(16, 8.0)
    assert adapters._size(16, 2.0, TrainingSettings()) == Size(16, 2.0)


@pytest.mark.parametrize("family", families.FAMILIES)
@pytest.mark.parametrize("variant", ["text encoders", "dora"])
def test_off_gives_exactly_the_base_model(family: str, variant: str, tiny_models: dict[str, Path]) -> None:
    backbone = loaded(tiny_models[family])
    base = outputs(backbone)
    changed = adapted(backbone, **VARIANTS[variant])
    on = outputs(backbone)
    assert not torch.allclose(on[0], base[0], atol=1e-2)
    with pytest.raises(RuntimeError, match="an error inside"), changed.off():
        assert same(outputs(backbone), base)
        raise RuntimeError("an error inside")
    assert same(outputs(backbone), on)
    assert all(p.requires_grad for p in changed.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_only_adapters_are_trained_and_they_are_fp32(dtype: torch.dtype, tiny_models: dict[str, Path]) -> None:
    backbone = families.load(tiny_models["sd1"])
    backbone.load_unet(dtype, CPU)
    fresh = adapted(backbone, stir=False, dora=True, targets=ALL[:3])
    trainable = {id(p) for p in backbone.part("unet").parameters() if p.requires_grad}
    assert trainable == {id(p) for p in fresh.parameters()}
    assert len(trainable) == 3 * 192
    assert {p.dtype for p in fresh.parameters()} == {torch.float32}
    assert {p.dtype for p in backbone.part("unet").parameters() if not p.requires_grad} == {dtype}
    assert fresh.parts == ["unet"]


def test_a_weight_that_is_not_finite_is_noticed(tiny_models: dict[str, Path]) -> None:
    changed = adapted(loaded(tiny_models["sd1"]))
    assert changed.all_finite()
    with torch.no_grad():
        changed.parameters()[7].view(-1)[3] = math.inf
    assert not changed.all_finite()


def test_the_seed_reproduces_the_start_and_a_fresh_adapter_changes_nothing(tiny_models: dict[str, Path]) -> None:
    backbone = loaded(tiny_models["sd1"])
    base = outputs(backbone)
    first = adapted(copy.deepcopy(backbone), stir=False).tensors()
    other = adapted(copy.deepcopy(backbone), stir=False, seed=1).tensors()
    again = adapted(backbone, stir=False).tensors()
    down = next(k for k in first if k.endswith("lora_down.weight"))
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first[down], other[down])
    assert same(outputs(backbone), base)


def test_weights_are_copied_unless_told_otherwise(tiny_models: dict[str, Path]) -> None:
    adapter = adapted(loaded(tiny_models["sd1"]))
    copied, shared = adapter.tensors(), adapter.tensors(copied=False)
    assert all(torch.equal(copied[key], shared[key]) for key in shared)
    with torch.no_grad():
        adapter.parameters()[0].add_(1)
    assert sum(not torch.equal(copied[key], shared[key]) for key in shared) == 1


def test_3x3_convolutions_have_their_own_rank_and_alpha(tiny_models: dict[str, Path]) -> None:
    backbone = loaded(tiny_models["sd1"])
    tensors = adapted(backbone, targets=ALL[1:], rank=4, alpha=4.0, conv_rank=2, conv_alpha=1.0).tensors()
    downs = {k.removesuffix(".lora_down.weight"): v for k, v in tensors.items() if k.endswith(".lora_down.weight")}
    sizes = {(tuple(d.shape[2:]), d.shape[0], float(tensors[f"{stem}.alpha"])) for stem, d in downs.items()}
    assert sizes == {((), 4, 4.0), ((1, 1), 4, 4.0), ((3, 3), 2, 1.0)}
    backbone = loaded(tiny_models["sd1"])
    usual = adapters.fresh_sizes(backbone, TrainingSettings(targets=ALL, rank=8, alpha=3))
    assert set(usual["unet"].values()) == {Size(8, 3.0)}  # 0, the default, takes the usual ones


# To LoRA files and back


@pytest.mark.parametrize("family", families.FAMILIES)
def test_a_module_has_two_halves_and_an_alpha_and_nothing_else(family: str, tiny_models: dict[str, Path]) -> None:
    changed = adapted(loaded(tiny_models[family]), train_text_encoder=True, targets=("attention", "projections"))
    tensors = changed.tensors()
    stems = {k.split(".", 1)[0] for k in tensors}
    assert len(stems) == len(changed.layers)
    assert set(tensors) == {f"{s}.{k}" for s in stems for k in ("lora_down.weight", "lora_up.weight", "alpha")}
    assert all(t.is_contiguous() and t.dtype is torch.float32 and t.device == CPU for t in tensors.values())
    assert {(t.shape, float(t)) for k, t in tensors.items() if k.endswith(".alpha")} == {(torch.Size([]), 2.0)}


@pytest.mark.parametrize(("family", "dimensions"), [("sd1", 4), ("sd2", 2), ("sdxl", 2)])
def test_projections_have_the_dimensions_that_readers_expect(
    family: str, dimensions: int, tiny_models: dict[str, Path]
) -> None:
    """Convolutions in SD 1.x, linear in the others; kohya does not reshape (lora_format.md, section 8)."""
    tensors = adapted(loaded(tiny_models[family])).tensors()
    assert {t.dim() for k, t in tensors.items() if k.endswith(".weight")} == {dimensions}


@pytest.mark.parametrize(
    ("family", "variant"),
    sorted({(f, "text encoders") for f in families.FAMILIES} | {("sdxl", v) for v in VARIANTS}),
)
def test_a_file_loaded_into_a_fresh_adapter_gives_identical_outputs(
    family: str, variant: str, tiny_models: dict[str, Path]
) -> None:
    trained, fresh = loaded(tiny_models[family]), loaded(tiny_models[family])
    tensors = adapted(trained, **VARIANTS[variant]).tensors()
    other = adapted(fresh, seed=9, **VARIANTS[variant])
    assert not same(outputs(trained)[:1], outputs(fresh)[:1])
    other.load(tensors)
    assert same(outputs(trained), outputs(fresh))


def test_weights_that_are_missing_are_named(tiny_models: dict[str, Path]) -> None:
    changed = adapted(loaded(tiny_models["sd1"]))
    tensors = changed.tensors()
    gone = [k for k in tensors if k.endswith("mid_block_attentions_0_proj_in.lora_up.weight")]
    del tensors[gone[0]]
    with pytest.raises(KeyError, match=gone[0]):
        changed.load(tensors)


# Starting from a file


def start_from(backbone: Backbone, tensors: dict[str, torch.Tensor], **settings: Any) -> Adapter:
    sizes = adapters.sizes_of_file(backbone, tensors, Path("old.safetensors"))
    out = Adapter(backbone, sizes, TrainingSettings(**{"rank": 32, "alpha": 7.0} | settings))
    out.load(tensors)
    return out


@pytest.mark.parametrize("settings", [{}, {"rslora": True}, {"dora": True}])
def test_training_goes_on_from_what_the_file_does(settings: dict[str, bool], tiny_models: dict[str, Path]) -> None:
    """Its ranks and alphas replace the settings'; rsLoRA does not scale it again, DoRA starts at the file's lengths."""
    trained, fresh = loaded(tiny_models["sd1"]), loaded(tiny_models["sd1"])
    tensors = adapted(trained, **VARIANTS["convolutions"]).tensors()
    started = start_from(fresh, tensors, **settings)
    for ours, theirs in zip(outputs(fresh), outputs(trained), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    written = started.tensors()
    assert {k: v.shape for k, v in written.items() if k in tensors} == {k: v.shape for k, v in tensors.items()}
    assert all(torch.equal(written[k], v) for k, v in tensors.items())


def test_sdxl_files_with_diffusers_names_are_read_too(tiny_models: dict[str, Path]) -> None:
    trained, fresh = loaded(tiny_models["sdxl"]), loaded(tiny_models["sdxl"])
    changed = adapted(trained)
    other_name = dict(trained.stems(part, name) for part, name in changed.layers)
    parts = {key: key.split(".", 1) for key in changed.tensors()}
    start_from(fresh, {f"{other_name[parts[k][0]]}.{parts[k][1]}": v for k, v in changed.tensors().items()})
    assert same(outputs(fresh), outputs(trained))


def test_without_an_alpha_it_is_the_rank(tiny_models: dict[str, Path]) -> None:
    tensors = adapted(loaded(tiny_models["sd1"])).tensors()
    without = {k: v for k, v in tensors.items() if not k.endswith(".alpha")}
    sizes = adapters.sizes_of_file(loaded(tiny_models["sd1"]), without, Path("old.safetensors"))
    assert set(sizes["unet"].values()) == {Size(4, 4.0)}


def test_layers_of_text_encoders_that_are_not_trained_are_passed_over(tiny_models: dict[str, Path]) -> None:
    tensors = adapted(loaded(tiny_models["sdxl"]), train_text_encoder=True).tensors()
    backbone = families.load(tiny_models["sdxl"])
    backbone.load_unet(torch.float32, CPU)
    assert set(adapters.sizes_of_file(backbone, tensors, Path("old.safetensors"))) == {"unet"}


@pytest.mark.parametrize(("made_for", "given_to"), [("sd1", "sdxl"), ("sdxl", "sd1"), ("sd2", "sdxl")])
@pytest.mark.parametrize("settings", [{}, {"train_text_encoder": True}])
def test_a_file_for_another_family_is_refused(
    made_for: str, given_to: str, settings: dict[str, bool], tiny_models: dict[str, Path]
) -> None:
    tensors = adapted(loaded(tiny_models[made_for]), targets=ALL[:1], **settings).tensors()
    title = families.FAMILIES[given_to].title
    expected = (
        rf"old\.safetensors was made for another family of models than {title}: \d+ of its \d+ layers .* e\.g\. lora_"
    )
    with pytest.raises(ModelError, match=expected):
        start_from(loaded(tiny_models[given_to]), tensors)


@pytest.mark.parametrize(
    ("key", "shape", "reason"),
    [
        ("lora_down.weight", (4, 40), "expects 40 inputs and 32 outputs, the model has 32 and 32"),
        ("lora_up.weight", (48, 4), "expects 32 inputs and 48 outputs, the model has 32 and 32"),
        ("lora_up.weight", (32, 5), "two halves .* do not belong together"),
        ("lora_up.weight", None, "two halves .* do not belong together"),
        ("lora_up.weight", (), "two halves .* do not belong together"),
        ("dora_scale", (1, 32), "the magnitudes of .* are not one for each of its 32 outputs"),
    ],
)
def test_a_file_for_another_size_of_model_is_refused(
    key: str, shape: tuple[int, ...] | None, reason: str, tiny_models: dict[str, Path]
) -> None:
    """As an SD 2.x file in an SD 1.x model: the names are the same, the widths are not."""
    backbone = loaded(tiny_models["sd1"])
    tensors = adapted(loaded(tiny_models["sd1"]), targets=("attention",)).tensors()
    layer = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    tensors.pop(f"{layer}.{key}", None)
    if shape is not None:
        tensors[f"{layer}.{key}"] = torch.zeros(shape)
    with pytest.raises(ModelError, match=f"does not fit this base model: .*{layer} .*{reason}|{reason}"):
        start_from(backbone, tensors)


def test_a_file_without_lora_layers_is_refused(tiny_models: dict[str, Path]) -> None:
    with pytest.raises(ModelError, match=r"old\.safetensors holds no LoRA layers in the usual \(kohya\) format"):
        start_from(loaded(tiny_models["sd1"]), {"unet.conv_in.lora_A.weight": torch.zeros(4, 4)})


def test_a_dora_file_is_refused_while_dora_is_off(tiny_models: dict[str, Path]) -> None:
    tensors = adapted(loaded(tiny_models["sd1"]), dora=True).tensors()
    with pytest.raises(ModelError, match=r"trained with DoRA, which is off\. Switch DoRA on"):
        start_from(loaded(tiny_models["sd1"]), tensors)
