"""Merging, resizing and renaming LoRA files, against dense weights and against diffusers."""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING, Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from tests.test_export import encoded, pipeline, trained
from trainer import export, families, lora_convert, lora_description, lora_file, lora_tools
from trainer.errors import ModelError
from trainer.lora_rank import Rule
from trainer.lora_tools import Layer
from trainer.tasks import Cancelled

if TYPE_CHECKING:
    from pathlib import Path

Tensors = dict[str, torch.Tensor]

LINEAR, POINT, WIDE = (
    "lora_unet_mid_block_attentions_0_proj_in",
    "lora_unet_down_blocks_0_attentions_0_proj_in",
    "lora_unet_mid_block_resnets_0_conv1",
)
SHAPES: dict[str, tuple[tuple[int, ...], int]] = {LINEAR: ((24,), 40), POINT: ((12, 1, 1), 20), WIDE: ((8, 3, 3), 30)}


def lora(seed: int, rank: int = 4, alpha: float = 3.0, stems: tuple[str, ...] = tuple(SHAPES)) -> Tensors:
    """Random layers: a linear one, a 1x1 and a 3x3 convolution."""
    generator = torch.Generator().manual_seed(seed)
    out: Tensors = {}
    for stem in stems:
        inputs, outputs = SHAPES[stem]
        out[f"{stem}.lora_down.weight"] = torch.randn(rank, *inputs, generator=generator)
        out[f"{stem}.lora_up.weight"] = torch.randn(outputs, rank, *[1] * (len(inputs) - 1), generator=generator)
        out[f"{stem}.alpha"] = torch.tensor(alpha)
    return out


def dense(tensors: Tensors) -> Tensors:
    """dW of each module as every client computes it, flattened, fp64."""
    out = {}
    for key, down in tensors.items():
        if key.endswith(".lora_down.weight"):
            stem = key.removesuffix(".lora_down.weight")
            up, alpha = tensors[f"{stem}.lora_up.weight"].double(), float(tensors[f"{stem}.alpha"])
            out[stem] = alpha / len(down) * up.flatten(1) @ down.double().flatten(1)
    return out


def merged(*parts: tuple[Tensors, float], rule: Rule | None = None) -> Tensors:
    names = [f"{i}.safetensors" for i in range(len(parts))]
    return lora_tools.merge([(lora_tools.layers(t, n), w) for (t, w), n in zip(parts, names, strict=True)], names, rule)[0]  # fmt: skip


def resized(tensors: Tensors, rule: Rule) -> tuple[Tensors, float]:
    return lora_tools.resize(lora_tools.layers(tensors, "a"), rule)


def close(ours: Tensors, theirs: Tensors, within: float = 1e-5) -> None:
    """Within that part of the largest number."""
    assert ours.keys() == theirs.keys()
    for stem, value in theirs.items():
        torch.testing.assert_close(ours[stem], value, rtol=0, atol=within * float(value.abs().max()))


def save(path: Path, tensors: Tensors, precision: str = "fp32", **metadata: str) -> Path:
    export.write(path, tensors, {k.replace("__", "."): v for k, v in metadata.items()}, precision)
    return path


def saved(path: Path) -> tuple[Tensors, dict[str, str]]:
    return safetensors.torch.load_file(path), lora_file.read_header(path).metadata


# Sums


def test_a_merge_is_exactly_the_weighted_sum() -> None:
    """Different ranks, alphas and sets of layers, one weight negative."""
    a, b = lora(1, 4, 2.0), lora(2, 3, 1.5, (LINEAR, WIDE))
    out = merged((a, 0.8), (b, -0.5))
    expected = {s: 0.8 * d - 0.5 * dense(b)[s] if s in dense(b) else 0.8 * d for s, d in dense(a).items()}
    close(dense(out), expected)
    assert {s: len(out[f"{s}.lora_down.weight"]) for s in SHAPES} == {LINEAR: 7, POINT: 4, WIDE: 7}
    assert out[f"{WIDE}.lora_down.weight"].shape == (7, 8, 3, 3) and out[f"{WIDE}.lora_up.weight"].shape == (30, 7, 1, 1)  # fmt: skip
    assert out[f"{POINT}.lora_down.weight"].shape == (4, 12, 1, 1)
    assert all(float(out[f"{s}.alpha"]) == len(out[f"{s}.lora_down.weight"]) for s in SHAPES)
    assert all(value.is_contiguous() for value in out.values())


