"""Nearest-code search on a GPU in one Triton kernel: scores and running argmin, never N x K.

A program takes a block of rows past all codes of its split. Each column of a tile keeps its own
least score and the tile that it came from, in registers: a comparison and two selections a score,
and one reduction at the end.

Products of float32 go through tensor cores as three products of TF32 numbers, high x high,
high x low and low x high. From 16 columns on their error is that of float32; narrower problems use
plain multiply-adds.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

#: The widest query; a wider one goes to the tiles of ``cuda``.
WIDEST = 1024
#: Columns below which plain multiply-adds are used: more accurate there, and as fast.
FEW_COLUMNS = 16
#: Programs that keep a large GPU busy: with fewer blocks of rows the codes are split as well.
PROGRAMS = 264
#: Rows that a program takes and codes that a split has at least, for the number of splits.
ROWS, SPLIT_CODES = 128, 1024
#: Rows, codes, columns, warps and stages of the tiles to try. The largest spill a few registers on
#: an H100, and may be the fastest all the same.
PLAIN_TILES = (
    (16, 64, 32, 4, 2),
    (32, 64, 32, 4, 2),
    (64, 32, 32, 4, 2),
    (32, 128, 32, 8, 2),
    (64, 64, 32, 8, 2),
)
PRODUCT_TILES = (
    (64, 64, 32, 4, 2),
    (64, 64, 32, 4, 3),
    (64, 64, 64, 4, 2),
    (64, 64, 64, 4, 3),
    (64, 128, 32, 4, 2),
    (64, 128, 64, 4, 2),
    (128, 64, 32, 8, 2),
    (128, 64, 32, 8, 3),
    (128, 64, 64, 8, 2),
    (128, 64, 64, 8, 3),
    (128, 128, 32, 8, 2),
    (128, 128, 64, 8, 2),
)


def find(query: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Indices (N,) as ``affine.search`` defines them, of float32 tensors with S <= ``WIDEST``."""
    query, weight, bias = query.contiguous(), weight.contiguous(), bias.contiguous()
    n, width = query.shape
    k = weight.shape[0]
    if n == 0:
        return query.new_empty(0, dtype=torch.int64)
    splits = min(triton.cdiv(k, SPLIT_CODES), max(1, PROGRAMS // triton.cdiv(n, ROWS)))
    found = query.new_empty(splits, n, dtype=torch.int64)
    products = width >= FEW_COLUMNS
    high = _to_tf32(weight) if products else weight
    low = weight - high if products else weight
    with torch.cuda.device_of(query):  # Triton launches on the current device
        _nearest[lambda chosen: (triton.cdiv(n, chosen["BLOCK_N"]), splits)](
            query,
            high,
            low,
            bias,
            found,
            n,
            k,
            triton.cdiv(k, splits),
            rows=_between(2**12, triton.next_power_of_2(n), 2**18),
            codes=_between(2**8, triton.next_power_of_2(k), 2**14),
            S=width,
            PRODUCTS=products,
            SPLIT=splits > 1,  # its number would compile a kernel for each count of tokens
            enable_fp_fusion=True,  # one rounding a multiply-add; the default varies by version
        )
    return found[0] if splits == 1 else found.amin(0) & 0xFFFFFFFF


def _to_tf32(x: Tensor) -> Tensor:
    """The values rounded to the 10 bits of mantissa that TF32 has."""
    return ((x.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


def _between(least: int, value: int, most: int) -> int:
    """The value within bounds: problems beyond them share a choice of tile."""
    return max(least, min(value, most))


def _configs() -> list[triton.Config]:
    """Tiles to choose from by time, once for each kind of problem and GPU."""
    if triton.knobs.runtime.interpret:
        return [triton.Config({"BLOCK_N": 32, "BLOCK_K": 32, "BLOCK_S": 32})]
    return [
        triton.Config(
            {"BLOCK_N": rows, "BLOCK_K": codes, "BLOCK_S": columns},
            num_warps=warps,
            num_stages=stages,
        )
        for rows, codes, columns, warps, stages in (*PLAIN_TILES, *PRODUCT_TILES)
    ]


def _fitting(configs: list[triton.Config], _: Any, **named: Any) -> list[triton.Config]:
    """The configs for this width; all of them where there is only one."""
    tiles = PRODUCT_TILES if named["PRODUCTS"] else PLAIN_TILES
    fitting = [
        config
        for config in configs
        if (*config.kwargs.values(), config.num_warps, config.num_stages) in tiles
        and config.kwargs["BLOCK_S"] <= max(32, named["S"])
    ]
    return fitting or configs


@triton.autotune(
    configs=_configs(),
    key=["rows", "codes", "S"],
    prune_configs_by={"early_config_prune": _fitting},
    cache_results=True,
)
@triton.jit(do_not_specialize=["N", "K", "codes_a_split", "rows", "codes"])  # batches vary in size
def _nearest(
    QUERY,  # (N, S)
    HIGH,  # (K, S): the weight, or the part of it that TF32 holds
    LOW,  # (K, S): the rest
    BIAS,  # (K,)
    FOUND,  # (splits, N): indices, or with several splits the order of the score, then the index
    N,
    K,
    codes_a_split,
    rows,  # only a key of the autotuner, like ``codes``
    codes,
    S: tl.constexpr,
    PRODUCTS: tl.constexpr,
    SPLIT: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_S: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    row_there = row < N
    first = tl.program_id(1) * codes_a_split
    end = tl.minimum(first + codes_a_split, K)
    column = tl.arange(0, BLOCK_S)
    least = tl.full((BLOCK_N, BLOCK_K), float("inf"), tl.float32)
    tile = tl.zeros((BLOCK_N, BLOCK_K), tl.int32)
    held: tl.constexpr = S <= BLOCK_S  # the queries fit a block: read once
    if PRODUCTS and held:
        q = tl.load(
            QUERY + row[:, None] * S + column[None, :],
            mask=row_there[:, None] & (column < S)[None, :],
            other=0.0,
        )
        q_high, q_low = _halves(q)
    for start in range(first, end, BLOCK_K):
        code = (start + tl.arange(0, BLOCK_K)).to(tl.int64)
        there = code < end
        # An absent code has the score inf, which no comparison takes; so has NaN.
        bias = tl.load(BIAS + code, mask=there, other=float("inf"))
        score = tl.broadcast_to(bias[None, :], (BLOCK_N, BLOCK_K))
        if not PRODUCTS:
            for s in tl.static_range(S):
                q_column = tl.load(QUERY + row * S + s, mask=row_there, other=0.0)
                w_column = tl.load(HIGH + code * S + s, mask=there, other=0.0)
                score += q_column[:, None] * w_column[None, :]
        elif held:
            place = code[None, :] * S + column[:, None]
            inside = there[None, :] & (column < S)[:, None]
            score = _three_products(q_high, q_low, HIGH, LOW, place, inside, score)
        else:
            for s in range(0, S, BLOCK_S):
                part = s + column
                q = tl.load(
                    QUERY + row[:, None] * S + part[None, :],
                    mask=row_there[:, None] & (part < S)[None, :],
                    other=0.0,
                )
                q_high, q_low = _halves(q)
                place = code[None, :] * S + part[:, None]
                inside = there[None, :] & (part < S)[:, None]
                score = _three_products(q_high, q_low, HIGH, LOW, place, inside, score)
        taken = score < least  # the first tile of equal ones stays
        least = tl.where(taken, score, least)
        tile = tl.where(taken, (start - first) // BLOCK_K, tile)
    best = tl.min(least, 1)
    index = tile * BLOCK_K + tl.arange(0, BLOCK_K)[None, :]
    index = first + tl.min(tl.where(least == best[:, None], index, 2147483647), 1).to(tl.int64)
    if SPLIT:
        index |= _order(best).to(tl.int64) << 32
    tl.store(FOUND + tl.program_id(1).to(tl.int64) * N + row, index, mask=row_there)


@triton.jit
def _three_products(q_high, q_low, HIGH, LOW, place, inside, score):
    w_high = tl.load(HIGH + place, mask=inside, other=0.0)
    w_low = tl.load(LOW + place, mask=inside, other=0.0)
    score = tl.dot(q_low, w_high, score, input_precision="tf32")
    score = tl.dot(q_high, w_low, score, input_precision="tf32")
    return tl.dot(q_high, w_high, score, input_precision="tf32")


@triton.jit
def _halves(x):
    """x as a TF32 number and the rest."""
    high = ((x.to(tl.int32, bitcast=True) + 0x1000) & -0x2000).to(tl.float32, bitcast=True)
    return high, x - high


@triton.jit
def _order(x):
    """Integers in the order of the float32 numbers; equal for both zeros."""
    bits = (x + 0.0).to(tl.int32, bitcast=True)
    return tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
