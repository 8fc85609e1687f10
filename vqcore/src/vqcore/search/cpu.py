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
#: Columns of products that a BLAS computes fast enough on every processor.
BLAS_COLUMNS = range(8, 128)
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
    # a convolution has no memory to write to
    memory = None if _convolved(query) else query.new_empty(rows * codes)
    places = query.new_tensor(PLACES)
    indices = query.new_empty(n, dtype=torch.int64)
    for start in range(0, n, rows):
        part = query[start : start + rows]
        best, index = least(_affine(part, weight[:codes], bias[:codes], memory), places)
        for first in range(codes, weight.shape[0], codes):
            end = first + codes
            scores = _affine(part, weight[first:end], bias[first:end], memory)
            score, other = least(scores, places)
            index = torch.where(score < best, other + first, index)
            best = torch.minimum(best, score)
        indices[start : start + rows] = index
    return indices


def least(scores: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Least score (N,) of each row (N, K) and its code (N,), by blocks; overwrites ``scores``."""
    n, k = scores.shape
    if k <= BLOCK:
        best = scores.amin(1)
        return best, _first(scores.eq_(best.unsqueeze(1)), places[:k])
    if k % BLOCK:
        return scores.min(1)
    blocks = scores.view(-1, BLOCK)
    best, block = blocks.amin(1).view(n, k // BLOCK).min(1)
    starts = torch.arange(0, blocks.shape[0], k // BLOCK, device=scores.device)
    chosen = blocks.index_select(0, starts + block)
    return best, block * BLOCK + _first(chosen.eq_(best.unsqueeze(1)), places)


def _first(hits: Tensor, places: Tensor) -> Tensor:
    """Place (N,) of the first 1 in rows (N, K) of 0 and 1; faster than ``argmax``.

    The sum of 4^-j over the places j of the ones is at least that of the first one and below 4/3 of
    it, so that its exponent identifies the first.
    """
    return (1 - torch.frexp(hits @ places).exponent) // 2


def _convolved(query: Tensor) -> bool:
    """Whether products with the query (N, S) are computed as convolutions.

    Matrix products go to a BLAS that reserves its AVX-512 kernels for one vendor's processors;
    convolutions go to oneDNN, which does not. As a 1 x 1 convolution a wide product takes half the
    time on some of the others. Of few columns, writing the scores takes most of the time.
    """
    n, width = query.shape
    suits = query.dtype == torch.float32 and n >= 4 * IMAGES and width not in BLAS_COLUMNS
    return suits and torch.backends.cpu.get_cpu_capability() == "AVX512"


def _affine(query: Tensor, weight: Tensor, bias: Tensor, memory: Tensor | None) -> Tensor:
    """query @ weight.T + bias, (N, K), contiguous: in ``memory``, or convolved without one."""
    n, k = query.shape[0], weight.shape[0]
    if memory is not None:
        return torch.addmm(bias, query, weight.T, out=memory[: n * k].view(n, k))
    if n % IMAGES:
        query = F.pad(query, (0, 0, 0, -n % IMAGES))
    images = query.reshape(IMAGES, query.shape[0] // IMAGES, 1, -1).permute(0, 3, 1, 2)
    return F.conv2d(images, weight[:, :, None, None], bias).permute(0, 2, 3, 1).reshape(-1, k)[:n]