def test_a_merge_with_weight_one_and_alpha_equal_to_rank_changes_no_bit() -> None:
    a = lora(1, 4, 4.0)
    out = merged((a, 1.0))
    assert out.keys() == a.keys() and all(torch.equal(out[k], a[k]) for k in a)


@settings(max_examples=25, deadline=None)
@given(ranks=st.lists(st.integers(1, 30), min_size=3, max_size=3), weights=st.lists(st.floats(-2, 2).filter(lambda w: abs(w) > 1e-3), min_size=3, max_size=3), alpha=st.floats(0.1, 64))  # fmt: skip
def test_merging_all_at_once_is_merging_one_after_the_other(
    ranks: list[int], weights: list[float], alpha: float
) -> None:
    """Also where ranks add up to more than the layer's size, which is the limit; order makes no difference either."""
    a, b, c = (lora(i, rank, alpha) for i, rank in enumerate(ranks))
    x, y, z = weights
    at_once = merged((a, x), (b, y), (c, z))
    scale = {s: max(float(dense(t)[s].abs().max()) for t in (a, b, c)) * 2 for s in SHAPES}
    for other in (merged((merged((a, x), (b, y)), 1.0), (c, z)), merged((c, z), (a, x), (b, y))):
        for s, value in dense(at_once).items():
            assert float((dense(other)[s] - value).abs().max()) <= 1e-5 * scale[s]
    for s, (inputs, outputs) in SHAPES.items():
        assert len(at_once[f"{s}.lora_down.weight"]) == min(sum(ranks), math.prod(inputs), outputs)


def test_a_lora_minus_itself_is_nothing() -> None:
    a = lora(1)
    for value in dense(merged((a, 0.7), (a, -0.7), rule=Rule("rank", 2))).values():
        assert float(value.abs().max()) < 1e-5


# Best approximations


@pytest.mark.parametrize("stem", SHAPES)
@pytest.mark.parametrize("rank", [1, 3, 5])
def test_a_lower_rank_is_the_best_approximation_of_the_dense_weight(stem: str, rank: int) -> None:
    a = lora(3, 6, 2.0)
    u, s, v = torch.linalg.svd(dense(a)[stem], full_matrices=False)
    out, kept = resized(a, Rule("rank", rank))
    close({stem: dense(out)[stem]}, {stem: u[:, :rank] * s[:rank] @ v[:rank]})
    assert float(out[f"{stem}.alpha"]) == len(out[f"{stem}.lora_down.weight"]) == rank
    norms = [
        math.sqrt(sum(float(d.square().sum()) for d in part.values()))
        for part in (dense(out), dense(a))
    ]  # fmt: skip
    assert kept == pytest.approx(norms[0] / norms[1], rel=1e-6)


def test_a_merge_of_a_rank_is_the_best_approximation_of_the_sum() -> None:
    a, b = lora(1, 4, 2.0), lora(2, 30, 1.5)
    out = merged((a, 0.8), (b, -0.5), rule=Rule("rank", 5))
    for stem in SHAPES:
        u, s, v = torch.linalg.svd(0.8 * dense(a)[stem] - 0.5 * dense(b)[stem], full_matrices=False)
        close({stem: dense(out)[stem]}, {stem: u[:, :5] * s[:5] @ v[:5]})


@settings(max_examples=20, deadline=None)
@given(share=st.floats(0.05, 0.999), seed=st.integers(0, 99), rank=st.integers(1, 12))
def test_shares_give_the_ranks_that_the_dense_weight_gives(share: float, seed: int, rank: int) -> None:
    """energy: share of squared singular values; frobenius: its root, as kohya's sv_fro; each layer has its own rank."""
    a = lora(seed, rank)
    for kind, target in (("energy", share), ("frobenius", share**2)):
        out, kept = resized(a, Rule(kind, share))  # type: ignore[arg-type]
        for stem, weight in dense(a).items():
            energy = torch.linalg.svdvals(weight).square()
            parts = (energy.cumsum(0) / energy.sum()).tolist()
            assert len(out[f"{stem}.lora_down.weight"]) == 1 + next(i for i, p in enumerate(parts) if p >= target - 1e-9)  # fmt: skip
        assert kept >= math.sqrt(target) - 1e-6


def test_a_rank_above_its_own_and_a_share_of_one_keep_everything() -> None:
    a = lora(1, 4, 3.0)
    for rule in (Rule("rank", 64), Rule("energy", 1.0), Rule("frobenius", 1.0)):
        out, kept = resized(a, rule)
        close(dense(out), dense(a))
        assert kept == pytest.approx(1) and len(out[f"{LINEAR}.lora_down.weight"]) == 4


