"""The search for the nearest code, the only place that does it: tiled, in float32 or float64, never N x K at once."""

from __future__ import annotations

import torch
from torch import Tensor

from vqcore.numerics.stable import without_autocast
from vqcore.search import cpu, cuda


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
        find = cpu.find if kind == "cpu" else cuda.find
        return find(query, weight, bias)


@torch.library.custom_op("vqcore::nearest", mutates_args=())
def _operator(query: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return _search(query, weight, bias)


@_operator.register_fake
def _(query: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return query.new_empty(query.shape[0], dtype=torch.int64)


class _FullPrecision:
    """Float32 products without TF32 or bfloat16 inside, whatever the process has set."""

    def __init__(self, kind: str) -> None:
        backends = torch.backends
        used = {
            "cpu": (backends.mkldnn.matmul, backends.mkldnn.conv),
            "cuda": (backends.cuda.matmul,),
        }
        lowered = [(one, one.fp32_precision) for one in used.get(kind, ())]
        self.lowered = [(one, value) for one, value in lowered if value not in ("none", "ieee")]

    def __enter__(self) -> None:
        for backend, _ in self.lowered:
            backend.fp32_precision = "ieee"

    def __exit__(self, *exc: object) -> None:
        for backend, value in self.lowered:
            backend.fp32_precision = value
