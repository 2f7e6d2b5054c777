"""Captioners of every kind: found, loaded, told what to write, batched, cancelled; and sentences for what cannot be used."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from tests import tiny_captioners, tiny_tagger
from trainer import captioner, captioner_files, captioner_sentences, hub, pixels
from trainer.captioner import Wish
from trainer.captioner_tagger import Tagger, read_tags
from trainer.errors import ConfigError, ModelError
from trainer.tasks import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WRITERS = ("blip", "blip2", "florence2")
COLOURS = ("red", "blue", "lime", "white", "black")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("captioners")
    made = {name: getattr(tiny_captioners, name)(root / name) for name in WRITERS}
    return made | {"tagger": tiny_tagger.make(root / "tagger")}


@pytest.fixture(scope="module")
def wishes(tmp_path_factory: pytest.TempPathFactory) -> list[Wish]:
    """Five pictures of one colour each; the first has a red left half and a blue right one, of which the red is wanted."""
    root = tmp_path_factory.mktemp("colours")
    for colour in COLOURS:
        picture = Image.new("RGB", (60, 40), colour)
        if colour == "red":
            picture.paste("blue", (30, 0, 60, 40))
        picture.save(root / f"{colour}.png")
    return [Wish(root / f"{colour}.png", (0, 0, 30, 40) if colour == "red" else None) for colour in COLOURS]


@pytest.fixture(autouse=True)
def _short_and_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few tokens are enough, in fp32, so that batches of another size do not round differently."""
    monkeypatch.setattr(captioner_sentences, "MOST_TOKENS", {"beginning": 6, "length": 6})
    monkeypatch.setattr(captioner_sentences.device, "dtype_of", lambda *_: torch.float32)


def texts(model: captioner.Captioner, wishes: list[Wish]) -> list[str]:
    described = list(captioner.describe(model, wishes))
    assert [d.path for d in described] == [w.path for w in wishes]
    return [d.proposal.text for d in described if d.proposal is not None]


@pytest.mark.parametrize("name", WRITERS)
def test_sentences_are_those_of_transformers_whatever_the_batch(name: str, models: dict[str, Path], wishes: list[Wish]) -> None:  # fmt: skip
    """The reference: each picture alone, straight through transformers."""
    processor = AutoProcessor.from_pretrained(models[name])
    model = AutoModelForImageTextToText.from_pretrained(models[name]).eval()
    expected = []
    for wish in wishes:
        picture = pixels.open_rgb(wish.path).crop(wish.box) if wish.box else pixels.open_rgb(wish.path)
        words = {"text": "<DETAILED_CAPTION>"} if name == "florence2" else {}
        inputs = processor(images=picture, return_tensors="pt", **words)
        said = model.generate(**inputs, max_new_tokens=6, num_beams=3, do_sample=False)
        text = processor.batch_decode(said, skip_special_tokens=True)[0]
        expected.append(" ".join("".join(c if c.isprintable() else " " for c in text).split()))
    assert len(set(expected)) >= 3, "the pictures make a difference"
    for batch in (1, 2, 5):
        assert texts(captioner.load(models[name], batch=batch), wishes) == expected


def test_blip_begins_as_it_is_told(models: dict[str, Path], wishes: list[Wish]) -> None:
    said = texts(captioner.load(models["blip"], prompt=" A photo  of", batch=2), wishes)
    assert all(text.startswith("A photo of ") and text.casefold().count("a photo of") == 1 for text in said)
    assert said != [f"A photo of {text}" for text in texts(captioner.load(models["blip"]), wishes)]


def test_a_question_is_no_part_of_the_caption(models: dict[str, Path], wishes: list[Wish]) -> None:
    said = texts(captioner.load(models["blip2"], prompt="Question: what is it? Answer:", batch=2), wishes)
    assert not any("Question" in text or "Answer" in text for text in said)
    assert len(set(said)) > 1


def test_florence_writes_as_much_as_it_is_told(models: dict[str, Path], wishes: list[Wish]) -> None:
    asked = []
    for prompt in ("short", "", "long", "<OCR>"):
        model = captioner.load(models["florence2"], prompt=prompt)
        asked.append(model._prompt)  # type: ignore[attr-defined]
        texts(model, wishes[:1])
    assert asked == ["<CAPTION>", "<DETAILED_CAPTION>", "<MORE_DETAILED_CAPTION>", "<OCR>"]
    with pytest.raises(
        ConfigError, match='"lengthy" is nothing that Florence-2 can be told; give short, detailed, long'
    ):
        captioner.load(models["florence2"], prompt="lengthy")


