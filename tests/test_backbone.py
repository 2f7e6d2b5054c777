"""A base model's parts: reading them, damaged ones, the same encodings as diffusers' pipelines."""

from __future__ import annotations

import gc
import json
import shutil
import weakref
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

from tests import tiny_models as makers
from trainer import families
from trainer.diffusion import Schedule
from trainer.errors import ModelError
from trainer.families import FAMILIES
from trainer.families.backbone import Backbone, Conditioning
from trainer.settings import TrainingSettings

CPU = torch.device("cpu")
LONG = "ab " * 40 + "cd " * 60  # 200 tokens: two a word, as the tiny tokenizers know letters only


@pytest.fixture
def copy(tiny_models: dict[str, Path], tmp_path: Path) -> Any:
    """A tiny model that may be damaged."""
    return lambda family="sdxl": Path(shutil.copytree(tiny_models[family], tmp_path / "model"))


def loaded(folder: Path) -> Backbone:
    backbone = families.load(folder)
    backbone.load_text_encoders(torch.float32, CPU)
    return backbone


def weights(folder: Path) -> Path:
    return next(folder.glob("*.safetensors"))


# Reading the parts


def read_part(backbone: Backbone, part: str) -> None:
    match part:
        case "unet":
            backbone.load_unet(torch.float32, CPU)
        case "vae":
            backbone.load_vae(CPU)
        case _:
            backbone.load_text_encoders(torch.float32, CPU)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "text_encoder_2"])
