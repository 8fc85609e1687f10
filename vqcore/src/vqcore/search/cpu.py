"""Nearest-code search on a CPU: tiles of rows and codes that stay in the cache."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: Scores that one thread holds at a time, 4 MB in float32, and the least number of codes in a tile.
TILE_CPU = 1024 * 1024
TILE_CODES = 2048
#: Threads that a tile grows with; beyond them each thread has a smaller share.
MOST_THREADS = 8
#: Scores below which one product and one ``argmin`` are as fast as anything.
FEW = 64 * 1024
#: Codes of a block: its least score is found first, by ``amin``, which is vectorized over a row
#: where ``argmin`` is not. More codes would leave the range of ``PLACES``.
BLOCK = 64
#: 4^-j for the place j in a block.
PLACES = tuple(4.0**-place for place in range(BLOCK))
#: Images that rows are passed to a convolution as; ATen uses a slower kernel for fewer than 16.
IMAGES = 16


def find(query: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Indices (N,) as ``affine.search`` defines them, of float32 or float64 tensors."""
    n, k = query.shape[0], weight.shape[0]
    if n * k <= FEW:
        return torch.addmm(bias, query, weight.T).argmin(1)
    if k >= 4 * BLOCK and k % BLOCK:  # pad to whole blocks with codes that no row ever chooses
        weight = F.pad(weight, (0, 0, 0, -k % BLOCK))
        bias = F.pad(bias, (0, -k % BLOCK), value=torch.inf)
    tile = TILE_CPU * min(torch.get_num_threads(), MOST_THREADS) * 4 // query.element_size()
    codes = min(weight.shape[0], max(TILE_CODES, tile // n // BLOCK * BLOCK))
    rows = min(n, max(1, tile // codes // IMAGES * IMAGES))
    indices = query.new_empty(n, dtype=torch.int64)
    for start in range(0, n, rows):
        part = query[start : start + rows]
        best, index = _least(part, weight[:codes], bias[:codes])
        for first in range(codes, weight.shape[0], codes):
            score, other = _least(part, weight[first : first + codes], bias[first : first + codes])
            index = torch.where(score < best, other + first, index)
            best = torch.minimum(best, score)
        indices[start : start + rows] = index
    return indices


def _least(query: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Least score (N,) of each row and its code (N,): the block that holds it, then the code."""
    scores = _affine(query, weight, bias)
    n, k = scores.shape
    if k % BLOCK or k == BLOCK:
        return scores.min(1)
    blocks = scores.view(-1, BLOCK)
    best, block = blocks.amin(1).view(n, -1).min(1)
    starts = torch.arange(0, blocks.shape[0], k // BLOCK, device=scores.device)
    chosen = blocks.index_select(0, starts + block)
    return best, block * BLOCK + _first(chosen.eq_(best.unsqueeze(1)))


def _first(hits: Tensor) -> Tensor:
    """Place (N,) of the first 1 in rows (N, BLOCK) of 0 and 1; faster than ``argmax``.

    The sum of 4^-j over the places j of the ones is at least that of the first one and below 4/3 of
    it, so that its exponent identifies the first.
    """
    return (1 - torch.frexp(hits @ hits.new_tensor(PLACES)).exponent) // 2


def _affine(query: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """query @ weight.T + bias, (N, K), contiguous.

    Matrix products go to a BLAS that reserves its AVX-512 kernels for one vendor's processors;
    convolutions go to oneDNN, which does not. As a 1 x 1 convolution the product takes half the
    time on the others.
    """
    n, k = query.shape[0], weight.shape[0]
    suits = query.dtype == torch.float32 and n >= 4 * IMAGES
    if not suits or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return torch.addmm(bias, query, weight.T)
    if n % IMAGES:
        query = F.pad(query, (0, 0, 0, -n % IMAGES))
    images = query.reshape(IMAGES, query.shape[0] // IMAGES, 1, -1).permute(0, 3, 1, 2)
    return F.conv2d(images, weight[:, :, None, None], bias).permute(0, 2, 3, 1).reshape(-1, k)[:n]
