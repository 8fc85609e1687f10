"""The Triton kernels of the fused search.

A program takes a block of rows past all codes of its split. Each column of a tile keeps its own
least score and the tile that it came from, in registers: a comparison and two selections a score,
and one reduction at the end.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["N", "rows", "codes"])  # batches vary in size
def by_products(
    QUERY,  # (N, S)
    HALVES,  # (K, 2, PADDED): float16, the high and the low half of the scaled weight
    OTHERS,  # (2 + EXTRA, K): what a code's products are multiplied by, its bias, more columns
    FOUND,  # (splits, N): indices, or with several splits the order of the score, then the index
    N,
    K,  # padded
    codes_a_split,
    rows,  # only a key of the autotuner, like ``codes``
    codes,
    S: tl.constexpr,
    EXTRA: tl.constexpr,  # columns that are no halves, the last ones
    PADDED: tl.constexpr,
    SPLIT: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_S: tl.constexpr,
):
    """Nearest codes by products of float16 halves on tensor cores."""
    row, first, end = _share(N, K, codes_a_split, BLOCK_N)
    column = tl.arange(0, BLOCK_S)
    q = _columns(QUERY, row, column, S, EXTRA, PADDED)
    largest = tl.max(tl.abs(q), 1)
    for s in range(BLOCK_S, PADDED, BLOCK_S):
        more = tl.abs(_columns(QUERY, row, s + column, S, EXTRA, PADDED))
        largest = tl.maximum(largest, tl.max(more, 1))
    scale, inverse = _power_of_two(largest)
    q_high, q_low = _halves(q * scale[:, None])
    least, tile = _nothing_yet(BLOCK_N, BLOCK_K)
    for start in range(first, end, BLOCK_K):
        code = start + tl.arange(0, BLOCK_K)
        place = HALVES + code.to(tl.int64)[None, :] * (2 * PADDED) + column[:, None]
        product = tl.zeros((BLOCK_N, BLOCK_K), tl.float32)
        if PADDED == BLOCK_S:  # the queries fit a block: read once
            product = _three_products(q_high, q_low, place, PADDED, product)
        else:
            for s in range(0, PADDED, BLOCK_S):
                q = _columns(QUERY, row, s + column, S, EXTRA, PADDED)
                q_high, q_low = _halves(q * scale[:, None])
                product = _three_products(q_high, q_low, place + s, PADDED, product)
        of_code = tl.load(OTHERS + code)
        bias = tl.load(OTHERS + K + code)
        score = (product * inverse[:, None]) * of_code[None, :] + bias[None, :]
        for extra in tl.static_range(EXTRA):
            w = tl.load(OTHERS + (2 + extra) * K + code)
            score += tl.load(QUERY + row * S + S - EXTRA + extra)[:, None] * w[None, :]
        least, tile = _take(score, start, least, tile)
    _store(FOUND, row, N, least, tile, SPLIT)


@triton.jit(do_not_specialize=["N", "K", "rows", "codes"])
def by_columns(
    QUERY,  # (N, S)
    WEIGHT,  # (K, S)
    BIAS,  # (K,)
    FOUND,  # as above
    N,
    K,
    codes_a_split,
    rows,
    codes,
    S: tl.constexpr,
    SPLIT: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_S: tl.constexpr,  # not used
):
    """Nearest codes by multiply-adds, a column at a time."""
    row, first, end = _share(N, K, codes_a_split, BLOCK_N)
    least, tile = _nothing_yet(BLOCK_N, BLOCK_K)
    for start in range(first, end, BLOCK_K):
        code = (start + tl.arange(0, BLOCK_K)).to(tl.int64)
        # An absent code has the score inf, which no comparison takes; so has NaN.
        bias = tl.load(BIAS + code, mask=code < end, other=float("inf"))
        score = tl.broadcast_to(bias[None, :], (BLOCK_N, BLOCK_K))
        for s in tl.static_range(S):
            q = tl.load(QUERY + row * S + s)
            w = tl.load(WEIGHT + code * S + s, mask=code < end, other=0.0)
            score += q[:, None] * w[None, :]
        least, tile = _take(score, start, least, tile)
    _store(FOUND, row, N, least, tile, SPLIT)


@triton.jit
def split_codes(
    WEIGHT,  # (k, S)
    BIAS,  # (k,)
    HALVES,  # (K, 2, PADDED), as above
    OTHERS,  # (2 + EXTRA, K), as above
    k,
    K,
    S: tl.constexpr,
    EXTRA: tl.constexpr,
    PADDED: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Scale the codes by powers of two, split them into halves and pad all of it."""
    code = tl.program_id(0) * BLOCK_K + tl.arange(0, BLOCK_K)
    column = tl.arange(0, triton.next_power_of_2(PADDED))
    inside = (code < k)[:, None] & (column < S - EXTRA)[None, :]
    w = tl.load(WEIGHT + code.to(tl.int64)[:, None] * S + column[None, :], mask=inside, other=0.0)
    scale, inverse = _power_of_two(tl.max(tl.abs(w), 1))
    high, low = _halves(w * scale[:, None])
    place = HALVES + code.to(tl.int64)[:, None] * (2 * PADDED) + column[None, :]
    there = tl.broadcast_to((column < PADDED)[None, :], high.shape)
    tl.store(place, high, mask=there)
    tl.store(place + PADDED, low, mask=there)
    tl.store(OTHERS + code, inverse)
    tl.store(OTHERS + K + code, tl.load(BIAS + code, mask=code < k, other=float("inf")))
    for extra in tl.static_range(EXTRA):
        w = tl.load(WEIGHT + code.to(tl.int64) * S + S - EXTRA + extra, mask=code < k, other=0.0)
        tl.store(OTHERS + (2 + extra) * K + code, w)