@pytest.mark.parametrize("damage", ["cut off", "garbage", "empty", "another size", "incomplete"])
def test_damaged_weights_are_said_in_a_sentence(part: str, damage: str, copy: Any) -> None:
    folder = copy()
    path = weights(folder / part)
    raw, tensors = path.read_bytes(), safetensors.torch.load_file(path)
    name = next(iter(tensors))
    match damage:
        case "cut off":
            path.write_bytes(raw[: len(raw) // 2])
        case "garbage":
            path.write_bytes(b"<html>not found</html>" * 9)
        case "empty":
            path.write_bytes(b"")
        case "another size":
            safetensors.torch.save_file(tensors | {name: torch.zeros(7, 7)}, path, {"format": "pt"})
        case "incomplete":
            safetensors.torch.save_file({k: v for k, v in tensors.items() if k != name}, path, {"format": "pt"})
    with pytest.raises(
        ModelError, match=rf"^{part} of the base model .*(cannot be read|lacks 1 of its weights).*Copy the model again"
    ):
        read_part(families.load(folder), part)


@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer_config.json"])
def test_a_damaged_tokenizer_is_said_in_a_sentence(file: str, copy: Any) -> None:
    folder = copy()
    (folder / "tokenizer_2" / file).write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match=r"^tokenizer_2 of the base model .* cannot be read"):
        loaded(folder)


@pytest.mark.parametrize("family", FAMILIES)
def test_tokenizers_of_published_models_are_read(family: str, copy: Any) -> None:
    """They have vocab.json and merges.txt; only newer ones have tokenizer.json."""
    folder = copy(family)
    parts = FAMILIES[family].text_parts
    before = [loaded(folder).tokenize(part, ["Ab, cd"], 75)[0] for part in parts]
    for file in folder.glob("tokenizer*/tokenizer.json"):
        model = json.loads(file.read_text(encoding="utf-8"))["model"]
        (file.parent / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
        (file.parent / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
        file.unlink()
    after = [loaded(folder).tokenize(part, ["Ab, cd"], 75)[0] for part in parts]
    assert [ids.tolist() for ids in after] == [ids.tolist() for ids in before]


def test_text_encoder_weights_are_read_with_and_without_their_old_prefix(copy: Any) -> None:
    """Published SD models have `text_model.` in front; transformers 5 has dropped that level."""
    folder = copy("sd1")
    told = loaded(folder).encode_captions(["ab"], clip_skip=1, max_tokens=75)
    path = weights(folder / "text_encoder")
    tensors = {k.removeprefix("text_model."): v for k, v in safetensors.torch.load_file(path).items()}
    for prefix in ("", "text_model."):
        safetensors.torch.save_file({prefix + k: v for k, v in tensors.items()}, path, {"format": "pt"})
        assert torch.equal(loaded(folder).encode_captions(["ab"], clip_skip=1, max_tokens=75).states, told.states)


def test_files_that_exist_only_in_the_fp16_variant_are_read(copy: Any) -> None:
    folder = copy()
    for part in ("unet", "vae", "text_encoder", "text_encoder_2"):
        path = weights(folder / part)
        path.rename(path.with_name(path.name.replace(".safetensors", ".fp16.safetensors")))
    backbone = loaded(folder)
    assert backbone.load_unet(torch.bfloat16, CPU).dtype is torch.bfloat16
    assert backbone.load_vae(CPU).dtype is torch.float32


@pytest.mark.parametrize("family", FAMILIES)
def test_everything_is_frozen_and_the_autoencoder_is_fp32(family: str, tiny_models: dict[str, Path]) -> None:
    backbone = families.load(tiny_models[family])
    backbone.load_text_encoders(torch.bfloat16, CPU)
    parts = [backbone.load_unet(torch.bfloat16, CPU), *backbone.text_encoders.values()]
    vae = backbone.load_vae(CPU)
    assert {p.dtype for part in parts for p in part.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in vae.parameters()} == {torch.float32}
    assert not any(p.requires_grad for part in (*parts, vae) for p in part.parameters())
    assert not any(part.training for part in (*parts, vae))
    assert backbone.load_vae(CPU) is vae  # read once


@pytest.mark.parametrize("family", FAMILIES)
def test_encoders_that_are_let_go_leave_memory(family: str, tiny_models: dict[str, Path]) -> None:
    backbone = loaded(tiny_models[family])
    backbone.encode_captions(["ab"], clip_skip=1, max_tokens=75)
    held = [weakref.ref(m) for m in (*backbone.text_encoders.values(), backbone.load_vae(CPU))]
    assert all(ref() is not None for ref in held)
    backbone.free_text_encoders()
    backbone.free_vae()
    gc.collect()
    assert [ref() for ref in held] == [None] * len(held)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_the_schedulers_own_prediction_is_respected(family: str, prediction: str, tmp_path: Path) -> None:
    backbone = families.load(makers.make(family, tmp_path / family, prediction=prediction))
    assert Schedule.of(backbone.noise, TrainingSettings()).prediction == prediction


# Captions


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("max_tokens", "length"), [(75, 77), (150, 154), (225, 231)])
@torch.no_grad()
def test_captions_have_77_states_a_chunk(
    family: str, max_tokens: int, length: int, tiny_models: dict[str, Path]
) -> None:
    backbone = loaded(tiny_models[family])
    told = backbone.encode_captions(["ab", "", LONG], clip_skip=1, max_tokens=max_tokens)
    width = makers.WIDTH * len(backbone.family.text_parts)
    assert told.states.shape == (3, length, width)
    assert (told.pooled is None) == (family != "sdxl")
    if told.pooled is not None:
        assert told.pooled.shape == (3, makers.WIDTH)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_long_caption_is_the_encodings_of_its_chunks_side_by_side(family: str, tiny_models: dict[str, Path]) -> None:
    """Chunk n is start, its 75 tokens, end, padding; encoded on its own as A1111 and ComfyUI do."""
    backbone = loaded(tiny_models[family])
    told = backbone.encode_captions(["x", LONG], clip_skip=1, max_tokens=225)
    for part in backbone.family.text_parts:
        tokenizer = backbone.tokenizers[part]
        words = tokenizer(LONG, add_special_tokens=False, verbose=False).input_ids
        assert len(words) == 200
        rows = [[tokenizer.bos_token_id, *words[i : i + 75], tokenizer.eos_token_id] for i in (0, 75, 150)]
        rows[2] += [tokenizer.pad_token_id] * (77 - len(rows[2]))
        assert backbone.tokenize(part, ["x", LONG], 225)[0][3:].tolist() == rows
    short = backbone.encode_captions([LONG], clip_skip=1, max_tokens=75)
    torch.testing.assert_close(told.states[1:, :77], short.states, rtol=0, atol=1e-6)
    if told.pooled is not None:  # that of the first chunk
        torch.testing.assert_close(told.pooled[1:], short.pooled, rtol=0, atol=1e-6)


@pytest.mark.parametrize("family", ["sd1", "sd2"])
@pytest.mark.parametrize("clip_skip", [1, 2, 3])
@torch.no_grad()
def test_clip_skip_takes_the_nth_layer_from_the_end_through_the_final_norm(
    family: str, clip_skip: int, tiny_models: dict[str, Path]
) -> None:
    """Independent: the layers' own outputs are caught with hooks, and normalised with the norm's weight and bias."""
    backbone = loaded(tiny_models[family])
    encoder = backbone.text_encoders["text_encoder"]
    caught: list[torch.Tensor] = []
    for name, module in encoder.named_modules():
        if name.endswith(tuple(f"encoder.layers.{i}" for i in range(3))):
            module.register_forward_hook(lambda m, i, out: caught.append(out[0] if isinstance(out, tuple) else out))
    told = backbone.encode_captions(["ab cd"], clip_skip=clip_skip, max_tokens=75)
    assert len(caught) == 3
    norm = next(m for n, m in encoder.named_modules() if n.endswith("final_layer_norm"))
    x = caught[-clip_skip].reshape(1, 77, -1)
    expected = (x - x.mean(-1, keepdim=True)) / (
        x.var(-1, keepdim=True, unbiased=False) + norm.eps
    ).sqrt() * norm.weight + norm.bias
    torch.testing.assert_close(told.states, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("text", ["", "ab cd", LONG])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_captions_are_encoded_as_by_diffusers_pipelines(family: str, text: str, tiny_models: dict[str, Path]) -> None:
    """`encode_prompt` as it is, with clip skip 1; its own clip skip raises with transformers 5 (no `text_model`)."""
    folder = tiny_models[family]
    told = loaded(folder).encode_captions([text], clip_skip=1, max_tokens=75)
    kind = StableDiffusionXLPipeline if family == "sdxl" else StableDiffusionPipeline
    pipe = kind.from_pretrained(folder, local_files_only=True)
    out = pipe.encode_prompt(text, device=CPU, num_images_per_prompt=1, do_classifier_free_guidance=False)
    assert torch.equal(told.states, out[0])
    assert told.pooled is None or torch.equal(told.pooled, out[2])


def test_conditionings_can_be_joined_and_taken_apart() -> None:
    one, two = (Conditioning(torch.full((1, 77, 4), v), torch.full((1, 3), v)) for v in (1.0, 2.0))
    both = Conditioning.cat([one, two])
    assert both.states.shape == (2, 77, 4)
    assert torch.equal(both[1:].states, two.states)
    assert both[1:].pooled is not None
    assert torch.equal(both[1:].pooled, two.pooled)  # type: ignore[arg-type]
    assert both.to(CPU, torch.bfloat16).pooled.dtype is torch.bfloat16  # type: ignore[union-attr]
    assert Conditioning.cat([Conditioning(one.states)] * 2).pooled is None


# Pictures


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_latents_are_the_posteriors_scaled_mean(family: str, tiny_models: dict[str, Path]) -> None:
    """The mean is the first half of the encoder's output; its scale stands in the autoencoder's configuration."""
    backbone = families.load(tiny_models[family])
    vae = backbone.load_vae(CPU)
    pictures = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    latents = backbone.encode_pictures(pictures)
    assert (
        latents.shape
        == (2, backbone.latent_channels, 64 // backbone.vae_scale, 96 // backbone.vae_scale)
        == (2, 4, 8, 12)
    )
    mean = vae.quant_conv(vae.encoder(pictures))[:, :4]
    torch.testing.assert_close(latents, mean * vae.config.scaling_factor)
    expected = vae.decoder(vae.post_quant_conv(mean))
    torch.testing.assert_close(backbone.decode_latents(latents.half().float()), expected, rtol=0, atol=0.02)
    torch.testing.assert_close(backbone.decode_latents(latents), expected, rtol=0, atol=1e-4)


@torch.no_grad()
def test_size_ids_reach_sdxl_unrounded_in_bf16(tiny_models: dict[str, Path]) -> None:
    """bf16 knows 8 bits: 1333 would become 1336, another picture size than the one that was trained."""
    backbone = loaded(tiny_models["sdxl"])
    unet = backbone.load_unet(torch.bfloat16, CPU)
    seen: list[torch.Tensor] = []
    unet.add_time_proj.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    told = backbone.encode_captions(["ab"], clip_skip=1, max_tokens=75).to(CPU, torch.bfloat16)
    ids = torch.tensor([[1333, 777, 3, 5, 1024, 1216]])
    out = backbone.denoise(torch.zeros(1, 4, 8, 8, dtype=torch.bfloat16), torch.tensor([5]), told, ids)
    assert seen[0].tolist() == ids[0].tolist()
    assert out.dtype is torch.bfloat16


@pytest.mark.parametrize("family", FAMILIES)
def test_a_weight_moves_a_words_states_away_from_the_empty_text(family: str, copy: Any) -> None:
    backbone = loaded(copy(family))

    def told(text: str, weights: bool) -> Any:
        return backbone.encode_captions([text, "x"], clip_skip=1, max_tokens=150, weights=weights)

    plain, empty = told("ab cd", True), told("", True)
    assert torch.equal(plain.states, told("ab cd", False).states)
    strong = told("(ab:1.5) cd", True)
    assert strong.states.shape == plain.states.shape
    part = backbone.family.text_parts
    ids, factors = backbone.tokenize(next(iter(part)), ["(ab:1.5) cd"], 75, weights=True)
    assert factors is not None and len(ids) == len(factors) + 1
    count = int((factors != 1).sum())
    expected = empty.states[0, 1 : 1 + count] + 1.5 * (plain.states[0, 1 : 1 + count] - empty.states[0, 1 : 1 + count])
    assert torch.allclose(strong.states[0, 1 : 1 + count], expected, atol=1e-5)
    assert torch.allclose(strong.states[0, 1 + count :], plain.states[0, 1 + count :], atol=1e-5)
    assert torch.allclose(strong.states[1], plain.states[1], atol=1e-5)
    if plain.pooled is not None:
        assert torch.allclose(strong.pooled, plain.pooled, atol=1e-5)
    assert not torch.allclose(told("(ab:1.5) cd", False).states, strong.states)
