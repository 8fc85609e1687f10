"""Nearest-code search in affine form: tiled, in float32 or float64, never N x K at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from vqcore.numerics.execution import is_exporting
from vqcore.numerics.stable import without_autocast
from vqcore.search import cpu, cuda


def search(query: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """argmin_k query . weight_k + bias_k, (N,) int64; the lowest index wins a tie.

    The query is (N, S), the weight (K, S) and the bias (K,). Extra memory is O(N + tile).
    Half precision is raised to float32, and autocast and TF32 are off: all of them choose wrong
    codes. A compiled graph holds the search as one operator, ``vqcore::nearest``, without a graph
    break. An exported graph holds a plain product, N x K at once, and ``argmin``.
    """
    dtype = torch.float64 if query.dtype == torch.float64 else torch.float32
    query, weight, bias = (x.detach().to(dtype) for x in (query, weight, bias))
    if is_exporting():
        with without_autocast(query.device.type):
            return torch.addmm(bias, query, weight.T).argmin(1)
    if torch.compiler.is_compiling():
        return _operator(query, weight, bias)
    return _search(query, weight, bias)


def scores(query: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """query . weight_k + bias_k, (N, K), whole: for the tiles of ``tiled.search``.

    All are of one type. A compiled graph holds it as the operator ``vqcore::scores``, whose
    precision no setting lowers; elsewhere ``tiled.search`` sees to that.
    """
    if torch.compiler.is_compiling() and not is_exporting():
        return _scores_operator(query, weight, bias)
    return torch.addmm(bias, query, weight.T)


@torch.no_grad()
def _search(query: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    kind = query.device.type
    with torch.autocast(kind, enabled=False), full_precision(kind):
        find = cpu.find if kind == "cpu" else cuda.find
        return find(query, weight, bias)


@torch.library.custom_op("vqcore::nearest", mutates_args=())
def _operator(query: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return _search(query, weight, bias)


@_operator.register_fake
def _(query: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return query.new_empty(query.shape[0], dtype=torch.int64)


@torch.library.custom_op("vqcore::scores", mutates_args=())
def _scores_operator(query: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    with torch.autocast(query.device.type, enabled=False), full_precision(query.device.type):
        return torch.addmm(bias, query, weight.T)


@_scores_operator.register_fake
def _(query: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return query.new_empty(query.shape[0], weight.shape[0])


@contextmanager
def full_precision(kind: str) -> Iterator[None]:
    """Inside, float32 products use neither TF32 nor bfloat16, whatever the process has set."""
    backends: Any = torch.backends
    used: dict[str, tuple[Any, ...]] = {
        "cpu": (backends.mkldnn.matmul, backends.mkldnn.conv),
        "cuda": (backends.cuda.matmul,),
    }
    before = [(backend, backend.fp32_precision) for backend in used.get(kind, ())]
    lowered = [(backend, value) for backend, value in before if value not in ("none", "ieee")]
    for backend, _ in lowered:
        backend.fp32_precision = "ieee"
    try:
        yield
    finally:
        for backend, value in lowered:
            backend.fp32_precision = value