@triton.jit
def _share(N, K, codes_a_split, BLOCK_N: tl.constexpr):
    """The rows of this program, the last one repeated beyond the end, and its range of codes."""
    row = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    first = tl.program_id(1) * codes_a_split
    return tl.minimum(row, N - 1), first, tl.minimum(first + codes_a_split, K)


@triton.jit
def _columns(QUERY, row, column, S: tl.constexpr, EXTRA: tl.constexpr, PADDED: tl.constexpr):
    place = QUERY + row[:, None] * S + column[None, :]
    if S - EXTRA == PADDED:
        return tl.load(place)
    return tl.load(place, mask=(column < S - EXTRA)[None, :], other=0.0)


@triton.jit
def _power_of_two(largest):
    """The power of two that takes the largest value to [2^14, 2^15), and its inverse."""
    exponent = largest.to(tl.int32, bitcast=True) >> 23
    field = tl.minimum(268 - exponent, 253)
    scale = (field << 23).to(tl.float32, bitcast=True)
    return scale, ((254 - field) << 23).to(tl.float32, bitcast=True)


@triton.jit
def _halves(x):
    """x as the sum of two float16 numbers."""
    high = x.to(tl.float16)
    return high, (x - high.to(tl.float32)).to(tl.float16)


@triton.jit
def _three_products(q_high, q_low, place, PADDED: tl.constexpr, product):
    w_high = tl.load(place)
    w_low = tl.load(place + PADDED)
    product = tl.dot(q_low, w_high, product)
    product = tl.dot(q_high, w_low, product)
    return tl.dot(q_high, w_high, product)


@triton.jit
def _nothing_yet(BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr):
    """Of each column of a tile the least score so far, and the first code of its tile."""
    least = tl.full((BLOCK_N, BLOCK_K), float("inf"), tl.float32)
    return least, tl.zeros((BLOCK_N, BLOCK_K), tl.int32)


@triton.jit
def _take(score, start, least, tile):
    taken = score < least  # the first tile of equal ones stays
    return tl.where(taken, score, least), tl.where(taken, start, tile)


@triton.jit
def _store(FOUND, row, N, least, tile, SPLIT: tl.constexpr):
    best = tl.min(least, 1)
    index = tile + tl.arange(0, least.shape[1])[None, :]
    index = tl.min(tl.where(least == best[:, None], index, 2147483647), 1).to(tl.int64)
    if SPLIT:
        index |= _order(best).to(tl.int64) << 32
    tl.store(FOUND + tl.program_id(1).to(tl.int64) * N + row, index)


@triton.jit
def _order(x):
    """Integers in the order of the float32 numbers; equal for both zeros."""
    bits = (x + 0.0).to(tl.int32, bitcast=True)
    return tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
