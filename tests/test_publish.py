"""Writing for others from a real run: both kinds of names proved, faults caught, nothing half-made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import safetensors.torch
import torch

from tests.conftest import draw_pictures
from tests.runs import make_run, train
from trainer import bundle, lora_file, proof, proof_peft, publish
from trainer.errors import ModelError, RunError
from trainer.metadata import Words
from trainer.publish import Request
from trainer.tasks import Cancelled

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.run_folder import RunFolder


def trained(root: Path, model: Path, **changes: Any) -> RunFolder:
    """Two steps with a text encoder."""
    folder = make_run(model, draw_pictures(root / "pictures"), root, steps=2, train_text_encoder=True, **changes)
    train(folder)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, Path]) -> RunFolder:
    """Of a plain LoRA, with a picture."""
    previews = [{"prompt": "a", "steps": 1}]
    return trained(tmp_path_factory.mktemp("run"), tiny_models["sd1"], preview_every_steps=2, previews=previews)


@pytest.fixture(scope="module")
def dora(tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, Path]) -> RunFolder:
    """Of a DoRA with convolutions."""
    targets = ["attention", "convolutions"]
    return trained(
        tmp_path_factory.mktemp("dora"), tiny_models["sd1"], dora=True, targets=targets, preview_every_steps=0
    )


@pytest.fixture(scope="module")
def for_scripts(run: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's file under PEFT's names."""
    out = tmp_path_factory.mktemp("out") / "a.safetensors"
    publish.publish(run, "a", Request(2, out, Words(), "fp16", "peft"))
    return out


def effects(path: Path) -> dict[str, torch.Tensor]:
    """alpha / rank * up @ down of a kohya file, by stem."""
    t = safetensors.torch.load_file(path)
    stems = {key.split(".")[0] for key in t}
    return {
        s: t[f"{s}.alpha"].float() / len(t[f"{s}.lora_down.weight"]) * t[f"{s}.lora_up.weight"].float().flatten(1) @ t[f"{s}.lora_down.weight"].float().flatten(1)
        for s in stems
    }  # fmt: skip


@pytest.mark.parametrize("names", ["kohya", "peft"])
def test_a_file_of_either_kind_is_written_and_proved(names: Any, run: RunFolder, tmp_path: Path) -> None:
    out, told = tmp_path / "new" / "a.safetensors", []
    made = publish.publish(run, "a", Request(2, out, Words("A"), "fp32", names), lambda *words: told.append(words))
    assert made.path == out and made.proof is not None and "diffusers" in made.proof.sentence()
    assert [p.name for p in out.parent.iterdir()] == ["a.safetensors"], "nothing else is left"
    header = lora_file.read_header(out)
    assert header.metadata["modelspec.title"] == "A" and "modelspec.thumbnail" in header.metadata
    assert all(
        (".lora_A." in key or ".lora_B." in key or "magnitude" in key) == (names == "peft") for key in header.shapes
    )
    if names == "peft":
        trained = effects(run.checkpoint(2) / "lora.safetensors")
        tensors = safetensors.torch.load_file(out)
        module = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
        mine = tensors[f"{module}.lora_B.weight"] @ tensors[f"{module}.lora_A.weight"]
        stem = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
        torch.testing.assert_close(mine, trained[stem], rtol=1e-4, atol=1e-7)
        assert len(trained) == made.proof.layers
    assert told[0][0] == "Writing the LoRA file"