def test_resizing_twice_is_resizing_once() -> None:
    a = lora(1, 8)
    twice = resized(resized(a, Rule("rank", 5))[0], Rule("rank", 2))[0]
    close(dense(twice), dense(resized(a, Rule("rank", 2))[0]))


def test_a_layer_of_zeros_stays_one() -> None:
    a = lora(1, 4, stems=(LINEAR,))
    a[f"{LINEAR}.lora_up.weight"].zero_()
    out, kept = resized(a, Rule("energy", 0.9))
    assert len(out[f"{LINEAR}.lora_down.weight"]) == 1 and kept == 1.0
    assert float(dense(out)[LINEAR].abs().max()) == 0


def test_a_missing_alpha_is_the_rank_and_half_precision_is_read() -> None:
    a = {k: v.half() for k, v in lora(1, 4, 4.0).items()}
    without = {k: v for k, v in a.items() if not k.endswith(".alpha")}
    close(dense(merged((without, 1.0))), dense(a))


# Refusals


def broken(kind: str) -> Tensors:
    a = lora(1)
    match kind:
        case "dora":
            a[f"{LINEAR}.dora_scale"] = torch.ones(40, 1)
        case "loha":
            a = {"lora_unet_a.hada_w1_a": torch.ones(2, 2)}
        case "tucker":
            a[f"{WIDE}.lora_mid.weight"] = torch.ones(4, 4, 3, 3)
        case "half":
            del a[f"{LINEAR}.lora_up.weight"]
        case "ranks":
            a[f"{LINEAR}.lora_up.weight"] = torch.ones(40, 5)
        case "nan":
            a[f"{LINEAR}.lora_up.weight"][0, 0] = math.nan
        case "alpha":
            a[f"{LINEAR}.alpha"] = torch.ones(2)
        case "empty":
            a = {}
    return a


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("dora", "x is a DoRA, whose strength depends on the base model, so it cannot be merged"),
        ("loha", "x is no plain LoRA in the usual (kohya) format: it holds lora_unet_a.hada_w1_a"),
        ("tucker", "it holds lora_unet_mid_block_resnets_0_conv1.lora_mid.weight"),
        ("half", "x is damaged: the two halves of layer lora_unet_mid_block_attentions_0_proj_in do not belong"),
        ("ranks", "x is damaged: the two halves of layer lora_unet_mid_block_attentions_0_proj_in do not belong"),
        ("nan", "holds numbers that are not finite"),
        ("alpha", "x is damaged: the alpha of layer lora_unet_mid_block_attentions_0_proj_in is not a number"),
        ("empty", "it holds nothing"),
    ],
)
def test_what_is_no_plain_lora_is_refused(kind: str, sentence: str) -> None:
    with pytest.raises(ModelError) as raised:
        lora_tools.layers(broken(kind), "x")
    assert sentence in str(raised.value)


def test_layers_of_different_sizes_are_refused_with_both_sizes() -> None:
    a, b = lora(1), lora(2)
    b[f"{WIDE}.lora_down.weight"] = torch.ones(4, 8, 1, 1)
    with pytest.raises(ModelError, match=r"^1\.safetensors and 0\.safetensors do not fit together: layer lora_unet_mid_block_resnets_0_conv1 is 8 to 30 in the one and 8 to 30 \(3x3\) in the other\. Merge LoRAs"):  # fmt: skip
        merged((a, 1.0), (b, 1.0))


def test_a_point_convolution_written_as_a_matrix_fits_one_written_with_its_kernel() -> None:
    a, b = lora(1, stems=(POINT,)), lora(2, stems=(POINT,))
    flat = {k: v.flatten(1) if v.dim() else v for k, v in b.items()}
    for out in (merged((a, 1.0), (flat, 1.0)), merged((flat, 1.0), (a, 1.0))):
        close(dense(out), {POINT: dense(a)[POINT] + dense(b)[POINT]})
        assert out[f"{POINT}.lora_down.weight"].dim() == 4


# Files


