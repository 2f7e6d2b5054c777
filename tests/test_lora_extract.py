"""LoRAs from the difference of two checkpoints: what was baked comes out again, and what they say of where they come from."""

from __future__ import annotations

import functools
import hashlib
import weakref
from typing import TYPE_CHECKING, Any

import pytest
import safetensors.torch
import torch

from tests import single_files
from tests.test_export import trained
from tests.test_lora_tools import dense
from trainer import export, families, lora_bake, lora_extract, lora_file
from trainer.base_file import BaseFile
from trainer.errors import ModelError, RunError
from trainer.lora_rank import Rule
from trainer.tasks import Cancelled, quiet

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Tensors = dict[str, torch.Tensor]
FIRST = next(iter(families.FAMILIES))
PROJECTION = "model.diffusion_model.middle_block.1.proj_in.weight"


@pytest.fixture(scope="module")
def made_for(tiny_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A family's folder with base.safetensors, cat.safetensors (all layers) and tuned.safetensors, the one in the other."""

    @functools.cache
    def make(family: str) -> Path:
        folder = tmp_path_factory.mktemp(family)
        single_files.write(family, tiny_models[family], folder / "base.safetensors")
        tensors = trained(tiny_models[family], conv_rank=3, conv_alpha=2.0).tensors()
        export.write(folder / "cat.safetensors", tensors, {}, "fp32")
        lora_bake.bake_file(folder / "base.safetensors", [(folder / "cat.safetensors", 1.0)], folder / "tuned.safetensors")  # fmt: skip
        return folder

    return make


@pytest.fixture(params=list(families.FAMILIES))
def baked(request: Any, made_for: Callable[[str], Path]) -> tuple[str, Path]:
    return request.param, made_for(request.param)


@pytest.fixture
def first(made_for: Callable[[str], Path]) -> Path:
    return made_for(FIRST)


@pytest.fixture
def files(tiny_models: dict[str, Path], tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Makes tuned and base files of the first family from changes to the tensors."""

    def make(change: Callable[[Tensors], None], dtype: torch.dtype | None = None) -> tuple[Path, Path]:
        tensors = single_files.tensors_of(FIRST, tiny_models[FIRST])
        safetensors.torch.save_file({k: v.contiguous() for k, v in tensors.items()}, tmp_path / "base.safetensors")
        change(tensors)
        tensors = {k: v.contiguous() if dtype is None else v.to(dtype).contiguous() for k, v in tensors.items()}
        safetensors.torch.save_file(tensors, tmp_path / "tuned.safetensors")
        return tmp_path / "tuned.safetensors", tmp_path / "base.safetensors"

    return make


def extracted(tuned: Path, base: Path, rule: Rule, precision: str = "fp32") -> tuple[Tensors, Any]:
    out = base.parent / "out.safetensors"
    made = lora_extract.extract_file(tuned, base, out, rule, precision)
    return safetensors.torch.load_file(out), made


def test_what_was_baked_comes_out_again(baked: tuple[str, Path]) -> None:
    """Every dW within 1e-3 of its length, in the kinds of layers, names and shapes that were baked."""
    _, folder = baked
    rule = Rule("rank", 4, most_wide=3)
    out, made = extracted(folder / "tuned.safetensors", folder / "base.safetensors", rule)
    before = safetensors.torch.load_file(folder / "cat.safetensors")
    assert {k: v.shape for k, v in out.items()} == {k: v.shape for k, v in before.items()}
    changes = dense(out)
    for stem, delta in dense(before).items():
        assert float((changes[stem] - delta).norm()) < 1e-3 * float(delta.norm()), stem
    assert made.ranks == (3, 4) and made.kept == pytest.approx(1, abs=1e-5)


def test_an_extracted_lora_baked_into_the_base_gives_the_tuned_model(first: Path, tmp_path: Path) -> None:
    extracted(first / "tuned.safetensors", first / "base.safetensors", Rule("frobenius", 0.999999, most_wide=64))
    lora_bake.bake_file(first / "base.safetensors", [(first / "out.safetensors", 1.0)], tmp_path / "again.safetensors")  # fmt: skip
    tuned, again = (safetensors.torch.load_file(p) for p in (first / "tuned.safetensors", tmp_path / "again.safetensors"))  # fmt: skip
    for name, tensor in tuned.items():
        torch.testing.assert_close(again[name], tensor, rtol=0, atol=2e-3)


def test_without_a_rank_for_convolutions_the_layers_are_kohyas_usual_ones(baked: tuple[str, Path]) -> None:
    family, folder = baked
    out, made = extracted(folder / "tuned.safetensors", folder / "base.safetensors", Rule("rank", 2))
    stems = {k.removesuffix(".alpha") for k in out if k.endswith(".alpha")}
    assert not any(word in stem for stem in stems for word in ("resnets", "samplers", "in_layers", "out_layers", "emb_layers", "skip", "_op", "conv"))  # fmt: skip
    assert {s.split("_")[1] for s in stems} == {"unet", *(p.removeprefix("lora_") for p in families.FAMILIES[family].text_parts.values())}  # fmt: skip
    assert made.layers == len(stems) > 100 and 0.3 < made.kept < 0.99
    said = lora_file.read_header(folder / "out.safetensors").metadata
    row = families.FAMILIES[family]
    digest = hashlib.sha256((folder / "base.safetensors").read_bytes()).hexdigest()
    assert said.items() >= {
        "ss_sd_model_name": "base.safetensors", "ss_new_sd_model_hash": digest, "ss_v2": str(row.is_v2), "ss_network_dim": "2", "ss_network_alpha": "2",
        "ss_base_model_version": row.kohya_version, "modelspec.architecture": row.architecture, "modelspec.implementation": row.implementation,
        "modelspec.title": "tuned", "ss_output_name": "tuned", "ss_network_module": "networks.lora", "modelspec.prediction_type": "epsilon",
        "modelspec.description": "Extracted from the difference of tuned.safetensors and base.safetensors.",
    }.items()  # fmt: skip
    assert len(said["ss_sd_model_hash"]) == 8 and said["sshs_model_hash"]
    assert lora_file.read_header(folder / "out.safetensors").shapes


def test_only_layers_that_differ_are_written(files: Callable[..., tuple[Path, Path]]) -> None:
    """Neither the text encoder nor what lies outside of LoRA's reach (norms, the autoencoder)."""

    def change(tensors: Tensors) -> None:
        tensors[PROJECTION] = tensors[PROJECTION] + torch.randn(32, 32, 1, 1)
        tensors["model.diffusion_model.out.0.weight"] = tensors["model.diffusion_model.out.0.weight"] + 1
        tensors["first_stage_model.quant_conv.weight"] = tensors["first_stage_model.quant_conv.weight"] + 1

    out, made = extracted(*files(change), Rule("rank", 32))
    assert {k.split(".")[0] for k in out} == {"lora_unet_mid_block_attentions_0_proj_in"} and made.layers == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rounding_to_another_number_format_is_no_difference(
    dtype: torch.dtype, files: Callable[..., tuple[Path, Path]]
) -> None:
    def change(tensors: Tensors) -> None:
        tensors[PROJECTION] = tensors[PROJECTION] + torch.ones(32, 32, 1, 1)

    out, made = extracted(*files(change, dtype), Rule("rank", 1))
    assert made.layers == 1
    torch.testing.assert_close(next(iter(dense(out).values())), torch.ones(32, 32, dtype=torch.float64), rtol=0, atol=0.02)  # fmt: skip
    with pytest.raises(ModelError, match=r"^tuned\.safetensors and base\.safetensors have the same weights in all layers that a LoRA can change, so there is nothing to extract\.$"):  # fmt: skip
        extracted(*files(lambda tensors: None, dtype), Rule("rank", 1))


def test_an_openclip_attention_is_written_whole_or_not_at_all(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    """A1111 leaves out a layer of which one of query, key, value and output is missing: zeros stand for those."""
    family = next(f for f, places in single_files.PLACES.items() if places["text_encoder"].style == "openclip")
    base = single_files.write(family, tiny_models[family], tmp_path / "base.safetensors")
    name = "cond_stage_model.model.transformer.resblocks.1.attn.in_proj_weight"
    tensors = safetensors.torch.load_file(base)
    tensors[name][:32] += torch.randn(32, 32)
    safetensors.torch.save_file(tensors, tmp_path / "tuned.safetensors")
    out, _ = extracted(tmp_path / "tuned.safetensors", base, Rule("rank", 2))
    stem = "lora_te_text_model_encoder_layers_1_self_attn_"
    assert {k.removeprefix(stem).split(".")[0]: len(v) for k, v in out.items() if k.endswith("down.weight")} == {"q_proj": 2, "k_proj": 1, "v_proj": 1, "out_proj": 1}  # fmt: skip
    changes = dense(out)
    assert [bool(changes[f"{stem}{w}_proj"].any()) for w in ("q", "k", "v", "out")] == [True, False, False, False]


def test_files_with_pickles_and_of_different_layouts_are_compared(
    files: Callable[..., tuple[Path, Path]], tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    """The base as .ckpt; the tuned one without a text encoder, whose layers are left out."""
    base = single_files.write(FIRST, tiny_models[FIRST], tmp_path / "base.ckpt")
    plus = {PROJECTION: torch.randn(32, 32, 1, 1)}
    tuned = single_files.write(FIRST, tiny_models[FIRST], tmp_path / "t.safetensors", without="cond_stage_model.", plus=plus)  # fmt: skip
    out, made = extracted(tuned, base, Rule("rank", 32))
    assert made.layers == 1 and next(iter(dense(out)))


def lacking(tensors: Tensors) -> None:
    del tensors[PROJECTION]


def other_size(tensors: Tensors) -> None:
    tensors[PROJECTION] = torch.ones(32, 48, 1, 1)


def not_finite(tensors: Tensors) -> None:
    tensors[PROJECTION] = torch.full((32, 32, 1, 1), float("inf"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lacking, "tuned.safetensors lacks layer lora_unet_mid_block_attentions_0_proj_in, which the other model has. Copy or download it again, whole."),
        (other_size, "tuned.safetensors and base.safetensors are of different sizes: lora_unet_mid_block_attentions_0_proj_in is 48 to 32 in the one and 32 to 32 in the other. Choose the model that tuned.safetensors was trained from."),
        (not_finite, "tuned.safetensors is damaged: model.diffusion_model.middle_block.1.proj_in.weight holds numbers that are not finite."),
    ],
)  # fmt: skip
def test_models_that_do_not_fit_together_are_refused(
    change: Callable[[Tensors], None], sentence: str, files: Callable[..., tuple[Path, Path]]
) -> None:
    tuned, base = files(change)
    with pytest.raises(ModelError) as raised:
        extracted(tuned, base, Rule("rank", 2))
    assert str(raised.value) == sentence
    if change is lacking:
        with pytest.raises(ModelError, match=r"^tuned\.safetensors lacks layer"):
            lora_extract.extract_file(base, tuned, base.parent / "out.safetensors", Rule("rank", 2))


def test_two_families_and_files_that_are_read_are_refused(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    a, b, *_ = (single_files.write(f, tiny_models[f], tmp_path / f"{f}.safetensors") for f in families.FAMILIES)
    with pytest.raises(ModelError, match=r"^sd1\.safetensors is SD 1\.x and sd2\.safetensors is SD 2\.x; a LoRA can only be extracted from two models of one family\.$"):  # fmt: skip
        extracted(a, b, Rule("rank", 2))
    with pytest.raises(RunError, match="is the file that is read"):
        lora_extract.extract_file(a, b, a, Rule("rank", 2))
    with pytest.raises(ModelError, match="is a folder; this works on a model that is one file"):
        extracted(tiny_models[FIRST], a, Rule("rank", 2))


@pytest.mark.parametrize("when", ["Comparing layers", "Computing the hash of base.safetensors", "Writing out.safetensors"])  # fmt: skip
def test_giving_up_leaves_nothing_behind(when: str, first: Path, tmp_path: Path) -> None:
    heard: list[tuple[str, int, int]] = []

    def tell(label: str, done: int, total: int) -> None:
        heard.append((label, done, total))
        if label == when and done >= min(total, 3):
            raise Cancelled

    out = tmp_path / "out.safetensors"
    with pytest.raises(Cancelled):
        lora_extract.extract_file(first / "tuned.safetensors", first / "base.safetensors", out, Rule("rank", 1), tell=tell)  # fmt: skip
    assert list(tmp_path.iterdir()) == []
    assert [h[1] for h in heard[:3]] == [0, 1, 2] and heard[0][0] == "Comparing layers" and heard[0][2] > 100


def test_only_one_pair_of_weights_is_read_at_a_time(first: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is let go before the next pair is read."""
    alive: list[weakref.ref[torch.Tensor]] = []
    most = 0
    real = BaseFile.weight

    def weight(self: BaseFile, name: str, third: int | None = None) -> torch.Tensor:
        nonlocal most
        most = max(most, sum(ref() is not None for ref in alive))
        out = real(self, name, third)
        alive.append(weakref.ref(out))
        return out

    monkeypatch.setattr(BaseFile, "weight", weight)
    with BaseFile(first / "tuned.safetensors") as tuned, BaseFile(first / "base.safetensors") as base:
        lora_extract.difference(tuned, base, Rule("rank", 1), quiet)
    assert len(alive) > 200 and most <= 2
