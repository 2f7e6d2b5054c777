"""cpu_attention.py: as near to the exact result as torch's own kernel in bf16, in outputs and gradients."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from tests.test_fast_path import CPU, answer, apart, learned, made
from trainer import cpu_attention, families, quick
from trainer import device as devices

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.settings import TrainingSettings

Shape = tuple[int, int, int, int]


def drawn(shape: Shape, spread: float = 1.0, *, keys: int = 0) -> list[torch.Tensor]:
    """Queries, keys, values and the output's gradient, (B, heads, T, D) as a UNet has them: views of (B, T, heads x D).

    spread: the standard deviation of scores.
    """
    torch.manual_seed(1)
    batch, heads, tokens, width = shape
    out = []
    for number in range(4):
        rows = keys if keys and number in (1, 2) else tokens
        numbers = torch.randn(batch, rows, heads * width) * (spread**0.5 if number < 2 else 1)
        out.append(numbers.bfloat16().view(batch, rows, heads, width).transpose(1, 2))
    return out


WAYS = pytest.mark.parametrize(
    "attend",
    [cpu_attention.attention, functools.partial(cpu_attention.attention, there_too=False)],
    ids=["whole", "back"],
)


def found(attend: Any, drawn: list[torch.Tensor], dtype: torch.dtype) -> list[torch.Tensor]:
    """The output, and the gradients of queries, keys and values."""
    *sides, gradient = (side.to(dtype).detach() for side in drawn)
    for side in sides:
        side.requires_grad_()
    out = attend(*sides)
    out.backward(gradient)
    gradients = [side.grad for side in sides]
    assert out.dtype is dtype and all(g is not None and g.dtype is dtype for g in gradients)
    return [out.detach().float(), *(g.float() for g in gradients if g is not None)]


@pytest.mark.parametrize(
    ("shape", "spread"),
    [
        ((1, 2, 1024, 40), 1.0),  # several blocks of one head would need more tokens: see below
        ((2, 3, 576, 80), 1.0),
        ((1, 2, 520, 64), 2.0),  # no multiple of 64 tokens, no column to spare
        ((1, 1, 512, 160), 0.1),  # nearly even attention
        ((1, 2, 1024, 40), 6.0),  # a few keys of 1024 count
        ((1, 3, 17, 8), 1.0),
    ],
)
@WAYS
def test_it_is_as_near_to_fp32_as_torchs_own_kernel(attend: Any, shape: Shape, spread: float) -> None:
    sides = drawn(shape, spread)
    exact = found(scaled_dot_product_attention, sides, torch.float32)
    usual = found(scaled_dot_product_attention, sides, torch.bfloat16)
    quick = found(attend, sides, torch.bfloat16)
    for ours, theirs, truth in zip(quick, usual, exact, strict=True):
        assert ours.shape == truth.shape
        assert apart(ours, truth) < 2 * apart(theirs, truth) + 1e-3
        assert apart(ours, truth) < 1e-2


def test_blocks_of_rows_and_of_heads_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """As pictures of 1024 px have them, without their size."""
    sides = drawn((1, 5, 200, 40))
    whole = found(cpu_attention.attention, sides, torch.bfloat16)
    counts = set()
    for block in (16 * 200, 50 * 200, 200 * 200, 3 * 200 * 200):
        monkeypatch.setattr(cpu_attention, "_BLOCK", block)
        counts.add(len(list(cpu_attention._blocks(5, 200, 200))))
        for ours, truth in zip(found(cpu_attention.attention, sides, torch.bfloat16), whole, strict=True):
            assert apart(ours, truth) < 5e-3
    assert counts == {65, 25, 5, 2}


@WAYS
def test_other_counts_of_keys_than_of_queries(attend: Any) -> None:
    sides = drawn((2, 2, 96, 40), keys=77)
    exact = found(scaled_dot_product_attention, sides, torch.float32)
    for ours, truth in zip(found(attend, sides, torch.bfloat16), exact, strict=True):
        assert apart(ours, truth) < 1e-2


@WAYS
@pytest.mark.parametrize("size", [30.0, 300.0, 3000.0])
def test_a_key_that_the_sample_misses_is_not_lost(size: float, attend: Any) -> None:
    """One key answers to all queries, with scores that would overflow without the second look (2^128 is the end)."""
    query, key, value, gradient = drawn((1, 1, 1024, 40))
    needle = 5
    assert needle % cpu_attention._stride(1024), "the sample has it"
    direction = torch.zeros(40)
    direction[0] = size**0.5
    query, key = query * 0.1, key * 0.1
    query[..., 0], key[:, :, needle] = direction[0], (direction * 40**0.5).bfloat16()
    exact = found(scaled_dot_product_attention, [query, key, value, gradient], torch.float32)
    ours = found(attend, [query, key, value, gradient], torch.bfloat16)
    assert all(side.isfinite().all() for side in ours)
    assert apart(ours[0], exact[0]) < 1e-2
    assert apart(ours[3], exact[3]) < 1e-2


@WAYS
def test_what_is_no_number_stays_none(attend: Any) -> None:
    """A run that diverges has to be seen as such."""
    query, key, value, _ = drawn((1, 1, 600, 40))
    query[0, 0, 3] = torch.nan
    out = attend(query, key, value)
    assert out[0, 0, 3].isnan().all() and out[0, 0, 4].isfinite().all()


@WAYS
def test_nothing_is_kept_without_gradients(attend: Any) -> None:
    query, key, value, _ = drawn((1, 2, 600, 40))
    with torch.no_grad():
        assert attend(query, key, value).grad_fn is None


# In a UNet


@pytest.fixture
def for_few(monkeypatch: pytest.MonkeyPatch) -> list[Shape]:
    """Takes the quick way for the few tokens of tiny models too; notes its calls."""
    monkeypatch.setattr(cpu_attention, "LEAST_TOKENS", 1)
    monkeypatch.setattr(cpu_attention, "LEAST_TOKENS_BACK", 1)
    calls: list[Shape] = []
    plain = cpu_attention.attention

    def noted(*sides: torch.Tensor, there_too: bool) -> torch.Tensor:
        calls.append(tuple(sides[0].shape))
        return plain(*sides, there_too=there_too)

    monkeypatch.setattr(cpu_attention, "attention", noted)
    return calls


@pytest.mark.parametrize("there_too", [True, False])
@pytest.mark.parametrize("family", families.FAMILIES)
def test_a_unet_answers_and_learns_the_same(
    family: str, there_too: bool, tiny_models: dict[str, Path], for_few: list[Shape]
) -> None:
    exact_out, exact = learned(made(tiny_models[family], torch.float32), torch.float32)
    usual_out, usual = learned(made(tiny_models[family], torch.bfloat16), torch.bfloat16)
    adapter = made(tiny_models[family], torch.bfloat16)
    adapter.fuse()
    count = cpu_attention.use(adapter.backbone.part("unet"), there_too=there_too)
    out, gradients = learned(adapter, torch.bfloat16)
    assert count == len(for_few) > 5
    assert apart(out, exact_out) < 1.3 * apart(usual_out, exact_out) + 2e-3
    together = [torch.cat([g[name].flatten() for name in exact]) for g in (gradients, usual, exact)]
    assert apart(together[0], together[2]) < 1.3 * apart(together[1], together[2]) + 2e-3


def test_few_tokens_and_fp32_go_the_usual_way(tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[None] = []
    monkeypatch.setattr(cpu_attention, "attention", lambda *sides, **way: calls.append(None))
    adapter = made(tiny_models["sd1"], torch.bfloat16)
    cpu_attention.use(adapter.backbone.part("unet"))
    answer(adapter.backbone, torch.bfloat16)
    monkeypatch.setattr(cpu_attention, "LEAST_TOKENS", 1)
    monkeypatch.setattr(cpu_attention, "LEAST_TOKENS_BACK", 1)
    plain, exact = made(tiny_models["sd1"], torch.float32), made(tiny_models["sd1"], torch.float32)
    cpu_attention.use(exact.backbone.part("unet"))
    assert torch.equal(answer(exact.backbone, torch.float32), answer(plain.backbone, torch.float32))
    assert calls == []


@pytest.mark.parametrize(("setting", "pays", "used"), [(True, True, True), (True, False, False), (False, True, False)])
def test_it_is_used_when_it_pays_and_is_wanted(
    setting: bool, pays: bool, used: bool, tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "attends_quickly", lambda device, dtype: pays)
    adapter = made(tiny_models["sd1"], torch.bfloat16)
    settings = _settings(quick_attention=setting)
    quick.ready(adapter, settings, quick.Work(CPU, torch.bfloat16), lambda sentence: None)
    processors = [m.processor for m in adapter.backbone.part("unet").modules() if hasattr(m, "processor")]
    assert processors and all(isinstance(p, cpu_attention.Processor) is used for p in processors)


def _settings(**changes: Any) -> TrainingSettings:
    from trainer.settings import TrainingSettings

    return TrainingSettings(**changes)


@pytest.mark.parametrize(
    ("device", "dtype", "bf16", "pays"),
    [
        ("cpu", torch.bfloat16, True, True), ("cpu", torch.bfloat16, False, False), ("cpu", torch.float32, True, False),
        ("cuda", torch.bfloat16, True, False),
    ],
)  # fmt: skip
def test_where_it_pays(
    device: str, dtype: torch.dtype, bf16: bool, pays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "_cpu_computes_bf16", lambda: bf16)
    assert devices.attends_quickly(torch.device(device), dtype) is pays


@pytest.mark.parametrize("amx", [True, False])
def test_with_amx_torchs_kernel_takes_the_way_there(
    amx: bool, tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "_cpu_computes_bf16", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    adapter = made(tiny_models["sd1"], torch.bfloat16)
    quick.ready(adapter, _settings(), quick.Work(CPU, torch.bfloat16), lambda sentence: None)
    ways: list[bool] = []
    monkeypatch.setattr(cpu_attention, "LEAST_TOKENS", 1)
    monkeypatch.setattr(cpu_attention, "LEAST_TOKENS_BACK", 1)
    plain = cpu_attention.attention

    def noted(*sides: torch.Tensor, there_too: bool) -> torch.Tensor:
        ways.append(there_too)
        return plain(*sides, there_too=there_too)

    monkeypatch.setattr(cpu_attention, "attention", noted)
    answer(adapter.backbone, torch.bfloat16)
    assert set(ways) == {not amx}
