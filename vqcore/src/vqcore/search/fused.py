"""Nearest-code search on a GPU in one fused kernel: scores and running argmin, never N x K.

Products of float32 go through tensor cores as three products of float16 halves, high x high,
high x low and low x high. Each row and each code is scaled by a power of two first, so that its
largest value uses the range of float16: a half keeps 11 bits, both together 22. From 16 columns on
the error of such a product is that of float32; narrower problems use plain multiply-adds.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor

from vqcore.search import kernels

#: Columns below which plain multiply-adds are used: more accurate there, and as fast.
FEW_COLUMNS = 16
#: Columns beyond a multiple of 16 that multiply-adds take: curved manifolds have one or two.
EXTRA_COLUMNS = 4
#: Programs that keep a large GPU busy: with fewer blocks of rows the codes are split as well.
PROGRAMS = 264
#: Rows that a program takes and codes that a split has at least, for the number of splits.
ROWS, SPLIT_CODES = 128, 1024
#: Codes are padded to a multiple of this, which every tile divides: no load needs a mask.
CODES = 128
#: Rows, codes, columns, warps and stages of the tiles to try: the best of some hundred on an H200.
#: Each costs a second of compilation at the first search of a width.
COLUMN_TILES = ((32, 64, 0, 4, 2), (64, 32, 0, 4, 2), (32, 128, 0, 8, 2))
PRODUCT_TILES = (
    *(
        (rows, codes, columns, 4, stages)
        for columns in (16, 32, 64)
        for rows, codes, stages in ((64, 64, 3), (128, 64, 3), (64, 128, 2), (64, 128, 3))
    ),
    (64, 64, 128, 4, 2),
    (128, 64, 128, 8, 2),
    (64, 64, 256, 4, 2),
    (128, 64, 256, 8, 1),
)


def find(query: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Indices (N,) as ``affine.search`` defines them, of float32; S is at most ``cuda.WIDEST``."""
    query, weight, bias = query.contiguous(), weight.contiguous(), bias.contiguous()
    n, width = query.shape
    k = weight.shape[0]
    if n == 0:
        return query.new_empty(0, dtype=torch.int64)
    splits = min(triton.cdiv(k, SPLIT_CODES), max(1, PROGRAMS // triton.cdiv(n, ROWS)))
    found = query.new_empty(splits, n, dtype=torch.int64)
    shared: dict[str, Any] = {
        "N": n,
        "codes_a_split": CODES * triton.cdiv(k, CODES * splits),
        "rows": _between(2**12, triton.next_power_of_2(n), 2**18),
        "codes": _between(2**8, triton.next_power_of_2(k), 2**14),
        "S": width,
        "SPLIT": splits > 1,  # its number would compile a kernel for each count of tokens
        "enable_fp_fusion": True,  # one rounding a multiply-add; the default varies by version
    }

    def grid(chosen: dict[str, Any]) -> tuple[int, int]:
        return triton.cdiv(n, chosen["BLOCK_N"]), splits

    with torch.cuda.device_of(query):  # Triton launches on the current device
        if width < FEW_COLUMNS:
            _by_columns[grid](query, weight, bias, found, K=k, **shared)
        else:
            extra = width % 16 if width % 16 <= EXTRA_COLUMNS else 0
            halves, others = _prepare(weight, bias, extra)
            sizes = {"K": others.shape[1], "EXTRA": extra, "PADDED": halves.shape[2]}
            _by_products[grid](query, halves, others, found, **sizes, **shared)
    return found[0] if splits == 1 else found.amin(0) & 0xFFFFFFFF


def _prepare(weight: Tensor, bias: Tensor, extra: int) -> tuple[Tensor, Tensor]:
    """What the kernel reads of the codes, padded.

    Returns:
        Float16 halves (K, 2, S) of the scaled weight but its last ``extra`` columns; inverse
        scales, bias and those columns, (2 + extra, K).
    """
    (k, width), block = weight.shape, 8
    split = width - extra
    padded = triton.next_power_of_2(split) if split <= 64 else 64 * triton.cdiv(split, 64)
    codes = CODES * triton.cdiv(k, CODES)
    halves = weight.new_empty(codes, 2, padded, dtype=torch.float16)
    others = weight.new_empty(2 + extra, codes)
    sizes = {"S": width, "EXTRA": extra, "PADDED": padded, "BLOCK_K": block}
    kernels.split_codes[(codes // block,)](weight, bias, halves, others, k, codes, **sizes)
    return halves, others


def _between(least: int, value: int, most: int) -> int:
    """The value within bounds: problems beyond them share a choice of tile."""
    return max(least, min(value, most))


def _configs(tiles: tuple[tuple[int, int, int, int, int], ...]) -> list[triton.Config]:
    """Tiles to choose from by time, once for each kind of problem and GPU."""
    if triton.knobs.runtime.interpret:
        tiles = ((32, 32, 16, 4, 1),)
    return [
        triton.Config(
            {"BLOCK_N": rows, "BLOCK_K": codes, "BLOCK_S": columns},
            num_warps=warps,
            num_stages=stages,
        )
        for rows, codes, columns, warps, stages in tiles
    ]


def _fitting(configs: list[triton.Config], _: Any, **named: Any) -> list[triton.Config]:
    """The configs for this width: 64 columns at a time, or all at once."""
    padded = named["PADDED"]
    columns = min(padded, 64), padded
    return [one for one in configs if one.kwargs["BLOCK_S"] in columns] or configs


_by_products = triton.autotune(
    configs=_configs(PRODUCT_TILES),
    key=["rows", "codes", "S"],
    prune_configs_by={"early_config_prune": _fitting},
    cache_results=True,
)(kernels.by_products)
_by_columns = triton.autotune(
    configs=_configs(COLUMN_TILES), key=["rows", "codes", "S"], cache_results=True
)(kernels.by_columns)
