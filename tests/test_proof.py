"""proof.py: exported files of each family are proved, planted faults are caught, and the model goes on as if nothing had been."""

from __future__ import annotations

import importlib
import json
import math
import re
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import safetensors.torch
import torch

from tests.conftest import draw_pictures
from tests.runs import make_run, train
from trainer import adapter as adapters
from trainer import clients, export, families, loaded_layers, loop, packed, proof
from trainer.adapter import Adapter
from trainer.errors import ModelError, RunError
from trainer.events import Exported, Failed
from trainer.families import FAMILIES
from trainer.families import clients as rules
from trainer.families.single_file import config_folder
from trainer.proof import Proof
from trainer.settings import TrainingSettings
from trainer.tasks import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from trainer.run_folder import RunFolder

Tensors = dict[str, torch.Tensor]
ALL = ("attention", "feed_forward", "projections", "convolutions")
CPU = torch.device("cpu")
KNOWN = ("A1111", "Forge", "ComfyUI", "diffusers")  # InvokeAI tells SD 1 and 2 by widths that tiny models do not have
METADATA = {
    "sd1": {"ss_base_model_version": "sd_v1", "ss_v2": "False", "modelspec.architecture": "stable-diffusion-v1/lora"},
    "sd2": {"ss_base_model_version": "sd_v2", "ss_v2": "True", "modelspec.architecture": "stable-diffusion-v2-512/lora"},
    "sdxl": {"ss_base_model_version": "sdxl_base_v1-0", "modelspec.architecture": "stable-diffusion-xl-v1-base/lora"},
}  # fmt: skip


FEW = ("blocks.1.attentions.0.transformer_blocks.0.", "layers.0.")


def trained(
    folder: Path,
    *,
    dtype: torch.dtype = torch.float32,
    strength: float = 0.05,
    where: tuple[str, ...] = FEW,
    **changes: Any,
) -> Adapter:
    """An adapter with random numbers in its layers, as if it had been trained. where: in paths of the layers that get one."""
    backbone = families.load(folder)
    backbone.load_unet(dtype, CPU)
    backbone.load_text_encoders(dtype, CPU)
    values = {"rank": 4, "alpha": 2.0, "targets": ("attention",), "train_text_encoder": True} | changes
    settings = TrainingSettings(**values)
    sizes = adapters.fresh_sizes(backbone, settings)
    some = {part: {n: size for n, size in of.items() if any(w in n for w in where)} for part, of in sizes.items()}
    out = Adapter(backbone, some, settings)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for layer in out.layers.values():
            up = layer.lora_B["default"].weight
            up.copy_(torch.randn(up.shape, generator=generator) * strength)
    return out


def exported(adapter: Adapter, path: Path, precision: str = "fp16", tensors: Tensors | None = None) -> Path:
    export.write(path, tensors or adapter.tensors(), METADATA[adapter.backbone.family.id], precision)
    return path


@dataclass(frozen=True)
class Case:
    """A trained adapter, and what is left of its proof when a file was changed."""

    adapter: Adapter
    path: Path

    def proved_with(self, change: Callable[[Tensors], None]) -> Proof:
        tensors = self.adapter.tensors()
        change(tensors)
        return proof.of_adapter(self.adapter, exported(self.adapter, self.path, "fp32", tensors))


@pytest.fixture(scope="module", params=list(FAMILIES))
def full(request: pytest.FixtureRequest, tiny_models: dict[str, Path]) -> Adapter:
    """All kinds of layers in UNet and text encoders, convolutions with a rank and an alpha of their own."""
    return trained(tiny_models[request.param], targets=ALL, conv_rank=2, conv_alpha=3.0, where=("",))


