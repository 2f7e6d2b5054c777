"""Self-attention in bf16 on a CPU, by large matrix products: a quarter less time than torch's own kernel on many tokens.

Torch's kernel multiplies in blocks so small that oneDNN reaches a third of its speed on them. Here a block is a few hundred
queries against all keys, about 4 MB of scores, which stay in the processor's cache. The scores exist as bf16 only, so they
are made small where it matters, for they are rounded: each query q_i gets an offset r_i near the mean of its scores,
weighted by the attention itself, and what is exponentiated is near 0 for the keys that count:

    P'_ij = 2^(a (q_i k_j - r_i)),  a = log2(e) / sqrt(D),    c_i = 1 / sum_j P'_ij,    o_i = c_i sum_j P'_ij v_j

The subtraction costs nothing: r_i is one more column of the queries, against a column of ones in the keys. The way back
computes P' again, key by key, so that no block has to be transposed (Dao et al. 2022, section 3, https://arxiv.org/abs/2205.14135;
g is the output's gradient, and D_i = g_i o_i again is a column):

    dv_j = sum_i P'_ij c_i g_i,   dS_ij = P'_ij (c_i g_i v_j - c_i D_i),   dk_j = sum_i dS_ij q_i / sqrt(D),   dq_i = sum_j dS_ij k_j / sqrt(D)

On CPUs with AMX torch's kernel is quicker there and slower back, so it takes the way there; what it tells of a row, log(sum_j
e^(s_ij)), gives the same c_i for any offset.

Switched off by the setting `quick_attention`, and by `device.attends_quickly` where it was not seen to pay.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from diffusers.models.attention_processor import AttnProcessor2_0

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diffusers.models.attention_processor import Attention

LEAST_TOKENS = 512  # with fewer, a step was no quicker (tests.benchmarks.step_speed 256)
LEAST_TOKENS_BACK = 2048  # the same for the way back alone
_BLOCK = 2**21  # scores in a block
_LANES = 16  # products whose width is a multiple of this are quickest
_SAMPLE = 64  # keys from which a query's offset is estimated
_MISSED = 64  # a mean weight above this: the estimate is off by more bits than bf16 has to spare


def use(model: torch.nn.Module, *, there_too: bool = True) -> int:
    """Lets the self-attentions of a UNet go the quick way, back and perhaps `there_too`; how many there are."""
    count = 0
    for module in model.modules():
        if type(getattr(module, "processor", None)) is AttnProcessor2_0:
            module.processor = Processor(there_too)
            count += not module.is_cross_attention
    return count


class Processor(AttnProcessor2_0):  # type: ignore[misc]  # diffusers is untyped
    """Diffusers' usual attention, except for self-attention on many tokens."""

    def __init__(self, there_too: bool) -> None:
        super().__init__()
        self._there_too = there_too

    def __call__(
        self, attn: Attention, hidden_states: torch.Tensor, encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None, *args: Any, **options: Any,
    ) -> torch.Tensor:  # fmt: skip
        """States (B, T, C) to states of that shape."""
        if encoder_hidden_states is not None or attention_mask is not None or not self._pays(attn, hidden_states):
            return super().__call__(attn, hidden_states, encoder_hidden_states, attention_mask, *args, **options)  # type: ignore[no-any-return]
        batch, tokens, _ = hidden_states.shape
        sides = (attn.to_q(hidden_states), attn.to_k(hidden_states), attn.to_v(hidden_states))
        query, key, value = (side.view(batch, tokens, attn.heads, -1).transpose(1, 2) for side in sides)
        out = attention(query, key, value, there_too=self._there_too).transpose(1, 2).reshape(batch, tokens, -1)
        return attn.to_out[1](attn.to_out[0](out))  # type: ignore[no-any-return]

    def _pays(self, attn: Attention, states: torch.Tensor) -> bool:
        least = LEAST_TOKENS if self._there_too else LEAST_TOKENS_BACK
        return states.dim() == 3 and states.shape[1] >= least and _is_plain(attn)


