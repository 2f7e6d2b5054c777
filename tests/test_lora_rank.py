"""How many singular values the rules keep, and decompositions of whole matrices against the exact one."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.lora_rank import Kind, Rule, shrunk, split

VALUES = torch.tensor([8.0, 4.0, 2.0, 1.0, 0.5])


@pytest.mark.parametrize(
    ("rule", "count"),
    [
        (Rule("rank", 3), 3),
        (Rule("rank", 9), 5),
        (Rule("cumulative", 0.5), 1),  # 8 of 15.5
        (Rule("cumulative", 0.52), 2),
        (Rule("cumulative", 12 / 15.5), 2),
        (Rule("cumulative", 1.0), 5),
        (Rule("ratio", 4.0), 3),  # 8 / 4 = 2 is still kept
        (Rule("ratio", 3.9), 2),
        (Rule("ratio", 1.0), 1),
        (Rule("energy", 80 / 85.25), 2),
        (Rule("frobenius", math.sqrt(84 / 85.25)), 3),
        (Rule("energy", 1.0, most=2), 2),  # the share, at most so many
        (Rule("energy", 0.1, most=4), 1),
    ],
)
def test_a_rule_keeps_so_many_values(rule: Rule, count: int) -> None:
    assert rule.count(VALUES) == rule.count(VALUES, wide=True) == count


@pytest.mark.parametrize(
    ("rule", "usual", "wide"),
    [
        (Rule("rank", 2, most_wide=4), 2, 4),
        (Rule("rank", 4, most_wide=1), 4, 1),
        (Rule("ratio", 100, most=3, most_wide=2), 3, 2),
        (Rule("ratio", 100, most_wide=2), 5, 2),
        (Rule("cumulative", 0.5, most=4, most_wide=4), 1, 1),
    ],
)
def test_wide_convolutions_have_a_limit_of_their_own(rule: Rule, usual: int, wide: int) -> None:
    assert (rule.count(VALUES), rule.count(VALUES, wide=True)) == (usual, wide)


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.floats(1e-3, 10), min_size=1, max_size=30),
    kind=st.sampled_from(["energy", "frobenius", "ratio", "rank"]),
    share=st.floats(0.05, 0.999),
    known=st.integers(1, 30),
    most=st.one_of(st.none(), st.integers(1, 30)),
)
def test_what_some_values_tell_is_what_all_tell(
    values: list[float], kind: Kind, share: float, known: int, most: int | None
) -> None:
    """Where the largest values do not decide, None is said, and never when all are known but the last ones are needed."""
    all_ = torch.tensor(sorted(values, reverse=True), dtype=torch.float64)
    amount = {"ratio": 1 / share, "rank": 1 + int(20 * share)}.get(kind, share)
    rule = Rule(kind, amount, most)
    found = rule.count_of_some(all_[:known], float(all_.square().sum()), wide=False)
    if found is not None:
        assert found == min(rule.count(all_), known)
        assert found == rule.count(all_) or (rule.limit(wide=False) or 99) <= known
    elif kind != "rank":
        assert rule.count(all_) >= min(known, len(all_))


def decaying(rows: int, columns: int, power: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A matrix with singular values 1 / n^power, and these; power 0.2: as flat as differences of fully tuned models are."""
    generator = torch.Generator().manual_seed(seed)
    side = min(rows, columns)
    left, _ = torch.linalg.qr(torch.randn(rows, side, generator=generator, dtype=torch.float64))
    right, _ = torch.linalg.qr(torch.randn(columns, side, generator=generator, dtype=torch.float64))
    values = torch.arange(1, side + 1, dtype=torch.float64) ** -power
    return (left * values @ right.T).float(), values


@pytest.mark.parametrize("power", [0.2, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("shape", [(500, 700), (900, 400)])
def test_the_largest_values_of_a_large_matrix_keep_as_much_as_the_exact_ones(
    shape: tuple[int, int], power: float
) -> None:
    matrix, values = decaying(*shape, power)
    best = split(matrix, Rule("rank", 24))
    assert best.down.shape == (24, shape[1]) and best.up.shape == (shape[0], 24)
    exact = float(values[:24].square().sum())
    assert exact * 0.998 <= best.kept <= exact * 1.00001, "within 0.1 % of the length"
    assert best.whole == pytest.approx(float(values.square().sum()), rel=1e-5)
    error = float((best.up @ best.down - matrix).double().square().sum())
    assert error == pytest.approx(best.whole - best.kept, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("rule", [Rule("energy", 0.6), Rule("frobenius", 0.8), Rule("ratio", 12), Rule("cumulative", 0.4), Rule("energy", 0.999)], ids=str)  # fmt: skip
def test_shares_of_a_large_matrix_give_the_rank_that_all_its_values_give(rule: Rule) -> None:
    matrix, values = decaying(420, 640, 0.8)
    assert abs(len(split(matrix, rule).down) - rule.count(values)) <= 1


def test_a_small_matrix_and_a_product_are_exact() -> None:
    matrix, values = decaying(60, 40, 0.3)
    best = split(matrix, Rule("rank", 7))
    u, s, v = torch.linalg.svd(matrix.double(), full_matrices=False)
    torch.testing.assert_close((best.up @ best.down).double(), u[:, :7] * s[:7] @ v[:7], rtol=0, atol=1e-6)
    assert best.kept == pytest.approx(float(values[:7].square().sum()), rel=1e-6)
    same = shrunk(matrix, torch.eye(60), Rule("rank", 7))
    torch.testing.assert_close(same.up @ same.down, best.up @ best.down, rtol=0, atol=1e-6)


def test_the_same_matrix_gives_the_same_halves_whatever_was_drawn_before() -> None:
    matrix, _ = decaying(300, 500, 0.5)
    first = split(matrix, Rule("rank", 4))
    torch.randn(5)
    assert torch.equal(split(matrix, Rule("rank", 4)).up, first.up)