@pytest.mark.parametrize("batch", [0, 1, 3])
def test_a_tagger_sees_colours_in_their_order(batch: int, models: dict[str, Path], wishes: list[Wish]) -> None:
    for described, colour in zip(captioner.describe(captioner.load(models["tagger"], batch=batch), wishes[1:]), COLOURS[1:], strict=True):  # fmt: skip
        assert described.proposal is not None
        square = Image.new("RGB", (60, 60), "white")
        square.paste(colour, (0, 10, 60, 50))  # the white above and below is in the mean
        mean = Image.new("RGB", (1, 1), tuple(int(v) for v in np.asarray(square.resize((32, 32), Image.Resampling.BICUBIC)).mean((0, 1)) + 0.5))  # fmt: skip
        found = {tag.name: tag for tag in described.proposal.tags}
        for name, category in tiny_tagger.TAGS:
            expected = tiny_tagger.confidence(name, mean)
            assert (name in found) == (expected >= 0.05)
            if name in found:
                assert found[name].confidence == pytest.approx(expected, abs=0.01)
                assert found[name].kind == {"9": "rating", "0": "general", "4": "character"}[category]


def test_only_the_part_that_is_trained_is_described(models: dict[str, Path], wishes: list[Wish]) -> None:
    whole, part = (next(iter(captioner.describe(captioner.load(models["tagger"]), [w]))) for w in (Wish(wishes[0].path), wishes[0]))  # fmt: skip
    blue = [{t.name: t.confidence for t in d.proposal.tags}["blue_sky"] for d in (whole, part) if d.proposal]
    assert blue[0] > blue[1] + 0.2


def test_a_tagger_made_for_batches_of_one_size_gets_them(tmp_path: Path, models: dict[str, Path], wishes: list[Wish]) -> None:  # fmt: skip
    fixed = captioner.load(tiny_tagger.make(tmp_path / "fixed", batch=3), batch=8)
    assert fixed.batch == 3
    free = captioner.load(models["tagger"])
    said = [[d.proposal for d in captioner.describe(model, wishes)] for model in (fixed, free)]
    assert [[t.name for t in p.tags] for p in said[0] if p] == [[t.name for t in p.tags] for p in said[1] if p]
    assert len(said[0]) == 5


def test_a_picture_that_cannot_be_opened_is_told_and_passed_over(tmp_path: Path, models: dict[str, Path], wishes: list[Wish]) -> None:  # fmt: skip
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    described = list(captioner.describe(captioner.load(models["tagger"], batch=2), [wishes[1], Wish(broken), wishes[2]]))  # fmt: skip
    assert [d.proposal is None for d in described] == [False, True, False]
    assert (
        described[1].problem == "broken.png cannot be read as a picture (it is not a picture, or of an unknown kind)."
    )