def test_a_dora_is_written_for_scripts_with_its_magnitudes(dora: RunFolder, tmp_path: Path) -> None:
    """diffusers loads those of UNet and text encoder (their loaders differ), and a planted fault in one is found."""
    out = tmp_path / "a.safetensors"
    made = publish.publish(dora, "a", Request(2, out, Words(), "bf16", "peft"))
    assert made.proof is not None and made.proof.programs == ("diffusers",)
    tensors, told = safetensors.torch.load_file(out), lora_file.read_header(out).metadata
    key = next(k for k in tensors if k.startswith("text_encoder.") and "magnitude" in k)
    tensors[key] = tensors[key] * 1.1
    safetensors.torch.save_file(tensors, out, told)
    with pytest.raises(ModelError, match="of text_encoder holds other numbers than were trained"):
        proof_peft.prove(dora, 2, out)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda t, k: t.update({k: t[k] * 1.1}), "holds other numbers than were trained"),
        (lambda t, k: t.update({k: t.pop(k.replace("to_v", "to_q")), k.replace("to_v", "to_q"): t[k]}), "other numbers"),
        (lambda t, k: (t.pop(k), t.pop(k.replace("lora_A", "lora_B"))), "was trained and is not loaded"),
        (lambda t, k: t.update({k.replace("to_v", "to_x"): t.pop(k)}), "finds no numbers for a layer"),
    ],
)  # fmt: skip
def test_a_planted_fault_in_a_file_for_scripts_is_found(
    damage: Any, sentence: str, run: RunFolder, for_scripts: Path, tmp_path: Path
) -> None:
    out = tmp_path / "a.safetensors"
    tensors, told = safetensors.torch.load_file(for_scripts), lora_file.read_header(for_scripts).metadata
    damage(tensors, "unet.up_blocks.1.attentions.0.transformer_blocks.0.attn1.to_v.lora_A.weight")
    safetensors.torch.save_file(tensors, out, told)
    with pytest.raises(ModelError, match=sentence):
        proof_peft.prove(run, 2, out)


def test_a_file_that_fails_its_proof_never_appears_and_the_old_one_stays(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ModelError("It would not load.")

    monkeypatch.setattr(proof, "prove_export", refuse)
    out = tmp_path / "a.safetensors"
    out.write_bytes(b"old")
    with pytest.raises(ModelError, match=r"It would not load\."):
        publish.publish(run, "a", Request(2, out, Words(), "fp16", overwrite=True))
    with pytest.raises(ModelError):
        publish.publish(run, "a", Request(2, tmp_path / "b", Words(), "fp16", is_bundle=True))
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.safetensors", b"old")]


@pytest.mark.parametrize("label", ["Writing the LoRA file", "Adding pictures", "Packing the pictures", "Packing"])
def test_a_bundle_can_be_given_up_at_any_time(label: str, run: RunFolder, tmp_path: Path) -> None:
    def stop(said: str, done: int, total: int) -> None:
        if said == label:
            raise Cancelled

    request = Request(2, tmp_path / "b.zip", Words(), "fp16", is_bundle=True, with_data=True, prove=False)
    with pytest.raises(Cancelled):
        publish.publish(run, "a", request, stop)
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_holds_everything(run: RunFolder, tmp_path: Path) -> None:
    request = Request(2, tmp_path / "b", Words("A"), "fp16", is_bundle=True, with_data=True, prove=False)
    made = publish.publish(run, "a", request)
    assert made.path == tmp_path / "b" / "a.safetensors" and made.previews == 1 and made.proof is None
    names = ["a.safetensors", "a_01.png", "a_data.zip", "description.md", "settings.toml"]
    assert sorted(p.name for p in (tmp_path / "b").iterdir()) == names
    bundle.check_target(tmp_path / "b", "a", overwrite=True)
    with pytest.raises(RunError, match="exists already"):
        publish.publish(run, "a", request)


def test_the_runs_checkpoints_are_no_place_for_an_export(run: RunFolder) -> None:
    out = run.checkpoint(2) / "lora.safetensors"
    before = out.read_bytes()
    for is_bundle in (False, True):
        with pytest.raises(RunError, match="lies among the run's checkpoints"):
            publish.publish(run, "a", Request(2, out, Words(), "fp16", is_bundle=is_bundle, overwrite=True))
    assert out.read_bytes() == before and len(list(out.parent.iterdir())) == 3
