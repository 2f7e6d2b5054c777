"""compiled.py on a CPU, with the backend that traces and differentiates but generates no code; GPUs are played."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch._dynamo
from diffusers.models.attention import BasicTransformerBlock
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer

from trainer import compiled, fused_lora, quick
from trainer import device as devices
from trainer.settings import TrainingSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore")  # torch warns of what it does itself while it traces
CUDA = torch.device("cuda")
SIZES = ((24, 2), (20, 2))  # tokens and pictures; none is a width of the blocks


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(compiled, "user_cache_folder", lambda: tmp_path)
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    torch._dynamo.reset()
    yield
    os.environ.pop("TORCHINDUCTOR_CACHE_DIR", None)
    torch._dynamo.reset()


class Blocks(torch.nn.Module):
    """Equal transformer blocks with adapters that do something, one after the other, as in a UNet."""

    def __init__(self, count: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blocks = torch.nn.ModuleList(
            BasicTransformerBlock(16, 2, 8, cross_attention_dim=12) for _ in range(count)
        ).requires_grad_(False)
        names = [n for n, _ in self.named_modules() if n.endswith((".to_q", ".to_k", ".to_v", ".to_out.0", ".net.2"))]
        inject_adapter_in_model(LoraConfig(r=2, lora_alpha=2.0, target_modules=names), self)
        self.trained = [p for p in self.parameters() if p.requires_grad]
        for parameter in self.trained:
            torch.nn.init.normal_(parameter, std=0.2)

    def fuse(self) -> None:
        fused_lora.fuse([m for m in self.modules() if isinstance(m, LoraLayer)], "default")

    def forward(self, x: torch.Tensor, told: torch.Tensor, *, checkpointed: bool = False) -> torch.Tensor:
        for block in self.blocks:
            if checkpointed:
                x = torch.utils.checkpoint.checkpoint(
                    block.__call__, x, encoder_hidden_states=told, use_reentrant=False
                )
            else:
                x = block(x, encoder_hidden_states=told)
        return x


def learned(model: Blocks, size: tuple[int, int], **options: Any) -> tuple[torch.Tensor, list[torch.Tensor]]:
    torch.manual_seed(4)
    model.zero_grad()
    x, told = torch.randn(size[1], size[0], 16, requires_grad=True), torch.randn(size[1], 5, 12)
    out = model(x, told, **options)
    out.square().mean().backward()
    return out.detach(), [p.grad.clone() for p in model.trained if p.grad is not None]


def assert_same(found: Any, expected: Any) -> None:
    torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=1e-6)
    assert len(found[1]) == len(expected[1]) > 15
    for ours, theirs in zip(found[1], expected[1], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=1e-7)


class Counted:
    """A backend that counts the graphs that are given to it."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph: Any, examples: Any) -> Any:
        self.graphs += 1
        return torch._dynamo.lookup_backend("aot_eager")(graph, examples)


def test_equal_blocks_share_their_graph_and_learn_the_same() -> None:
    expected = [learned(Blocks(), size) for size in SIZES]
    told: list[str] = []
    counted = Counted()
    model = Blocks()
    assert compiled.compile_blocks(model, told.append, sizes=2, backend=counted) == 3  # type: ignore[arg-type]
    graphs = []
    for size, wanted in zip(SIZES, expected, strict=True):
        assert_same(learned(model, size), wanted)
        graphs.append(counted.graphs)
    assert told == []
    assert 1 <= graphs[0] < 3, "fewer than blocks"
    assert graphs[1] == graphs[0], "another size needs no other graph"


@pytest.mark.parametrize("fused", [False, True])
def test_checkpointed_and_fused_blocks_learn_the_same(fused: bool) -> None:
    expected = learned(Blocks(2), SIZES[0])
    model = Blocks(2)
    if fused:
        model.fuse()
    compiled.compile_blocks(model, pytest.fail, backend="aot_eager")
    assert_same(learned(model, SIZES[0], checkpointed=True), expected)


def test_previews_are_not_compiled() -> None:
    counted = Counted()
    model = Blocks(1)
    compiled.compile_blocks(model, pytest.fail, backend=counted)  # type: ignore[arg-type]
    with torch.no_grad():
        model(torch.randn(1, 4, 16), torch.randn(1, 5, 12))
    assert counted.graphs == 0


def broken(graph: Any, examples: Any) -> Any:
    raise RuntimeError("no C compiler\nand a long story about it")


def test_a_failure_is_told_once_and_the_step_goes_on() -> None:
    expected = learned(Blocks(2), SIZES[0])
    told: list[str] = []
    model = Blocks(2)
    compiled.compile_blocks(model, told.append, backend=broken)  # type: ignore[arg-type]
    for _ in range(2):
        assert_same(learned(model, SIZES[0]), expected)
    assert len(told) == 1
    assert told[0].startswith("Compiling the model's blocks failed (RuntimeError: no C compiler); ")
    assert told[0].endswith("the run goes on without, a little slower. Set compile to off to skip the attempt.")