def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, there_too: bool = True) -> torch.Tensor:
    """softmax(q k^T / sqrt(D)) v for (B, heads, T, D) in bf16, differentiable. there_too: else torch's kernel computes it."""
    way = _Attention if there_too else _Back
    out: torch.Tensor = way.apply(*(side.flatten(0, 1) for side in (query, key, value)))  # type: ignore[no-untyped-call]
    return out.view(query.shape)


class _Attention(torch.autograd.Function):
    """The same for (N, T, D): heads of all pictures in a row."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        n, tokens, width = query.shape
        queries, keys = _with_columns(query, 0.0), _with_columns(key, 1.0)
        values = torch.nn.functional.pad(value, (0, _rounded(width) - width))
        out, shares = torch.empty_like(query), query.new_empty(n, tokens, 1, dtype=torch.float32)
        keys, sample = keys.transpose(1, 2), _sample(keys)
        room = query.new_empty(_room(n, tokens, key.shape[1]))
        for heads, rows in _blocks(n, tokens, key.shape[1]):
            some = queries[heads, rows]
            _set_offsets(some, sample[heads], width)
            weights = _weights(some, keys[heads], width, room)
            sums = _sums(weights)
            if not bool((sums <= _MISSED * key.shape[1]).all()):  # the sample missed keys that count: rare
                some[..., width] = 0
                some[..., width] = -torch.bmm(some, keys[heads]).amax(-1)
                sums = _sums(_weights(some, keys[heads], width, room))
            shares[heads, rows] = sums.reciprocal_()
            out[heads, rows] = torch.bmm(weights, values[heads])[..., :width] * sums
        ctx.save_for_backward(query, key, value, out, queries[..., width].clone(), shares)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return _gradients(gradient, *ctx.saved_tensors)


class _Back(torch.autograd.Function):
    """The same, with torch's kernel on the way there."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        kernel: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        out, logs = kernel(query[None], key[None], value[None])
        ctx.save_for_backward(query, key, value, out[0], logs[0])
        return out[0]  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, ...]:
        query, key, value, out, logs = ctx.saved_tensors
        width = query.shape[2]
        offsets = (-_means(query, key, logs) * width**0.5).to(query.dtype)
        shares = torch.exp(-offsets.float() * width**-0.5 - logs)[..., None]
        return _gradients(gradient, query, key, value, out, offsets, shares)


def _gradients(
    gradient: torch.Tensor, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, out: torch.Tensor, offsets: torch.Tensor,
    shares: torch.Tensor,
) -> tuple[torch.Tensor, ...]:  # fmt: skip
    """Of queries, keys and values (N, T, D). offsets: -r_i (N, T) in bf16; shares: c_i (N, T, 1) in fp32."""
    n, tokens, width = query.shape
    scale, even = width**-0.5, _rounded(width)
    queries, keys, values = _with_columns(query, 0.0), _with_columns(key, 1.0), _with_columns(value, 1.0)
    queries[..., width] = offsets
    shared = gradient * shares  # fp32
    gradients = _with_columns(shared.to(query.dtype), 0.0)
    gradients[..., width], gradients[..., width + 1] = _halves(-(shared * out).sum(-1))
    for_keys, for_values = torch.empty_like(key), torch.empty_like(value)
    for_queries = query.new_zeros(n, keys.shape[2], tokens, dtype=torch.float32)
    rooms = query.new_empty(2, _room(n, key.shape[1], tokens))
    for heads, rows in _blocks(n, key.shape[1], tokens):
        weights = _weights(keys[heads, rows], queries[heads].transpose(1, 2), width, rooms[0])
        for_values[heads, rows] = torch.bmm(weights, gradients[heads, :, :even])[..., :width]
        slopes = rooms[1][: weights.numel()].view(weights.shape)
        torch.bmm(values[heads, rows], gradients[heads].transpose(1, 2), out=slopes)
        slopes.mul_(weights)
        for_keys[heads, rows] = torch.bmm(slopes, queries[heads, :, :even])[..., :width] * scale
        for_queries[heads] += torch.bmm(keys[heads, rows].transpose(1, 2), slopes)
    return (for_queries[:, :width] * scale).transpose(1, 2).to(query.dtype), for_keys, for_values