def test_a_merged_file_says_where_it_comes_from(tmp_path: Path) -> None:
    common = {"ss_base_model_version": "sd_v1", "ss_v2": "False", "modelspec__architecture": "stable-diffusion-v1/lora"}
    tags = [json.dumps({"5_cat": {"cat": 3, "red": n}}) for n in (1, 4)]
    first = save(tmp_path / "a.safetensors", lora(1, 4), modelspec__title="Cat", modelspec__trigger_phrase="zorb", ss_steps="9", ss_sd_model_name="x", ss_tag_frequency=tags[0], **common)  # fmt: skip
    second = save(tmp_path / "b.safetensors", lora(2, 2), modelspec__trigger_phrase="blin", ss_sd_model_name="y", ss_tag_frequency=tags[1], **common)  # fmt: skip
    out = tmp_path / "new" / "ab.safetensors"
    made = lora_tools.merge_files([(first, 0.8), (second, -0.5)], out, "fp16")
    tensors, told = saved(out)
    assert (made.layers, made.ranks, made.kept) == (3, (6, 6), 1.0)
    expected = {s: 0.8 * dense(lora(1, 4))[s] - 0.5 * dense(lora(2, 2))[s] for s in SHAPES}
    close(dense(tensors), expected, 2e-3)
    assert told.items() >= {**{k.replace("__", "."): v for k, v in common.items()}, "modelspec.merged_from": "Cat, b", "modelspec.title": "Cat + b", "modelspec.trigger_phrase": "zorb, blin", "modelspec.description": "Merged from Cat x 0.8, b x -0.5.", "ss_network_dim": "6", "ss_network_alpha": "6"}.items()  # fmt: skip
    assert json.loads(told["ss_network_args"]) == {"conv_dim": "6", "conv_alpha": "6"}
    assert json.loads(told["ss_tag_frequency"]) == {"5_cat": {"cat": 6, "red": 5}}
    assert not {"ss_steps", "ss_sd_model_name", "modelspec.author"} & set(told), "true of none of them"
    raw = out.read_bytes()
    assert told["sshs_model_hash"] == hashlib.sha256(raw[8 + int.from_bytes(raw[:8], "little") :]).hexdigest()
    assert lora_description.describe(out).title == "Cat + b"


def test_a_resized_file_keeps_what_it_said_and_its_precision(tmp_path: Path) -> None:
    source = save(tmp_path / "a.safetensors", lora(1, 8), "bf16", modelspec__title="Cat", ss_steps="9", ss_network_dim="8", ss_network_args='{"conv_dim": "8", "x": "y"}')  # fmt: skip
    before = saved(source)[1]
    made = lora_tools.resize_file(source, tmp_path / "b.safetensors", Rule("rank", 2))
    told = saved(tmp_path / "b.safetensors")[1]
    assert (made.precision, made.ranks) == ("bf16", (2, 2)) and 0.3 < made.kept < 0.95
    assert (told["modelspec.title"], told["ss_steps"], told["ss_network_dim"], told["ss_network_alpha"]) == ("Cat", "9", "2", "2")  # fmt: skip
    assert json.loads(told["ss_network_args"]) == {"x": "y", "conv_dim": "2", "conv_alpha": "2"}
    assert told["sshs_model_hash"] != before["sshs_model_hash"]
    lora_tools.resize_file(source, tmp_path / "c.safetensors", Rule("energy", 0.8))
    ranks = {len(v) for k, v in saved(tmp_path / "c.safetensors")[0].items() if k.endswith("down.weight")}
    assert len(ranks) > 1 and saved(tmp_path / "c.safetensors")[1]["ss_network_dim"] in ("Dynamic", *map(str, ranks))


# True exports, in diffusers


@torch.no_grad()
def answers(folder: Path, lora_path: Path | None) -> list[torch.Tensor]:
    """What diffusers computes: text states, and the UNet's answer."""
    pipe = pipeline(folder, lora_path)
    told = encoded(pipe, "a round thing")
    noisy, t = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1)), torch.tensor([400])
    ids = torch.tensor([[64, 64, 0, 0, 64, 64]])
    extra = {"added_cond_kwargs": {"text_embeds": told[1], "time_ids": ids}} if len(told) > 1 else {}
    return [*told, pipe.unet(noisy, t, told[0], **extra).sample]