def test_a_failure_in_a_later_block_leaves_the_way_back_as_the_way_there_was() -> None:
    """The first block was compiled when the second one failed; computed again otherwise, it would keep other tensors."""
    expected = learned(Blocks(2), SIZES[0])
    told: list[str] = []
    model = Blocks(2)
    compiled.compile_blocks(model, told.append, backend="aot_eager")
    model.blocks[1].forward._compiled = broken  # type: ignore[union-attr]
    for _ in range(2):
        assert_same(learned(model, SIZES[0], checkpointed=True), expected)
    assert len(told) == 1


def test_a_way_back_that_cannot_be_compiled_is_seen_on_the_way_there() -> None:
    """Else backward() would fail, after the forward pass whose results it needs."""
    from torch._dynamo.backends.common import aot_autograd

    def plain(graph: Any, examples: Any) -> Any:
        return torch._dynamo.disable(graph.forward)

    expected = learned(Blocks(1), SIZES[0])
    told: list[str] = []
    model = Blocks(1)
    compiled.compile_blocks(model, told.append, backend=aot_autograd(fw_compiler=plain, bw_compiler=broken))
    assert_same(learned(model, SIZES[0]), expected)
    assert len(told) == 1 and "no C compiler" in told[0]


def test_full_memory_is_no_failure_of_the_compiler() -> None:
    def full(*args: Any, **options: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    told: list[str] = []
    forward = compiled._Compiled(full, full, compiled._Switch(told.append))
    with pytest.raises(torch.OutOfMemoryError):
        forward(torch.zeros(1))
    assert told == []


@pytest.mark.parametrize(
    ("setting", "device", "steps", "triton", "expected"),
    [
        ("auto", "cuda", 1000, True, True),
        ("auto", "cuda", 1000, False, False),
        ("auto", "cuda", 100, True, False),
        ("on", "cuda", 1, False, True),
        ("off", "cuda", 1000, True, False),
        ("on", "cpu", 1000, True, False),  # it takes minutes there, and the gradients of bf16 came out as zeros
        ("on", "mps", 1000, True, False),
    ],
)
def test_when_it_is_done(
    setting: str, device: str, steps: int, triton: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled.importlib.util, "find_spec", lambda name: object() if triton else None)
    assert compiled.wanted(setting, torch.device(device), steps) is expected


def test_what_was_compiled_is_kept_for_the_next_run(tmp_path: Path) -> None:
    compiled.compile_blocks(Blocks(1), pytest.fail, backend="aot_eager")
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "compiled")


def test_a_failure_lets_the_layers_be_fused_after_all(
    tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A played GPU: what runs there while compiled are peft's plain layers, and the quick ones if compiling fails."""
    from tests.test_fast_path import CPU, learned, made

    monkeypatch.setattr(compiled, "wanted", lambda setting, device, steps: True)
    compile_blocks = compiled.compile_blocks
    monkeypatch.setattr(compiled, "compile_blocks", lambda *a, **o: compile_blocks(*a, **o, backend=broken))
    told: list[str] = []
    _, expected = learned(made(tiny_models["sd1"], torch.float32), torch.float32)
    adapter = made(tiny_models["sd1"], torch.float32)
    settings = TrainingSettings(packed_weights="off")
    quick.ready(adapter, settings, quick.Work(CPU, torch.float32, steps=1000), told.append)
    assert not any("forward" in vars(layer) for layer in adapter.layers.values())
    learned(adapter, torch.float32)
    assert len(told) == 1
    assert not any("forward" in vars(layer) for layer in adapter.layers.values()), "not within the step"
    for parameter in adapter.parameters():
        parameter.grad = None
    _, found = learned(adapter, torch.float32)
    assert len(told) == 1
    assert any("forward" in vars(layer) for layer in adapter.layers.values())
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-7)


class FakeModel(torch.nn.Module):
    """Notes what it is moved to."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(4, 4, 3)


@pytest.mark.parametrize(("sizes", "tries"), [(1, True), (8, True), (9, False)])
def test_a_model_is_tuned_for_a_gpu_only(sizes: int, tries: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    precisions: list[str] = []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", precisions.append)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", not tries)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    model = FakeModel()
    for device in ("cpu", "mps"):
        devices.tune(model, torch.device(device), sizes)
    assert model.conv.weight.is_contiguous() and precisions == [] and torch.backends.cudnn.benchmark is not tries
    devices.tune(model, CUDA, sizes)
    assert model.conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert (torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32, precisions) == (tries, True, ["high"])