def _is_plain(attn: Attention) -> bool:
    """Whether the layer is what Stable Diffusion's UNets have, in bf16."""
    special = (attn.spatial_norm, attn.group_norm, attn.norm_q, attn.norm_k)
    return (
        torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") is torch.bfloat16 and all(one is None for one in special)
        and not attn.residual_connection and attn.rescale_output_factor == 1
    )  # fmt: skip


def _weights(rows: torch.Tensor, columns: torch.Tensor, width: int, room: torch.Tensor) -> torch.Tensor:
    """2^(a rows columns), without normalisation, in `room`; the offsets are in their further columns."""
    out = room[: rows.shape[0] * rows.shape[1] * columns.shape[2]].view(*rows.shape[:2], columns.shape[2])
    return torch.baddbmm(out, rows, columns, beta=0, alpha=math.log2(math.e) * width**-0.5, out=out).exp2_()


def _set_offsets(queries: torch.Tensor, keys: torch.Tensor, width: int) -> None:
    """Puts minus the mean of each query's scores, weighted by the attention on a sample of keys, into the column."""
    scores = torch.bmm(queries, keys)
    queries[..., width] = -(torch.softmax(scores * width**-0.5, -1) * scores).sum(-1)


def _means(query: torch.Tensor, key: torch.Tensor, logs: torch.Tensor) -> torch.Tensor:
    """Each query's mean score (N, T), weighted by the attention on a sample of keys; logs: log(sum_j e^(s_ij)) over all keys.

    What the sample lacks of that sum lies with few keys, so their scores are near its logarithm. The mean lies between it and
    it less the largest entropy.
    """
    sample = _sample(key)
    scores = torch.bmm(query, sample).float().mul_(query.shape[2] ** -0.5)
    evenly = math.log(key.shape[1] / sample.shape[2])
    known = torch.exp((torch.logsumexp(scores, -1) + evenly - logs).clamp_(max=0))
    means = known * (torch.softmax(scores, -1) * scores).sum(-1) + (1 - known) * logs
    return torch.maximum(torch.minimum(means, logs), logs - math.log(key.shape[1]))


def _sums(weights: torch.Tensor) -> torch.Tensor:
    """Sums of rows (N, rows, 1) in fp32; the parts of a row are rounded, which evens out, as a cast would cost more."""
    parts = math.gcd(weights.shape[-1], 64)
    return weights.view(*weights.shape[:2], parts, -1).sum(-1).sum(-1, keepdim=True, dtype=torch.float32)


def _with_columns(rows: torch.Tensor, fill: float) -> torch.Tensor:
    """Rows (N, T, D) with at least two more columns: `fill` in the first two, else 0."""
    n, tokens, width = rows.shape
    out = rows.new_empty(n, tokens, max(_rounded(width), width + 2))
    out[..., :width] = rows
    out[..., width + 2 :] = 0
    out[..., width : width + 2] = fill
    return out


def _halves(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Two bf16 numbers whose sum is the fp32 one, to 16 bits."""
    high = values.bfloat16()
    return high, (values - high).bfloat16()


def _rounded(width: int) -> int:
    return -(-width // _LANES) * _LANES


def _sample(keys: torch.Tensor) -> torch.Tensor:
    """Some of the keys (N, T, D), as columns."""
    return keys[:, :: _stride(keys.shape[1])].transpose(1, 2).contiguous()


def _stride(tokens: int) -> int:
    """Odd, so that the sample has pixels of all columns of the picture."""
    return (tokens // _SAMPLE) | 1


def _block(n: int, rows: int, columns: int) -> tuple[int, int]:
    """Heads and rows of a block: many rows of one head, or, with few tokens, all rows of several heads."""
    if rows * columns > _BLOCK:
        return 1, max(_LANES, _BLOCK // columns // _LANES * _LANES)
    return max(1, min(n, _BLOCK // (rows * columns))), rows


def _room(n: int, rows: int, columns: int) -> int:
    heads, some = _block(n, rows, columns)
    return heads * some * columns


def _blocks(n: int, rows: int, columns: int) -> Iterator[tuple[slice, slice]]:
    heads, some = _block(n, rows, columns)
    for head in range(0, n, heads):
        for row in range(0, rows, some):
            yield slice(head, head + heads), slice(row, row + some)