def test_memory_that_runs_out_halves_the_batch(models: dict[str, Path], wishes: list[Wish], monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    expected = [d.proposal for d in captioner.describe(captioner.load(models["tagger"]), wishes)]
    full: Callable[..., Any] = Tagger.describe
    tried, most = [], 2

    def small(self: Tagger, prepared: Any, still: Any) -> Any:
        tried.append(len(prepared))
        if len(prepared) > most:
            raise torch.OutOfMemoryError
        return full(self, prepared, still)

    monkeypatch.setattr(Tagger, "describe", small)
    assert [d.proposal for d in captioner.describe(captioner.load(models["tagger"]), wishes)] == expected
    assert tried == [4, 2, 2, 1]
    most = 0
    with pytest.raises(ModelError, match="Memory is too small for this captioner"):
        list(captioner.describe(captioner.load(models["tagger"]), wishes))


@pytest.mark.parametrize("name", ["blip", "tagger"])
def test_cancelling_is_heard_between_two_words(name: str, models: dict[str, Path], wishes: list[Wish]) -> None:
    told: list[tuple[str, int, int]] = []

    def tell(label: str, done: int, total: int) -> None:
        told.append((label, done, total))
        if len(told) == 5:
            raise Cancelled

    with pytest.raises(Cancelled):
        list(captioner.describe(captioner.load(models[name], batch=1), wishes, tell))
    assert len(told) == 5
    assert told[0] == ("Describing pictures", 0, 5)
    assert told[-1][1] == (0 if name == "blip" else 2), (
        "it writes several words for a picture, a tagger answers at once"
    )


# ---- finding and recognising


@pytest.mark.parametrize("name", [*WRITERS, "tagger"])
def test_every_kind_is_recognised_in_a_folder_and_on_the_hub(name: str, models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    kind = captioner_files.kind_of(models[name])
    assert kind.id == name
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="lora-atelier fetch artist/words"):
        captioner.find("artist/words")
    snapshot = tmp_path / "models--artist--words" / "snapshots" / "abc"
    shutil.copytree(models[name], snapshot)
    assert captioner.find("artist/words") == hub.cached("artist/words") == snapshot
    weights = snapshot / ("model.onnx" if name == "tagger" else "model.safetensors")
    weights.unlink()
    assert hub.cached("artist/words") is None, "half a captioner is none"


def test_a_download_brings_what_is_needed_and_no_more(models: dict[str, Path]) -> None:
    names = {p.name for p in models["blip"].iterdir()}
    config = json.loads((models["blip"] / "config.json").read_text())
    more = {"tf_model.h5", "pytorch_model.bin", "README.md", "model.onnx"}
    assert set(captioner_files.wanted(names | more, config) or ()) == names
    assert captioner_files.wanted({"model.onnx", "selected_tags.csv", "model.safetensors", "config.json"}, None) == ["model.onnx", "selected_tags.csv"]  # fmt: skip
    assert captioner_files.wanted({"config.json", "model.safetensors"}, {"architectures": ["LlamaForCausalLM"]}) is None
    assert captioner_files.wanted({"config.json"}, config) is None


def test_what_is_no_captioner_is_told(tmp_path: Path, models: dict[str, Path]) -> None:
    with pytest.raises(ModelError, match="There is no folder"):
        captioner.load(tmp_path / "nowhere")
    with pytest.raises(ModelError, match=r"holds no captioner. Captioners that can be used are BLIP"):
        captioner.load(tmp_path)
    (tmp_path / "config.json").write_text('{"architectures": ["LlavaForConditionalGeneration"]}')
    with pytest.raises(ModelError, match=r"a model of another kind \(LlavaForConditionalGeneration\)"):
        captioner.load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config.json cannot be read"):
        captioner.load(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"x")
    with pytest.raises(ModelError, match=r"holds model.onnx, but no selected_tags.csv"):
        captioner.load(tmp_path)
    old = {"architectures": ["Florence2ForConditionalGeneration"], "vision_config": {"dim_embed": [1]}}
    (tmp_path / "model.onnx").unlink()
    (tmp_path / "config.json").write_text(json.dumps(old))
    with pytest.raises(ModelError, match="runs Python code of its own"):
        captioner.load(tmp_path)
    half = shutil.copytree(models["blip"], tmp_path / "half")
    (half / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="has no weights"):
        captioner.load(half)
    with pytest.raises(ConfigError, match="takes no prompt"):
        captioner.load(models["tagger"], prompt="a photo of")


def test_weights_that_are_missing_or_broken_are_told(tmp_path: Path, models: dict[str, Path]) -> None:
    from safetensors.torch import load_file, save_file

    short = shutil.copytree(models["blip"], tmp_path / "short")
    weights = load_file(short / "model.safetensors")
    gone = sorted(name for name in weights if "crossattention" in name)
    save_file({k: v for k, v in weights.items() if k not in gone}, short / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=rf"is not whole: {len(gone)} of its weights are missing, e.g. {gone[0]}"):
        captioner.load(short)
    (short / "model.safetensors").write_bytes(b"junk")
    with pytest.raises(ModelError, match="cannot be loaded"):
        captioner.load(short)


def test_taggers_that_cannot_be_used_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tiny_tagger.make(tmp_path / "other", channels_last=False)
    with pytest.raises(ModelError, match="it is no WD tagger"):
        captioner.load(other)
    with pytest.raises(ModelError, match=r"knows 9 tags, but selected_tags.csv names 7"):
        captioner.load(tiny_tagger.make(tmp_path / "few", tags=7))
    (other / "model.onnx").write_bytes(b"junk")
    with pytest.raises(ModelError, match=r"model.onnx cannot be loaded"):
        captioner.load(other)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(ModelError, match=r"Taggers need the package onnxruntime.*-m pip install onnxruntime"):
        captioner.load(other)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "names no tags"), (b"name\ndog\n", "no column 'category'"), (b"name,category\n,0\n", "not all of them"), (b"name,category\n\xff,0\n", "cannot be read")],
)  # fmt: skip
def test_a_damaged_list_of_tags_is_told(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "selected_tags.csv"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        read_tags(path)


def test_an_export_without_its_last_layer_is_understood(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    model = captioner.load(models["tagger"])
    assert isinstance(model, Tagger)
    assert isinstance(model._session, onnxruntime.InferenceSession)

    class Logits:
        def run(self, *_: object) -> list[Any]:
            return [np.array([[-9.0] * 8 + [2.0]], np.float32)]

    monkeypatch.setattr(model, "_session", Logits())
    (said,) = model.describe([np.zeros((32, 32, 3), np.float32)], lambda: None)
    assert [(t.name, round(t.confidence, 3)) for t in said.tags] == [("never_seen", 0.881)]