@pytest.fixture(scope="module")
def case(tiny_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(trained(tiny_models["sdxl"], strength=0.1), tmp_path_factory.mktemp("faults") / "a.safetensors")


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Tiny models are slower on several."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# Good files


def test_an_exported_file_is_proved(full: Adapter, tmp_path: Path) -> None:
    found = proof.of_adapter(full, exported(full, tmp_path / "a.safetensors"))
    assert found.largest_difference < 1e-3 and found.effect > 0.3 and not found.skipped
    assert found.layers == len(full.layers)
    known = clients.PROGRAMS if full.backbone.family.id == "sdxl" else KNOWN
    assert found.programs == known
    assert found.sentence().startswith(f"Loads in {', '.join(known[:-1])} and diffusers; largest difference from the ")


@pytest.mark.parametrize(("precision", "limit"), [("bf16", 1e-2), ("fp16", 1e-3), ("fp32", 1e-5)])
def test_the_difference_is_that_of_the_files_precision(precision: str, limit: float, case: Case) -> None:
    found = proof.of_adapter(case.adapter, exported(case.adapter, case.path, precision))
    assert found.largest_difference < limit < found.effect
    assert precision == "fp32" or found.largest_difference > limit / 100


def test_a_weak_lora_on_a_bf16_model_is_measured_beyond_bf16(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    """bf16 arithmetic scatters by about 0.03, which is more than this LoRA does."""
    adapter = trained(tiny_models["sd1"], dtype=torch.bfloat16, strength=2e-3)
    found = proof.of_adapter(adapter, exported(adapter, tmp_path / "a.safetensors"))
    assert found.effect < 0.03 and found.largest_difference < 1e-3 * found.effect + 1e-5


def test_dora_is_proved_for_the_programs_that_read_it(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    adapter = trained(tiny_models["sd1"], dora=True)
    found = proof.of_adapter(adapter, exported(adapter, tmp_path / "a.safetensors"))
    assert found.programs == ("Forge", "ComfyUI")
    assert 0 < found.largest_difference < 0.5 * found.effect
    assert "DoRA's magnitudes are ignored by diffusers." in found.sentence()

    tensors = adapter.tensors()
    name = next(key for key in tensors if key.endswith("dora_scale"))
    tensors[name] *= 1.1
    with pytest.raises(ModelError, match=r"holds other numbers than were trained .magnitude., as A1111"):
        proof.of_adapter(adapter, exported(adapter, tmp_path / "b.safetensors", "fp16", tensors))


def test_comfyuis_dora_is_the_plain_formula(tmp_path: Path) -> None:
    """On a module on its own: W' = m / |W| * (W + scale * up @ down), for matrices and convolutions, with their bias."""
    generator = torch.Generator().manual_seed(0)
    for base, shape in ((torch.nn.Linear(6, 5), (3, 6)), (torch.nn.Conv2d(6, 5, 3, padding=1), (3, 6, 3, 3))):
        down = torch.randn(*shape, generator=generator)
        up = torch.randn(5, 3, *[1] * (len(shape) - 2), generator=generator)
        magnitude = torch.rand(5, generator=generator) + 0.5
        weight = base.weight.detach().flatten(1)
        changed = (magnitude / weight.norm(dim=1))[:, None] * (weight + 0.5 * up.flatten(1) @ down.flatten(1))
        x = torch.randn(2, 6, *[4] * (len(shape) - 2), generator=generator)
        with torch.no_grad():
            effect = loaded_layers._Effect(loaded_layers.Layer(down, up, 0.5, magnitude), base)
            theirs = effect(base, (x,), base(x))
            base.weight.copy_(changed.reshape(base.weight.shape))
            torch.testing.assert_close(theirs, base(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_at_true_size_diffusers_places_all_layers_where_the_table_has_them(family: str, tmp_path: Path) -> None:
    """The published models, without their weights: 192 / 72, 192 / 138 and 722 / 264 layers."""
    facts = FAMILIES[family]
    configs = {
        part: json.loads((config_folder(family) / part / "config.json").read_text())
        for part in ("unet", *facts.text_parts)
    }
    kinds = importlib.import_module(facts.module).BACKBONE.text_model_classes
    empty = loaded_layers.frames(SimpleNamespace(text_model_classes=kinds), list(configs), configs)  # type: ignore[arg-type]
    modules = {
        (part, name.removeprefix("text_model.")): module for part, model in empty.items() for name, module in model.named_modules()
    }  # fmt: skip
    tensors: Tensors = {}
    for number, (stem, slot) in enumerate(rules.slots(family, rules.TRUE_SIZE[family]).items()):
        weight: Any = modules[slot.part, slot.module].weight
        if slot.kernel != 3 and "resnets" not in slot.module:
            tensors[f"{stem}.lora_down.weight"] = torch.full((1, *weight.shape[1:]), float(number))  # its own number
            tensors[f"{stem}.lora_up.weight"] = torch.ones(weight.shape[0], 1, *weight.shape[2:])
            tensors[f"{stem}.alpha"] = torch.tensor(1.0)
    counts = {"sd1": 192 + 72, "sd2": 192 + 138, "sdxl": 722 + 72 + 192}
    assert len(tensors) == 3 * counts[family]
    path = tmp_path / "a.safetensors"
    export.write(path, tensors, METADATA[family], "fp16")
    reading = clients.read(path, facts, rules.TRUE_SIZE[family])
    by_table = loaded_layers.by_rules(reading, tensors)
    assert loaded_layers.difference(by_table, loaded_layers.by_diffusers(path, empty), torch.float16) == ""


# Planted faults


def renamed(tensors: Tensors, old: str, new: str) -> None:
    for key in [key for key in tensors if old in key]:
        tensors[key.replace(old, new)] = tensors.pop(key)


def pick(tensors: Tensors, word: str, ending: str) -> str:
    return next(key for key in tensors if word in key and key.endswith(ending))


def q_and_k_swapped(tensors: Tensors) -> None:
    key = pick(tensors, "attn1_to_q", "lora_up.weight")
    other = key.replace("to_q", "to_k")
    tensors[key], tensors[other] = tensors[other], tensors[key]


def transposed(tensors: Tensors) -> None:
    """up @ down turned over, as a whole: on a square layer every program takes it without a word."""
    up, down = (pick(tensors, "attn1_to_q", f"lora_{half}.weight") for half in ("up", "down"))
    tensors[up], tensors[down] = tensors[down].T.contiguous(), tensors[up].T.contiguous()


def one_half_transposed(tensors: Tensors) -> None:
    key = pick(tensors, "attn1_to_q", "lora_up.weight")
    tensors[key] = tensors[key].T.contiguous()


def no_alpha(tensors: Tensors) -> None:
    del tensors[pick(tensors, "attn2_to_v", "alpha")]


def wrong_alpha(tensors: Tensors) -> None:
    tensors[pick(tensors, "attn2_to_v", "alpha")] *= 2


def scale_folded_in_twice(tensors: Tensors) -> None:
    for key in tensors:
        if key.endswith("lora_up.weight"):
            tensors[key] = tensors[key] / 2


def a_layer_left_out(tensors: Tensors) -> None:
    stem = pick(tensors, "attn2_to_v", "alpha").removesuffix("alpha")
    for key in [key for key in tensors if key.startswith(stem)]:
        del tensors[key]


def a_layer_too_many(tensors: Tensors) -> None:
    for key in [key for key in tensors if "attn1_to_q." in key]:
        tensors[key.replace("attn1_to_q", "ff_net_2")] = tensors[key].clone()


def not_a_number(tensors: Tensors) -> None:
    tensors[pick(tensors, "te2", "lora_up.weight")].view(-1)[0] = (
        1e30  # what fp16 cannot hold is refused when it is written
    )


FAULTS: dict[str, tuple[Callable[[Tensors], None], str]] = {
    "a misspelt key": (lambda t: renamed(t, "attn2_to_k.", "attn2_to_key."), "the base model has no layer lora_unet_.*_to_key"),
    "swapped keys": (q_and_k_swapped, r"attn1\.to_[qk] of unet holds other numbers than were trained .*, as A1111"),
    "text_model left out": (lambda t: renamed(t, "te1_text_model_", "te1_"), "layer lora_te1_encoder_.* lacks text_model"),
    "encoders swapped": (lambda t: renamed(t, "lora_te1_", "lora_te9_"), "the base model has no layer lora_te9_"),
    "two spellings": (lambda t: renamed(t, "input_blocks_4_1", "down_blocks_1_attentions_0"), "in another spelling"),
    "no alpha": (no_alpha, r"attn2_to_v has no alpha; A1111, Forge, ComfyUI and InvokeAI take its rank for it"),
    "a wrong alpha": (wrong_alpha, r"attn2\.to_v of unet works 2 times as strongly as it was trained"),
    "a wrong scale": (scale_folded_in_twice, "holds other numbers than were trained .up."),
    "transposed": (transposed, r"attn1\.to_q of unet holds other numbers than were trained"),
    "one half transposed": (one_half_transposed, "the halves of layer .*attn1_to_q do not fit, .* one is transposed"),
    "a layer left out": (a_layer_left_out, r"attn2\.to_v of unet was trained and is not loaded"),
    "a layer too many": (a_layer_too_many, r"ff\.net\.2 of unet was never trained and is loaded"),
    "a broken number": (not_a_number, "layer .* of text_encoder_2 holds other numbers than were trained"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FAULTS)
def test_a_planted_fault_is_caught_and_said(kind: str, case: Case) -> None:
    change, message = FAULTS[kind]
    with pytest.raises(ModelError, match=rf"^a\.safetensors would not work as it was trained: .*{message}"):
        case.proved_with(change)


def test_without_a_fault_the_same_file_passes(case: Case) -> None:
    assert case.proved_with(lambda tensors: None).programs == clients.PROGRAMS


def test_a_truncated_file_is_caught(case: Case) -> None:
    exported(case.adapter, case.path)
    case.path.write_bytes(case.path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="is cut off: 100 bytes are missing"):
        proof.of_adapter(case.adapter, case.path)


def test_a_format_that_others_cannot_read_is_caught(case: Case) -> None:
    eights = {key: value.to(torch.float8_e4m3fn) for key, value in case.adapter.tensors().items()}
    safetensors.torch.save_file(eights, case.path, METADATA["sdxl"])
    with pytest.raises(ModelError, match="is saved as F8_E4M3; A1111 and others read only fp16"):
        proof.of_adapter(case.adapter, case.path)


def test_a_wrong_hash_is_caught(case: Case) -> None:
    told = METADATA["sdxl"] | {"sshs_model_hash": "0" * 64}
    safetensors.torch.save_file(case.adapter.tensors(), case.path, told)
    with pytest.raises(ModelError, match="the hash in its metadata is that of another file"):
        proof.of_adapter(case.adapter, case.path)


def by_diffusers(case: Case, change: Callable[[Tensors], None]) -> str:
    """How what diffusers loads differs from what was trained."""
    tensors, backbone = case.adapter.tensors(), case.adapter.backbone
    change(tensors)
    empty = loaded_layers.frames(backbone, case.adapter.parts, proof._configs(backbone))
    found = loaded_layers.by_diffusers(exported(case.adapter, case.path, "fp32", tensors), empty)
    return loaded_layers.difference(loaded_layers.of_adapter(case.adapter), found, torch.float32)


@pytest.mark.parametrize("change", [q_and_k_swapped, transposed, a_layer_left_out, scale_folded_in_twice])
def test_diffusers_reading_alone_finds_it_too(change: Callable[[Tensors], None], case: Case) -> None:
    """The two readers are independent: each is enough."""
    assert by_diffusers(case, change)


def test_diffusers_finds_all_right_where_nothing_is_wrong(case: Case) -> None:
    assert by_diffusers(case, lambda tensors: None) == ""


def test_alphas_that_diffusers_ignores_are_its_limit_and_no_fault(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    """diffusers 0.42 looks for the alphas of attentions under names that no module has."""
    backbone = families.load(tiny_models["sd1"])
    backbone.load_unet(torch.float32, CPU)
    sizes = {"unet": {f"mid_block.attentions.0.transformer_blocks.0.attn1.to_{w}": adapters.Size(2, a) for w, a in (("q", 2.0), ("k", 2.0), ("v", 1.0))}}  # fmt: skip
    adapter = Adapter(backbone, sizes, TrainingSettings())
    with torch.no_grad():
        for layer in adapter.layers.values():
            layer.lora_B["default"].weight.fill_(0.1)
    found = proof.of_adapter(adapter, exported(adapter, tmp_path / "a.safetensors"))
    assert found.programs == ("A1111", "Forge", "ComfyUI") and found.largest_difference < 1e-3
    assert re.search(
        r"not loaded as it was trained \(layer .*to_v of unet works 2 times as .*\) by diffusers\.", found.sentence()
    )


def test_what_diffusers_refuses_is_said_with_its_reason(case: Case) -> None:
    tensors = case.adapter.tensors()
    tensors["lora_unet_nonsense.weight"] = torch.zeros(2)
    configs = proof._configs(case.adapter.backbone)
    empty = loaded_layers.frames(case.adapter.backbone, case.adapter.parts, configs)
    with pytest.raises(ModelError, match=r"diffusers refuses it .The following keys have not been correctly renamed"):
        loaded_layers.by_diffusers(exported(case.adapter, case.path, "fp32", tensors), empty)


def test_a_file_that_only_diffusers_refuses_is_its_limit(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise KeyError("to_q")

    monkeypatch.setattr(loaded_layers.StableDiffusionXLLoraLoaderMixin, "load_lora_weights", refuse)
    found = proof.of_adapter(case.adapter, exported(case.adapter, case.path))
    assert found.programs == ("A1111", "Forge", "ComfyUI", "InvokeAI") and found.largest_difference < 1e-2
    assert found.limits == ("It is refused ('to_q') by diffusers",)


def test_answers_that_differ_are_caught_even_if_all_numbers_agree(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a program put the right layer into the wrong place in a way that neither table knows."""
    exported(case.adapter, case.path)
    real = loaded_layers.attached

    def weaker(layers: loaded_layers.Layers, backbone: Any) -> Any:
        return real(dict(list(layers.items())[: len(layers) // 2]), backbone)

    monkeypatch.setattr(loaded_layers, "attached", weaker)
    with pytest.raises(ModelError, match=r"answers differ by [\d.]+ from the training, where the LoRA itself changes"):
        proof.of_adapter(case.adapter, case.path)


# The model afterwards


@pytest.mark.parametrize("is_quick", [False, True], ids=["plain", "packed and fused"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_model_stays_as_it_was_bit_for_bit(
    dtype: torch.dtype, is_quick: bool, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    adapter = trained(tiny_models["sdxl"], dtype=dtype, dropout=0.0 if is_quick else 0.1, targets=ALL, strength=0.01)
    models = {part: adapter.backbone.part(part) for part in adapter.parts}
    if is_quick:
        assert all(packed.pack(model) for model in models.values()) and adapter.fuse()
    models["unet"].train()
    models["text_encoder"].eval()

    def state() -> list[Any]:
        modules = [m for model in models.values() for m in model.modules()]
        weights = [p for model in models.values() for p in model.parameters()]
        facts = [(id(p), p.data_ptr(), p.dtype, p.requires_grad) for p in weights]
        hooks = [
            (len(m._forward_hooks), len(m._forward_pre_hooks), m.training, vars(m).get("forward")) for m in modules
        ]
        configs = [sorted(getattr(model, "peft_config", {})) for model in models.values()]
        return [facts, hooks, configs, [name for model in models.values() for name, _ in model.named_modules()]]

    before, copies = state(), [p.detach().clone() for model in models.values() for p in model.parameters()]
    random = torch.get_rng_state()
    path = exported(adapter, tmp_path / "a.safetensors")
    found = proof.of_adapter(adapter, path)
    assert found.largest_difference < 1e-3 * found.effect + 1e-4
    with pytest.raises(ModelError):  # and after a fault in the middle of it
        Case(adapter, path).proved_with(wrong_alpha)
    assert state() == before
    now = [p for model in models.values() for p in model.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(copies, now, strict=True))
    assert torch.equal(torch.get_rng_state(), random)


def test_frames_take_no_memory(tiny_models: dict[str, Path]) -> None:
    backbone = families.load(tiny_models["sdxl"])
    empty = loaded_layers.frames(backbone, ["unet", "text_encoder_2"], proof._configs(backbone))
    for model in empty.values():
        weights = list(model.parameters())
        assert sum(p.numel() for p in weights) > 20_000
        assert sum(p.untyped_storage().nbytes() for p in weights) == 4 * len(weights)


# Runs and exports


@pytest.fixture(scope="module")
def run(tiny_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, Exported]:
    """Two steps of SD 1 with its text encoder, and what was said of the file."""
    folder = tmp_path_factory.mktemp("proof")
    run = make_run(
        tiny_models["sd1"], draw_pictures(folder / "pictures", 2), folder / "runs", steps=2, train_text_encoder=True, previews=[],
        save_every_steps=1, keep_checkpoints=0,
    )  # fmt: skip
    return run, next(e for e in train(run) if isinstance(e, Exported))


def test_a_run_tells_of_the_proof(run: tuple[RunFolder, Exported]) -> None:
    folder, event = run
    assert event.programs == "A1111, Forge, ComfyUI, diffusers"
    assert 0 <= event.model_difference < 1e-2
    assert event.proof.startswith("Loads in A1111, Forge, ComfyUI and diffusers; largest difference")
    assert [p.name for p in folder.export.iterdir()] == ["test.safetensors"]


def test_a_run_whose_file_would_not_load_keeps_the_old_one_and_says_so(
    run: tuple[RunFolder, Exported], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, event = run
    before = (folder.path / event.path).read_bytes()
    real = Adapter.tensors

    def faulty(adapter: Adapter, *, copied: bool = True) -> Tensors:
        tensors = real(adapter, copied=copied)
        wrong_alpha(tensors)
        return tensors

    monkeypatch.setattr(Adapter, "tensors", faulty)
    with pytest.raises(ModelError, match="works 2 times as strongly as it was trained"):
        loop.train(folder, lambda event: None, type("No", (), {"poll": lambda self: []})())  # it only has to export
    assert (folder.path / event.path).read_bytes() == before
    assert [p.name for p in folder.export.iterdir()] == ["test.safetensors"]
    assert not any(isinstance(e, Failed) for e in [event])


def test_the_export_of_a_checkpoint_is_proved_against_it(run: tuple[RunFolder, Exported]) -> None:
    folder, event = run
    told: list[tuple[str, int, int]] = []
    found = proof.prove_export(folder, 2, folder.path / event.path, lambda *words: told.append(words))
    assert found.programs == KNOWN and found.largest_difference < 1e-2 and not found.skipped
    assert told == [
        ("Reading the file", 0, 3),
        ("Loading the base model", 1, 3),
        ("Comparing", 2, 3),
        ("Comparing", 3, 3),
    ]


def test_the_export_of_another_checkpoint_is_not(run: tuple[RunFolder, Exported]) -> None:
    folder, event = run
    with pytest.raises(ModelError, match="holds other numbers than were trained"):
        proof.prove_export(folder, 1, folder.path / event.path)


def test_the_proof_of_an_export_can_be_given_up(run: tuple[RunFolder, Exported]) -> None:
    folder, event = run

    def tell(label: str, done: int, total: int) -> None:
        if label == "Loading the base model":
            raise Cancelled

    with pytest.raises(Cancelled):
        proof.prove_export(folder, 2, folder.path / event.path, tell)


REASONS = {
    "gone": "There is no base model",
    "another": r".*sdxl is another model now \(SDXL\)",
    "too large": r"the base model needs 1\.\d GB of memory, and 0\.0 GB are free",
}


@pytest.mark.parametrize("reason", REASONS)
def test_without_the_base_model_numbers_are_compared_and_the_proof_says_so(
    reason: str, run: tuple[RunFolder, Exported], tiny_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder, event = run
    if reason == "too large":
        monkeypatch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"available": 10})())
    else:
        base = tmp_path / "gone" if reason == "gone" else tiny_models["sdxl"]
        settings = folder.settings().model_copy(update={"base": str(base)})
        monkeypatch.setattr(type(folder), "settings", lambda self: settings)
    path = folder.path / event.path
    found = proof.prove_export(folder, 2, path)
    assert found.programs == KNOWN and math.isnan(found.largest_difference)
    assert re.search(f"what it does was not compared: {REASONS[reason]}", found.sentence())
    with pytest.raises(ModelError, match="holds other numbers than were trained"):
        proof.prove_export(folder, 1, path)


def test_a_file_with_layers_that_the_checkpoint_lacks_is_caught(
    run: tuple[RunFolder, Exported], tmp_path: Path
) -> None:
    folder, event = run
    tensors = safetensors.torch.load_file(folder.path / event.path)
    for change, message in ((a_layer_too_many, "was never trained; it is not of this checkpoint"), (a_layer_left_out, "1 of the trained layers are missing")):  # fmt: skip
        changed = dict(tensors)
        change(changed)
        path = tmp_path / "a.safetensors"
        safetensors.torch.save_file(changed, path, METADATA["sd1"])
        with pytest.raises(ModelError, match=message):
            proof.prove_export(folder, 2, path)


def test_a_damaged_checkpoint_is_said(run: tuple[RunFolder, Exported], tmp_path: Path) -> None:
    folder, event = run
    source = folder.checkpoint(1) / "lora.safetensors"
    before = source.read_bytes()
    try:
        source.write_bytes(before[:-9])
        with pytest.raises(
            RunError, match=r"The checkpoint .*lora\.safetensors is damaged; the file cannot be compared"
        ):
            proof.prove_export(folder, 1, folder.path / event.path)
    finally:
        source.write_bytes(before)


# The sentence


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (
            Proof(clients.PROGRAMS, 0.00043, 264, effect=0.314),
            "Loads in A1111, Forge, ComfyUI, InvokeAI and diffusers; largest difference from the trained model 0.0004, where the LoRA itself changes 0.3.",
        ),
        (
            Proof(("Forge", "ComfyUI"), 3e-8, 264, effect=1.52, limits=("One", "Two")),
            "Loads in Forge and ComfyUI; largest difference from the trained model below 0.000001, where the LoRA itself changes 1.5. One. Two.",
        ),
        (
            Proof(("Forge",), 0.0, 264, effect=0.00002),
            "Loads in Forge; largest difference from the trained model 0, where the LoRA itself changes 0.00002.",
        ),
        (
            Proof(("diffusers",), math.nan, 3, "It is gone."),
            "Loads in diffusers by its names, shapes and numbers; what it does was not compared: It is gone.",
        ),
        (
            Proof((), math.nan, 0, "no family"),
            "Loads in no program by its names, shapes and numbers; what it does was not compared: no family.",
        ),
    ],
)  # fmt: skip
def test_the_proof_is_a_sentence(found: Proof, sentence: str) -> None:
    assert found.sentence() == sentence
