"""Files of diffusers and PEFT themselves, and of others by their key lists, do in our adapter what they do in their own."""

from __future__ import annotations

import functools
import json
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import safetensors.torch
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig, get_peft_model
from peft.utils import get_peft_model_state_dict

from tests.test_adapter import adapted, loaded, outputs, start_from
from tests.test_export import encoded, pipeline
from trainer import export, lora_convert, lora_reading, preflight, session
from trainer.adapter import Size
from trainer.errors import ModelError
from trainer.families import FAMILIES, lora_names
from trainer.families.original import unet_name
from trainer.settings import TrainingSettings

if TYPE_CHECKING:
    from trainer.families.backbone import Backbone

Tensors = dict[str, torch.Tensor]

ATTENTION, FEW = ["to_q", "to_k", "to_v", "to_out.0"], ["to_q", "to_out.0", "ff.net.2", "proj_in", "conv1"]
TEXT = ["q_proj", "out_proj", "fc1"]
VARIANTS: dict[str, dict[str, Any]] = {
    "alpha": {"target_modules": FEW, "lora_alpha": 1},
    "patterns": {"target_modules": FEW, "alpha_pattern": {"ff.net.2": 9, "^mid_block.attentions.0.proj_in": 7, r".*attn1\.to_q": 5}, "rank_pattern": {"conv1": 2}},
    "rslora": {"target_modules": FEW, "lora_alpha": 3, "use_rslora": True},
    "dora": {"target_modules": FEW, "lora_alpha": 2, "use_dora": True},
}  # fmt: skip


def config(**changes: Any) -> LoraConfig:
    return LoraConfig(**{"r": 4, "lora_alpha": 4, "init_lora_weights": False} | changes)


def stirred(model: torch.nn.Module) -> None:
    """Weights and magnitudes as if trained."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_A" in name or "lora_B" in name:
                parameter.normal_(std=0.1)
            elif "magnitude" in name:
                parameter.mul_(torch.rand_like(parameter) + 0.5)


def layers_of(model: torch.nn.Module) -> Tensors:
    return {k: v.detach().clone() for k, v in get_peft_model_state_dict(model).items()}


def with_theirs(
    folder: Path, text: bool = False, **changes: Any
) -> tuple[Backbone, dict[str, Tensors], dict[str, Any]]:
    """A model with peft's own adapters in it; their tensors and settings by part."""
    torch.manual_seed(5)
    backbone = loaded(folder)
    assert backbone.unet is not None
    tensors, settings = {}, {}
    for part, model in {"unet": backbone.unet, **(backbone.text_encoders if text else {})}.items():
        given = config(**changes) if part == "unet" else config(**{k: v for k, v in changes.items() if "pattern" not in k} | {"target_modules": TEXT})  # fmt: skip
        model.add_adapter(given)
        stirred(model)
        tensors[part], settings[part] = layers_of(model), given.to_dict()
    return backbone, tensors, settings


def same_effect(folder: Path, path: Path, theirs: Backbone, **settings: Any) -> None:
    """Our adapter from the file makes of the fixed inputs what theirs makes, and something else than the bare model."""
    fresh = loaded(folder)
    plain = outputs(fresh)
    lora = lora_reading.read(path, fresh.family)
    settings |= {"dora": lora.kind.is_dora}
    start_from(fresh, lora.tensors, **settings)
    with torch.no_grad():
        for ours, expected in zip(outputs(fresh), outputs(theirs), strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)
    assert float((outputs(fresh)[0] - plain[0]).abs().max()) > 0.01


def saved_by_diffusers(folder: Path, tensors: dict[str, Tensors], settings: dict[str, Any] | None, **how: Any) -> Path:
    """save_lora_weights, as diffusers' training scripts call it."""
    pipe: Any = StableDiffusionXLPipeline if "text_encoder_2" in tensors else StableDiffusionPipeline
    parts = {f"{part}_lora_layers": convert_state_dict_to_diffusers(of) for part, of in tensors.items()}
    told = {f"{part}_lora_adapter_metadata": of for part, of in (settings or {}).items()}
    pipe.save_lora_weights(folder, **parts, **told, **how)
    return next(p for p in folder.iterdir() if p.name.startswith("pytorch_lora_weights"))