@pytest.fixture(scope="module", params=list(families.FAMILIES))
def exported(request: Any, tiny_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny model's folder and a LoRA on all its layers, with ranks and alphas that differ."""
    adapter = trained(tiny_models[request.param], conv_rank=3, conv_alpha=2.0)
    told = {"ss_base_model_version": families.FAMILIES[request.param].kohya_version}
    path = tmp_path_factory.mktemp("lora") / "a.safetensors"
    export.write(path, adapter.tensors(), told, "fp32")
    return tiny_models[request.param], path


def test_resized_and_merged_exports_load_in_diffusers(exported: tuple[Path, Path], tmp_path: Path) -> None:
    folder, path = exported
    whole, plain = answers(folder, path), answers(folder, None)
    lora_tools.resize_file(path, tmp_path / "all.safetensors", Rule("energy", 1.0))
    lora_tools.merge_files([(path, 1.5), (path, -0.5)], tmp_path / "sum.safetensors", "fp32")
    for name in ("all.safetensors", "sum.safetensors"):
        for ours, theirs in zip(answers(folder, tmp_path / name), whole, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-4)
    lora_tools.resize_file(path, tmp_path / "small.safetensors", Rule("rank", 1))
    small = answers(folder, tmp_path / "small.safetensors")
    assert float((small[-1] - plain[-1]).abs().max()) > 0.01


def test_diffusers_computes_the_same_with_peft_names_and_they_turn_back(
    exported: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, path = exported
    lora_convert.convert_file(path, tmp_path / "peft.safetensors", "peft")
    assert not any(k.startswith("lora_") for k in saved(tmp_path / "peft.safetensors")[0])
    for ours, theirs in zip(answers(folder, tmp_path / "peft.safetensors"), answers(folder, path), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-4)
    lora_convert.convert_file(tmp_path / "peft.safetensors", tmp_path / "back.safetensors", "kohya")
    back, before = saved(tmp_path / "back.safetensors")[0], saved(path)[0]
    assert back.keys() == before.keys() and all(back[k].shape == before[k].shape for k in before)
    close(dense(back), dense(before))


class Largest(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Remembers how many numbers the largest tensor had that torch made."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, tuple | list) else [out]:
            if isinstance(value, torch.Tensor):
                self.numbers = max(self.numbers, value.numel())
        return out


@pytest.mark.parametrize("rule", [None, Rule("rank", 4), Rule("energy", 0.9), Rule("cumulative", 0.9, 3)], ids=str)
def test_no_weight_is_made_as_a_whole(rule: Rule | None) -> None:
    """A whole one has 500 x 400 numbers; halves of rank 12 have 12 x 500."""
    halves = [(torch.randn(6, 400), torch.randn(500, 6)) for _ in range(2)]
    loras = [({"lora_unet_a": Layer(down, up, 4.0)}, 0.5) for down, up in halves]
    with Largest() as largest:  # type: ignore[no-untyped-call]
        lora_tools.merge(loras, ["a", "b"], rule)
    assert 12 * 400 <= largest.numbers <= 12 * 500
    with Largest() as largest:  # type: ignore[no-untyped-call]
        halves[0][1] @ halves[0][0]
    assert largest.numbers == 500 * 400, "it sees those that are"


def test_giving_up_leaves_nothing_behind_and_what_was_there_as_it_was(tmp_path: Path) -> None:
    a, out = save(tmp_path / "a.safetensors", lora(1)), save(tmp_path / "o.safetensors", lora(2))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for when, place in (("Reading files", 1), ("Merging layers", 2), ("Resizing layers", 3), ("Writing o.safetensors", 0)):  # fmt: skip

        def tell(label: str, done: int, total: int, when: str = when, place: int = place) -> None:
            if (label, done) == (when, place):
                raise Cancelled

        with pytest.raises(Cancelled):
            lora_tools.merge_files([(a, 1.0), (a, 1.0)], out, "fp16", tell=tell)
            lora_tools.resize_file(a, out, Rule("rank", 1), tell=tell)
        assert when == "Resizing layers" or {path: path.read_bytes() for path in tmp_path.iterdir()} == before
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}


def test_each_layer_is_told() -> None:
    heard: list[tuple[str, int, int]] = []
    lora_tools.resize(lora_tools.layers(lora(1), "a"), Rule("rank", 1), lambda *words: heard.append(words))
    assert heard == [("Resizing layers", n, 3) for n in range(4)]


def test_a_large_layer_never_becomes_dense() -> None:
    """A dense weight of this size would be 80 GB."""
    down, up = torch.randn(4, 100_000), torch.randn(100_000, 4)
    out, _ = lora_tools.resize({"lora_unet_a": Layer(down, up, 4.0)}, Rule("rank", 2))
    assert out["lora_unet_a.lora_up.weight"].shape == (100_000, 2)
