"""Best approximations of lower rank: how many singular values are kept, and the two halves that remain.

Eckart and Young 1936. Of a product of two small halves, dW = up @ down, the singular values are those of a small core,
dW = Qu (Ru Rd^T) Qd^T with up = Qu Ru and down^T = Qd Rd, so that dW itself is never made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

Kind = Literal["rank", "energy", "frobenius", "cumulative", "ratio"]

_EXACT = 256  # up to this side a full decomposition takes milliseconds
_MORE, _MOST_ROUNDS = 16, 24  # columns beyond those wanted, and power iterations, of the random range finder
_ENOUGH = 1 + 1e-4  # a round that adds less to the energy kept is the last


@dataclass(frozen=True)
class Rule:
    """How many singular values S of each layer are kept, largest first.

    rank: `amount` of them. energy: the fewest whose squares sum up to that share of all squares. frobenius: the same for
    the root of that share, the part of dW's length that is left (kohya's sv_fro). cumulative: the fewest that sum up to
    that share of the plain sum (sv_cumulative). ratio: those of at least the largest / `amount` (sv_ratio).

    most, most_wide: never more; most_wide is for 3x3 convolutions, where None takes `most`.
    """

    kind: Kind
    amount: float
    most: int | None = None
    most_wide: int | None = None

    def limit(self, *, wide: bool) -> int | None:
        """The highest rank of a layer; None for any."""
        usual = int(self.amount) if self.kind == "rank" else self.most
        return self.most_wide if wide and self.most_wide is not None else usual

    def count(self, values: torch.Tensor, *, wide: bool = False) -> int:
        """How many of all these values, largest first, are kept; at least one."""
        values = values.double()
        return self._limited(self._wanted(values, float(values.square().sum())), len(values), wide)

    def count_of_some(self, values: torch.Tensor, energy: float, *, wide: bool) -> int | None:
        """The same when only the largest values are known, and the sum of all squares; None when these are too few.

        cumulative asks for the sum of all values, so it cannot be told from some.
        """
        wanted = self._wanted(values.double(), energy)
        limit = self.limit(wide=wide)
        if wanted >= len(values) and (limit is None or limit > len(values)):
            return None
        return self._limited(wanted, len(values), wide)

    def _wanted(self, values: torch.Tensor, energy: float) -> int:
        """As the kind says, without limits."""
        if self.kind == "rank":
            return len(values)
        if self.kind == "ratio":
            return int((values >= values[0] / self.amount).sum())
        if self.kind == "cumulative":
            sums, share = values.cumsum(0), self.amount * float(values.sum())
        else:
            sums, share = values.square().cumsum(0), (self.amount**2 if self.kind == "frobenius" else self.amount) * energy  # fmt: skip
        return 1 + int((sums < share * (1 - 1e-12)).sum())

    def _limited(self, wanted: int, there: int, wide: bool) -> int:
        limit = self.limit(wide=wide)
        return max(1, min(wanted, there, there if limit is None else limit))


@dataclass(frozen=True)
class Halves:
    """An approximation up @ down: down (rank, inputs), up (outputs, rank), each with the root of the singular values.

    kept, whole: sums of the squared singular values that are left, and of all.
    """

    down: torch.Tensor
    up: torch.Tensor
    kept: float
    whole: float


def shrunk(down: torch.Tensor, up: torch.Tensor, rule: Rule, *, wide: bool = False) -> Halves:
    """The best approximation of up @ down, without making it. Cost: that of QR, linear in the module's size.

    In fp64, as squares of singular values are compared.
    """
    left, small_left = torch.linalg.qr(up.double())
    right, small_right = torch.linalg.qr(down.double().T)
    u, values, v = torch.linalg.svd(small_left @ small_right.T, full_matrices=False)
    count = rule.count(values, wide=wide)
    return _halves(left @ u[:, :count], values, (right @ v[:count].T).T, float(values.square().sum()))


def split(matrix: torch.Tensor, rule: Rule, *, wide: bool = False) -> Halves:
    """The best approximation of a whole matrix (outputs, inputs), fp32.

    Of large matrices only the largest singular values are computed, as many as the rule needs, by a random range finder
    (Halko, Martinsson, Tropp 2011, https://arxiv.org/abs/0909.4061, algorithms 4.4 and 5.1) with power iterations until the
    energy kept hardly grows: two for a difference of low rank, about ten where the values hardly fall. The length that is
    kept is that of the exact decomposition within 0.1 %.
    """
    side = min(matrix.shape)
    energy = float(matrix.double().square().sum()) if side > _EXACT else 0.0
    count = rule.limit(wide=wide) or 32
    while side > _EXACT and count + _MORE < side // 3 and rule.kind != "cumulative":
        u, values, v = _largest(matrix, count)
        if (found := rule.count_of_some(values, energy, wide=wide)) is not None:
            return _halves(u[:, :found], values, v[:found], energy)
        count *= 2
    u, values, v = torch.linalg.svd(matrix.double() if side <= _EXACT else matrix, full_matrices=False)
    found = rule.count(values, wide=wide)
    return _halves(u[:, :found], values, v[:found], float(values.double().square().sum()))


def _halves(u: torch.Tensor, values: torch.Tensor, v: torch.Tensor, whole: float) -> Halves:
    kept = values[: u.shape[1]]
    root = kept.sqrt()
    down, up = (v * root[:, None]).float(), (u * root).float()
    return Halves(down.contiguous(), up.contiguous(), float(kept.double().square().sum()), whole)


def _largest(matrix: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Nearly the largest `count` singular values with their vectors; the same for the same matrix."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(matrix.shape[1], count + _MORE, generator=generator)
    kept = 0.0
    for _ in range(_MOST_ROUNDS):
        basis, _ = torch.linalg.qr(matrix @ start)
        start, small = torch.linalg.qr(matrix.T @ basis)
        u, values, v = torch.linalg.svd(small.T)
        before, kept = kept, float(values[:count].double().square().sum())
        if kept <= before * _ENOUGH:
            break
    return basis @ u[:, :count], values[:count], (start @ v[:count].T).T