@pytest.mark.parametrize(
    ("variant", "family"),
    [("alpha", "sdxl"), ("patterns", "sd2"), ("dora", "sdxl")],
)
def test_what_diffusers_saves_with_its_settings_is_read_exactly(
    variant: str, family: str, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    theirs, tensors, settings = with_theirs(tiny_models[family], text=variant != "dora", **VARIANTS[variant])
    path = saved_by_diffusers(tmp_path, tensors, settings)
    same_effect(tiny_models[family], path, theirs, train_text_encoder=variant != "dora")


def test_what_diffusers_saves_without_settings_has_the_rank_as_alpha_as_diffusers_reads_it(
    tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    theirs, tensors, _ = with_theirs(tiny_models["sd1"], text=True, target_modules=ATTENTION)
    path = saved_by_diffusers(tmp_path, tensors, None)
    assert any(".lora.down." in k for k in safetensors.torch.load_file(path)), "the names of 0.22"
    same_effect(tiny_models["sd1"], path, theirs, train_text_encoder=True)


def test_a_file_that_torch_saved_is_read_without_unpickling(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    theirs, tensors, _ = with_theirs(tiny_models["sd1"], target_modules=ATTENTION)
    path = saved_by_diffusers(tmp_path, tensors, None, safe_serialization=False)
    assert path.suffix == ".bin"
    same_effect(tiny_models["sd1"], path, theirs)


@pytest.mark.parametrize("variant", ["rslora", "dora"])
def test_what_peft_saves_is_read_with_the_settings_beside_it(
    variant: str, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    torch.manual_seed(5)
    theirs = loaded(tiny_models["sd2"])
    assert theirs.unet is not None
    model = get_peft_model(theirs.unet, config(**VARIANTS[variant]))
    stirred(model)
    model.save_pretrained(tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    assert lora_reading.read(path).kind.naming == "PEFT"
    same_effect(tiny_models["sd2"], path, theirs)


def test_what_a_unet_saves_on_its_own_is_read(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    theirs, _, _ = with_theirs(tiny_models["sdxl"], target_modules=FEW, lora_alpha=1)
    theirs.unet.save_lora_adapter(tmp_path)  # type: ignore[union-attr]
    same_effect(tiny_models["sdxl"], tmp_path / "pytorch_lora_weights.safetensors", theirs)


# Others, by their key lists


@functools.cache
def ours(folder: Path, dora: bool = False) -> tuple[Backbone, Tensors]:
    """A model with our adapters on all its layers, and their tensors under kohya's names; not to be changed."""
    backbone = loaded(folder)
    targets = ("attention", "feed_forward", "projections", "convolutions")
    adapter = adapted(backbone, targets=targets, conv_rank=2, alpha=3.0, train_text_encoder=True, dora=dora)
    return backbone, adapter.tensors()


def renamed(tensors: Tensors, name: Any) -> Tensors:
    """name: makes a key of (part, path, what follows) of a kohya key."""
    out = {}
    for key, value in tensors.items():
        stem, _, rest = key.partition(".")
        found = lora_names.path(stem)
        assert found is not None
        out[name(*found, rest)] = value
    assert len(out) == len(tensors)
    return out


def onetrainer(part: str, path: str, rest: str) -> str:
    """SDXL's UNet in diffusers' block names, where kohya has the original's."""
    prefix = {"unet": "lora_unet", "text_encoder": "lora_te1", "text_encoder_2": "lora_te2"}[part]
    return f"{prefix}_{path.replace('.', '_')}.{rest}"


def omi(part: str, path: str, rest: str) -> str:
    prefix = {"unet": "unet", "text_encoder": "clip_l", "text_encoder_2": "clip_g"}[part]
    return f"{prefix}.{unet_name(path) if part == 'unet' else path}.{rest}"


def comfy(part: str, path: str, rest: str) -> str:
    if part == "unet":
        return f"diffusion_model.{unet_name(path)}.{rest}"
    return f"text_encoders.{'clip_l' if part == 'text_encoder' else 'clip_g'}.transformer.{path}.{rest}"


def old(part: str, path: str, rest: str) -> str:
    """Before diffusers 0.22: attention through processors, text encoders with lora_linear_layer."""
    rest = rest.replace("lora_down", "down").replace("lora_up", "up")
    if ".attn" in path:
        return f"{part}.{path.replace('.to_', '.processor.to_').removesuffix('.0')}_lora.{rest}"
    return (
        f"{part}.{path}.alpha"
        if rest == "alpha"
        else f"{part}.{path}.lora{'_linear_layer' if part != 'unet' else ''}.{rest}"
    )


def toolkit(part: str, path: str, rest: str) -> str:
    rest = {"lora_down.weight": "lora_A.weight", "lora_up.weight": "lora_B.weight", "dora_scale": "magnitude"}.get(
        rest, rest
    )
    return f"{part}.{path}.{rest}"


@pytest.mark.parametrize(
    ("name", "dora"), [(onetrainer, False), (omi, True), (comfy, False), (old, False), (toolkit, True)]
)
def test_other_trainers_names_become_kohyas(
    name: Any, dora: bool, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    backbone, tensors = ours(tiny_models["sdxl"], dora)
    given = renamed(tensors, name)
    if name is toolkit:
        given = {k: v.flatten() if k.endswith("magnitude") else v for k, v in given.items()}
    if name is onetrainer:
        given |= {"bundle_emb.zorb.clip_l": torch.ones(4, 768), "bundle_emb.zorb.clip_g": torch.ones(4, 1280)}
    safetensors.torch.save_file(given, tmp_path / "a.safetensors")
    lora = lora_reading.read(tmp_path / "a.safetensors")
    assert lora.tensors.keys() == tensors.keys()
    assert all(torch.equal(lora.tensors[k], v) for k, v in tensors.items())
    assert lora.kind.family is backbone.family
    assert lora.metadata["ss_base_model_version"] == "sdxl_base_v1-0" and lora.metadata["ss_v2"] == "False"


@pytest.mark.parametrize("name", [omi, comfy, old])
def test_names_of_sd_become_kohyas_too(name: Any, tiny_models: dict[str, Path]) -> None:
    backbone, tensors = ours(tiny_models["sd1"])
    back = lora_reading.normalised(renamed(tensors, name), "x", backbone.family)
    assert back.keys() == tensors.keys() and all(torch.equal(back[k], v) for k, v in tensors.items())


def test_what_kohya_wrote_stays_as_it_is(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    for family in ("sd1", "sdxl"):
        _, tensors = ours(tiny_models[family])
        export.write(
            tmp_path / "a.safetensors",
            tensors,
            {"ss_base_model_version": FAMILIES[family].kohya_version, "a": "b"},
            "fp16",
        )
        lora = lora_reading.read(tmp_path / "a.safetensors")
        assert lora.tensors.keys() == tensors.keys() and lora.metadata["a"] == "b"
        assert all(torch.equal(lora.tensors[k].half(), v.half()) for k, v in tensors.items())


def test_ai_toolkits_odd_metadata_is_put_right(tmp_path: Path) -> None:
    stem = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"
    tensors = {f"{stem}.lora_down.weight": torch.ones(4, 1024), f"{stem}.lora_up.weight": torch.ones(8, 4), f"{stem}.alpha": torch.tensor(4)}  # fmt: skip
    safetensors.torch.save_file(
        tensors, tmp_path / "a.safetensors", {"ss_v2": "true", "ss_base_model_version": "sd_2.1"}
    )
    tensors, told = lora_reading.read_kohya(tmp_path / "a.safetensors")
    assert (told["ss_v2"], told["ss_base_model_version"]) == ("True", "sd_v2")
    assert told["modelspec.architecture"] == "stable-diffusion-v2-512/lora"
    assert tensors[f"{stem}.alpha"].dtype == torch.float32


def test_a_tucker_core_goes_into_the_half_below_it_exactly() -> None:
    """dW = sum up[o, p] mid[p, q, h, w] down[q, i], computed densely here."""
    stem, generator = "lora_unet_mid_block_resnets_0_conv1", torch.Generator().manual_seed(1)
    down, mid, up = (torch.randn(s, generator=generator) for s in ((4, 6, 1, 1), (4, 4, 3, 3), (5, 4, 1, 1)))
    given = {f"{stem}.lora_down.weight": down, f"{stem}.lora_mid.weight": mid, f"{stem}.lora_up.weight": up}
    out = lora_reading.normalised(given, "x", None)
    made = torch.einsum("opab,pihw->oihw", out[f"{stem}.lora_up.weight"], out[f"{stem}.lora_down.weight"])
    expected = torch.einsum("opab,pqhw,qicd->oihw", up.double(), mid.double(), down.double())
    torch.testing.assert_close(made.double(), expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(ModelError, match=r"x is damaged: the core of layer \S+ does not fit between its halves"):
        lora_reading.normalised(given | {f"{stem}.lora_mid.weight": torch.ones(4, 3, 3, 3)}, "x", None)


def test_text_encoders_that_are_not_named_are_told_apart_by_width() -> None:
    for width, prefix in ((768, "lora_te1_"), (1280, "lora_te2_")):
        path = "base_model.model.text_model.encoder.layers.0.self_attn.q_proj"
        given = {f"{path}.lora_A.weight": torch.ones(4, width), f"{path}.lora_B.weight": torch.ones(width, 4)}
        assert all(k.startswith(prefix) for k in lora_reading.normalised(given, "x", FAMILIES["sdxl"]))


# DoRA in both worlds


def test_dora_is_converted_exactly_both_ways(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    """Convolutions, matrices and text encoders. Diffusers loads the converted file and computes what our adapter computes; back again nothing has changed."""
    family = "sdxl"
    backbone, tensors = ours(tiny_models[family], True)
    kohya, peft, back = (tmp_path / f"{n}.safetensors" for n in ("kohya", "peft", "back"))
    export.write(kohya, tensors, {"ss_base_model_version": FAMILIES[family].kohya_version}, "fp32")
    lora_convert.convert_file(kohya, peft, "peft")
    pipe = pipeline(tiny_models[family], peft)
    told = encoded(pipe, "a round thing")
    noisy, ids = (
        torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1)),
        torch.tensor([[64, 64, 0, 0, 64, 64]]),
    )
    extra = {"added_cond_kwargs": {"text_embeds": told[1], "time_ids": ids}} if len(told) > 1 else {}
    with torch.no_grad():
        theirs = pipe.unet(noisy, torch.tensor([400]), told[0], **extra).sample
    torch.testing.assert_close(outputs(backbone)[0], theirs, rtol=0, atol=2e-4)
    lora_convert.convert_file(peft, back, "kohya")
    again = safetensors.torch.load_file(back)
    assert again.keys() == tensors.keys()
    for key, value in tensors.items():
        if key.endswith(".dora_scale"):
            assert torch.equal(again[key], value)
        if key.endswith(".lora_down.weight"):
            stem = key.removesuffix(".lora_down.weight")
            products = [float(t[f"{stem}.alpha"]) / len(t[key]) * t[f"{stem}.lora_up.weight"].flatten(1) @ t[key].flatten(1) for t in (tensors, again)]  # fmt: skip
            torch.testing.assert_close(products[1], products[0], rtol=1e-4, atol=1e-6)


def test_dora_with_a_magnitude_for_each_input_is_read_but_not_renamed_nor_trained(tmp_path: Path) -> None:
    stem = "lora_unet_mid_block_attentions_0_proj_in"
    given = {f"{stem}.lora_down.weight": torch.ones(4, 8), f"{stem}.lora_up.weight": torch.ones(8, 4), f"{stem}.dora_scale": torch.ones(1, 8)}  # fmt: skip
    safetensors.torch.save_file(given, tmp_path / "a.safetensors", {"ss_base_model_version": "sd_v1"})
    assert lora_reading.read(tmp_path / "a.safetensors").tensors[f"{stem}.dora_scale"].shape == (1, 8)
    with pytest.raises(
        ModelError, match=r"a\.safetensors is a DoRA with a magnitude for each input .* cannot be renamed"
    ):
        lora_convert.convert_file(tmp_path / "a.safetensors", tmp_path / "b.safetensors", "peft")


def test_sdxl_in_diffusers_block_names_can_be_converted_to_kohyas(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    """A1111 finds only some layers in the former."""
    _, tensors = ours(tiny_models["sdxl"])
    safetensors.torch.save_file(
        renamed(tensors, onetrainer), tmp_path / "a.safetensors", {"ss_base_model_version": "sdxl_"}
    )
    lora_convert.convert_file(tmp_path / "a.safetensors", tmp_path / "b.safetensors", "kohya")
    assert safetensors.torch.load_file(tmp_path / "b.safetensors").keys() == tensors.keys()
    with pytest.raises(ModelError, match=r"b\.safetensors has kohya's names already"):
        lora_convert.convert_file(tmp_path / "b.safetensors", tmp_path / "c.safetensors", "kohya")


# Training goes on from them


def test_a_run_goes_on_from_pefts_file_and_not_from_one_for_another_base(
    tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    theirs, tensors, settings = with_theirs(tiny_models["sdxl"], text=True, target_modules=ATTENTION, lora_alpha=1)
    path = saved_by_diffusers(tmp_path, tensors, settings)
    fresh, told = loaded(tiny_models["sdxl"]), []
    adapter = session._adapter(fresh, TrainingSettings(start_from=path), told.append)
    assert adapter.usual_size == Size(4, 1.0)
    torch.testing.assert_close(outputs(fresh)[0], outputs(theirs)[0], rtol=0.3, atol=1)  # without the text encoders
    assert "also holds text-encoder layers; they are left out" in told[0].message
    with pytest.raises(
        ModelError, match=r"was made for SDXL, and the base model is SD 1\.x\. Choose a LoRA made for SD 1"
    ):
        session._adapter(loaded(tiny_models["sd1"]), TrainingSettings(start_from=path), told.append)


@pytest.mark.parametrize(
    ("width", "sentence"),
    [(768, "a.safetensors was made for SD 1.x, and the base model is SDXL."), (48, "a.safetensors does not fit this base model: lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k expects 48 inputs and 32 outputs, the model has 64 and 32. Choose a LoRA made for such a model.")],
)  # fmt: skip
def test_shapes_that_do_not_fit_the_base_are_named(
    width: int, sentence: str, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    path = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
    given = {f"{path}.lora_A.weight": torch.ones(4, width), f"{path}.lora_B.weight": torch.ones(32, 4)}
    safetensors.torch.save_file(given, tmp_path / "a.safetensors")
    with pytest.raises(ModelError) as raised:
        session._adapter(loaded(tiny_models["sdxl"]), TrainingSettings(start_from=tmp_path / "a.safetensors"), print)
    assert str(raised.value).startswith(sentence)


def test_the_plan_refuses_a_lora_before_a_worker_is_started(tmp_path: Path) -> None:
    safetensors.torch.save_file({"lora_unet_x.hada_w1_a": torch.ones(2, 2)}, tmp_path / "a.safetensors")
    found = preflight.look(TrainingSettings(base="demo", data=tmp_path, start_from=tmp_path / "a.safetensors"))
    problems = {field: str(error) for field, error in found.problems}
    assert problems["start_from"].startswith(
        "a.safetensors is a LoHa (products of two LoRAs), which cannot be used here."
    )
    path = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
    given = {f"{path}.lora_A.weight": torch.ones(4, 2048), f"{path}.lora_B.weight": torch.ones(32, 4)}
    safetensors.torch.save_file(given, tmp_path / "a.safetensors")
    problems = dict(
        preflight.look(TrainingSettings(base="demo", data=tmp_path, start_from=tmp_path / "a.safetensors")).problems
    )
    assert "a.safetensors was made for SDXL, and the base model is SD 1.x." in str(problems["start_from"])


# Bad input

STEM = "lora_unet_mid_block_attentions_0_proj_in"
PATH = "unet.mid_block.attentions.0.proj_in"


def whole(**changes: torch.Tensor | None) -> Tensors:
    tensors = {"lora_down.weight": torch.ones(4, 8), "lora_up.weight": torch.ones(6, 4), "alpha": torch.tensor(2.0)}
    given = tensors | {k.replace("__", "."): v for k, v in changes.items()}
    return {f"{STEM}.{k}": v for k, v in given.items() if v is not None}


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        (whole(lora_up__weight=torch.full((6, 4), math.nan)), "layer lora_unet_mid_block_attentions_0_proj_in is empty or holds numbers that are not finite"),
        (whole(lora_down__weight=torch.full((4, 8), math.inf)), "holds numbers that are not finite"),
        (whole(lora_down__weight=torch.ones(0, 8), lora_up__weight=torch.ones(6, 0)), "is empty or holds numbers"),
        (whole(lora_down__weight=torch.ones(4, 0)), "is empty or holds numbers"),
        (whole(lora_down__weight=torch.ones(5, 8)), "the two halves of layer .* do not belong together"),
        (whole(lora_up__weight=None), "the two halves of layer .* do not belong together"),
        (whole(lora_down__weight=torch.ones(4)), "the two halves of layer .* do not belong together"),
        (whole(lora_up__weight=torch.tensor(1.0)), "the two halves of layer .* do not belong together"),
        (whole(alpha=torch.ones(2)), "the alpha of layer .* is not a number"),
        (whole(alpha=torch.tensor(math.nan)), "the alpha of layer .* is not a number"),
        (whole(dora_scale=torch.ones(7, 1)), "the magnitudes of layer .* do not fit its 8 inputs and 6 outputs"),
        (whole(dora_scale=torch.full((6, 1), math.nan)), "the magnitudes of layer .* do not fit"),
        (whole() | {f"{PATH}.lora_A.weight": torch.ones(4, 8)}, "it holds layer lora_unet_mid_block_attentions_0_proj_in twice, the second time as unet"),
    ],
    ids=lambda v: v[:30] if isinstance(v, str) else "",
)  # fmt: skip
def test_a_layer_that_is_not_whole_is_named(tensors: Tensors, sentence: str, tmp_path: Path) -> None:
    safetensors.torch.save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match=rf"^a\.safetensors is damaged: .*{sentence}.*\.$"):
        lora_reading.read(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        (
            {"unet.lora_alpha": "much"},
            "gives layer unet.mid_block.attentions.0.proj_in an alpha that is no number: much",
        ),
        ({"unet.lora_alpha": True}, ".*an alpha that is no number: True"),
        ({"lora_alpha": 1e400}, ".*an alpha that is no number: inf"),
        ({"alpha_pattern": {"(a+)+$": 3}}, r"sets alpha by a pattern that cannot be read: \(a\+\)\+"),
        ({"alpha_pattern": {".*.*.*x": 3}}, "sets alpha by a pattern that cannot be read"),
        ({"alpha_pattern": {"[": 3}}, r"sets alpha by a pattern that cannot be read: \["),
    ],
    ids=str,
)
def test_pefts_settings_that_cannot_be_read_are_told(told: dict[str, Any], sentence: str) -> None:
    given = {f"{PATH}.lora_A.weight": torch.ones(4, 8), f"{PATH}.lora_B.weight": torch.ones(6, 4)}
    with pytest.raises(ModelError, match=f"^x {sentence}"):
        lora_reading.normalised(given, "x", None, told)


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000, "\udcff"])
def test_settings_beside_a_file_that_cannot_be_read_are_told(text: str, tmp_path: Path) -> None:
    given = {f"base_model.model.mid_block.attentions.0.proj_in.lora_{half}.weight": torch.ones(4, 4) for half in "AB"}
    safetensors.torch.save_file(given, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(
        ModelError, match=r"adapter_config\.json beside adapter_model\.safetensors cannot be read, so the"
    ):
        lora_reading.read(tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"lora_alpha": 8}))
    assert float(lora_reading.read(tmp_path / "adapter_model.safetensors").tensors[f"{STEM}.alpha"]) == 8


class Bomb:
    def __reduce__(self) -> Any:
        return os.system, (f"{sys.executable} -c \"open('ran','w')\"",)


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt", "a.bin"])
def test_a_pickle_with_code_in_it_is_never_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(whole() | {"x": Bomb()}, name)
    with pytest.raises(ModelError, match=rf"{name} holds program code \((posix|nt)\.system\), which was not run"):
        lora_reading.read(Path(name))
    assert not Path("ran").exists()


def test_a_second_text_encoder_has_no_place_in_sd(tmp_path: Path) -> None:
    path = "text_encoder_2.text_model.encoder.layers.0.mlp.fc1"
    given = {f"{path}.lora_A.weight": torch.ones(4, 8), f"{path}.lora_B.weight": torch.ones(6, 4)}
    with pytest.raises(ModelError, match=r"^x holds text_encoder_2\.\S+, which is no layer of SD 1\.x in names"):
        lora_reading.normalised(given, "x", FAMILIES["sd1"])
