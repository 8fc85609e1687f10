"""The search for the nearest code, the only place that does it: tiled, in float32 or float64, never N x K at once."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vqcore.numerics import without_autocast

#: Scores that a processor holds at a time, 4 MB in float32, of at least so many codes: as fast at every width.
TILE_CPU, TILE_CODES = 1024 * 1024, 2048
#: Threads that a tile grows with; with more of them each has a smaller share.
MOST_THREADS = 8
#: Scores that an accelerator holds at a time: it wants larger pieces.
TILE_DEVICE = 32 * 1024 * 1024
#: Scores below which one product and one ``argmin`` are as fast as anything.
FEW = 64 * 1024
#: Codes whose least score is taken before the code is looked for: ``amin`` over a row reads a vector of numbers at a
#: time and ``argmin`` one, which takes ten times as long. More would leave the range of ``PLACES``.
BLOCK = 64
#: 4^-j for the place j in a block.
PLACES = tuple(4.0**-place for place in range(BLOCK))
#: Images that rows are passed as to a convolution; ATen leaves fewer than 16 to a slower kernel.
IMAGES = 16


def search(query: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """argmin_k query . weight_k + bias_k for every row; the lowest index wins a tie.

    A compiled graph holds the search as one operator, ``vqcore::nearest``, for any N without a graph break; an
    exported one holds an ordinary product, N x K at once, and ``argmin``, which every runtime knows.

    Args:
        query: (N, S).
        weight: (K, S).
        bias: (K,).

    Returns:
        Indices (N,), int64. Extra memory is O(N + tile), whatever N x K is. Half precision is raised to float32
        and autocast is off: both, like TF32, choose wrong codes.
    """
    dtype = torch.float64 if query.dtype == torch.float64 else torch.float32
    query, weight, bias = (x.detach().to(dtype) for x in (query, weight, bias))
    if torch.compiler.is_exporting():
        with without_autocast(query.device.type):
            return torch.addmm(bias, query, weight.T).argmin(1)
    if torch.compiler.is_compiling():
        return _operator(query, weight, bias)
    return _search(query, weight, bias)


@torch.no_grad()
def _search(query: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    kind = query.device.type
    with torch.autocast(kind, enabled=False), _FullPrecision(kind):
        return _on_processor(query, weight, bias) if kind == "cpu" else _on_device(query, weight, bias)


@torch.library.custom_op("vqcore::nearest", mutates_args=())
def _operator(query: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return _search(query, weight, bias)


@_operator.register_fake
def _(query: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return query.new_empty(query.shape[0], dtype=torch.int64)


# -- accelerators ---------------------------------------------------------------------------------------------


def _on_device(query: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Tiles of rows, each against every code."""
    n, k = query.shape[0], weight.shape[0]
    rows = max(1, min(n, TILE_DEVICE // k))
    scores = query.new_empty(rows, k)
    indices = query.new_empty(n, dtype=torch.int64)
    for start in range(0, n, rows):
        part = query[start : start + rows]
        out = torch.addmm(bias, part, weight.T, out=scores[: part.shape[0]])
        torch.argmin(out, dim=1, out=indices[start : start + rows])
    return indices


# -- processors -----------------------------------------------------------------------------------------------


def _on_processor(query: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Tiles of rows and codes that stay in the cache; a row keeps the best code of the tiles before."""
    n, k = query.shape[0], weight.shape[0]
    if n * k <= FEW:
        return torch.addmm(bias, query, weight.T).argmin(1)
    if k >= 4 * BLOCK and k % BLOCK:  # whole blocks: no row ever chooses one of the added codes
        weight, bias = F.pad(weight, (0, 0, 0, -k % BLOCK)), F.pad(bias, (0, -k % BLOCK), value=torch.inf)
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
    """Least score (N,) of each row and its code (N,): first the block that holds the least score, then the code."""
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
    """Place (N,) of the first 1 in rows (N, BLOCK) of 0 and 1, in a third of the time of ``argmax``.

    The sum of 4^-j over the places j of the ones is at least that of the first one and below 4/3 of it, so that its
    exponent tells which it is.
    """
    return (1 - torch.frexp(hits @ hits.new_tensor(PLACES)).exponent) // 2


def _affine(query: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """query @ weight.T + bias, (N, K), contiguous.

    Products go to a BLAS that keeps its AVX-512 kernels for one maker's processors, convolutions to oneDNN, which
    has them for all: as a convolution of 1 x 1 the product takes half the time on another maker's.
    """
    n, k = query.shape[0], weight.shape[0]
    suits = query.dtype == torch.float32 and n >= 4 * IMAGES
    if not suits or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return torch.addmm(bias, query, weight.T)
    if n % IMAGES:
        query = F.pad(query, (0, 0, 0, -n % IMAGES))
    images = query.reshape(IMAGES, query.shape[0] // IMAGES, 1, -1).permute(0, 3, 1, 2)
    return F.conv2d(images, weight[:, :, None, None], bias).permute(0, 2, 3, 1).reshape(-1, k)[:n]


class _FullPrecision:
    """Float32 products without TF32 or bfloat16 inside, whatever the process has set."""

    def __init__(self, kind: str) -> None:
        backends = torch.backends
        used = {"cpu": (backends.mkldnn.matmul, backends.mkldnn.conv), "cuda": (backends.cuda.matmul,)}
        lowered = [(one, one.fp32_precision) for one in used.get(kind, ())]
        self.lowered = [(one, value) for one, value in lowered if value not in ("none", "ieee")]

    def __enter__(self) -> None:
        for backend, _ in self.lowered:
            backend.fp32_precision = "ieee"

    def __exit__(self, *exc: object) -> None:
        for backend, value in self.lowered:
            backend.fp32_precision = value
