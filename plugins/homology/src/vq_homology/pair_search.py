"""Searches the persistence pairs of a point cloud, and packs the results for checkpoints."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from vq_homology import persistence
from vq_homology.backends import Backend
from vq_homology.distance_matrix import distance_matrix
from vqcore.data.transfer import copies_asynchronously, to_device
from vqcore.interfaces.manifold import Manifold
from vqcore.numerics import counter_rng

#: Format version of packed results.
FORMAT = 1


@dataclass(frozen=True)
class SearchResult:
    """The pairs that a search found."""

    shape: tuple[int, ...]  # (K, A) of the points at the time
    step: int  # training step of the search
    median_lifetime: float  # of the loops; 0 without loops
    rows: Tensor  # (n,) int64, the points that took part
    edges: Tensor  # (n-1 + 2m, 2) int64, positions in rows; see statistics.diagram_from_edges
    filled: Tensor  # (m,) bool; see persistence.Pairs

    def is_fresh(self, points: Tensor, step: int, refresh: int) -> bool:
        """Whether these pairs fit and are less than ``refresh`` steps old."""
        return self.fits(points, step) and step - self.step < refresh

    def fits(self, points: Tensor, step: int) -> bool:
        """Whether these pairs come from points of this shape, at this step or earlier."""
        return self.shape == tuple(points.shape) and self.step <= step

    def to(self, device: torch.device) -> SearchResult:
        """The same with its tensors on ``device``, without synchronising."""
        rows, edges, filled = (to_device(t, device) for t in (self.rows, self.edges, self.filled))
        return replace(self, rows=rows, edges=edges, filled=filled)


def empty(points: Tensor, step: int) -> SearchResult:
    """A result in which none of ``points`` (K, A) takes part."""
    none = torch.empty(0, dtype=torch.int64, device=points.device)
    return SearchResult(tuple(points.shape), step, 0.0, none, none.view(0, 2), none.bool())


def draw(count: int | Tensor, slots: int, key: counter_rng.Key) -> Tensor:
    """Ascending numbers (slots,) below ``count``, one from each equal part.

    For a lower count they begin with all of them. A count in a tensor is a scalar, on whose device
    they are. They depend on the key alone, so a resumed run and all ranks draw the same.
    """
    device = count.device if isinstance(count, Tensor) else torch.device("cpu")
    number = (
        count.clamp(1, max(slots, 1)) if isinstance(count, Tensor) else max(min(count, slots), 1)
    )
    parts = torch.arange(slots + 1, device=device) * count // number
    if isinstance(key, Tensor):
        within = counter_rng.uniform(key, slots, device=device)
    else:
        within = to_device(counter_rng.uniform(key, slots), device)
    starts, ends = parts[:-1], parts[1:]
    return starts + (within * (ends - starts)).long()


@dataclass(frozen=True)
class SearchOptions:
    """How pairs are searched."""

    limit: int  # the largest cloud
    backend: Backend | None = None  # None searches no loops
    edge_quantile: float = 1.0  # see persistence.search


def search(
    points: Tensor,
    manifold: Manifold,
    step: int,
    options: SearchOptions,
    kept: Tensor | None = None,
) -> SearchResult:
    """The pairs of ``points`` (K, A), or of those that ``kept`` (K,) selects.

    Points that are not finite are left out. If distances overflow, the result is empty.
    """
    prepared = prepare(points, manifold, step, options.limit, kept)
    return find_pairs(prepared, options).to(points.device)


@dataclass(frozen=True)
class PreparedSearch:
    """The distances whose pairs are to be found, in host memory or on their way there."""

    shape: tuple[int, ...]  # (K, A) of the points
    step: int
    rows: Tensor  # (M,) int64, the points drawn
    finite: Tensor  # (M,) bool, those of them that take part
    distances: Tensor  # (M, M), between all drawn points
    copied: torch.Event | None  # recorded after an asynchronous copy from an accelerator


@torch.no_grad()
def prepare(
    points: Tensor, manifold: Manifold, step: int, limit: int, kept: Tensor | None = None
) -> PreparedSearch:
    """Compute distances of at most ``limit`` points; does not synchronise with CUDA or XPU.

    Which are ``kept`` (K,) can be given for as many points at most.
    """
    rows = draw(len(points), min(len(points), limit), counter_rng.key_of(step))
    members = to_full_precision(points.detach()).index_select(0, to_device(rows, points.device))
    finite = torch.isfinite(members).all(1)
    if kept is not None:
        finite = finite & kept
    if len(members):  # a finite point replaces those that are not, which would spoil a product
        own = torch.arange(len(finite), device=finite.device)
        members = members.index_select(0, torch.where(finite, own, finite.long().argmax()))
    distances = distance_matrix(members, manifold)
    copied = None
    if copies_asynchronously(points.device):
        finite = _to_pinned_memory(finite)
        distances = _to_pinned_memory(distances)
        copied = torch.accelerator.current_stream(points.device).record_event()
    return PreparedSearch(tuple(points.shape), step, rows, finite.cpu(), distances.cpu(), copied)


def find_pairs(prepared: PreparedSearch, options: SearchOptions) -> SearchResult:
    """The pairs of a prepared search, on the CPU; waits for its distances. Thread-safe."""
    if prepared.copied is not None:
        prepared.copied.synchronize()
    finite = prepared.finite.numpy()
    rows = prepared.rows[prepared.finite]
    distances = prepared.distances.double().numpy()
    if not finite.all():
        distances = distances[np.ix_(finite, finite)]
    if not np.isfinite(distances).all():
        rows = rows[:0]
        distances = distances[:0, :0]
    pairs = persistence.search(distances, options.backend, options.edge_quantile)
    edges = torch.from_numpy(np.concatenate([pairs.tree, pairs.births, pairs.deaths]))
    median = _median_lifetime(distances, pairs)
    filled = torch.from_numpy(pairs.filled)
    return SearchResult(prepared.shape, prepared.step, median, rows, edges, filled)


def to_full_precision(points: Tensor) -> Tensor:
    """Points in float64, which keeps the order of edges, or float32 on MPS, which has no more."""
    return points.to(torch.float32 if points.device.type == "mps" else torch.float64)


def pack(results: dict[int, SearchResult]) -> Tensor:
    """Results by codebook as one float64 vector, since safetensors holds tensors only."""
    parts = [torch.tensor([FORMAT, len(results)], dtype=torch.float64)]
    for codebook, result in results.items():
        tensors = (result.rows, result.edges, result.filled)
        sizes = [len(tensor) for tensor in tensors]
        head = [codebook, *result.shape, result.step, result.median_lifetime, *sizes]
        parts.append(torch.tensor(head, dtype=torch.float64))
        parts += [tensor.flatten().double().cpu() for tensor in tensors]
    return torch.cat(parts)


def unpack(state: Tensor) -> dict[int, SearchResult]:
    """The inverse of ``pack``; a vector of another format version gives no results."""
    version, count = state[:2].tolist()
    results: dict[int, SearchResult] = {}
    rest = state.double().cpu()[2:]
    for _ in range(int(count) if version == FORMAT else 0):
        codebook, *shape, step, median, points, pairs, loops = rest[:8].tolist()
        sizes = [8, int(points), 2 * int(pairs), int(loops)]
        _, rows, edges, filled, rest = rest.split([*sizes, len(rest) - sum(sizes)])
        tensors = (rows.long(), edges.long().view(-1, 2), filled.bool())
        results[int(codebook)] = SearchResult(tuple(map(int, shape)), int(step), median, *tensors)
    return results


def _to_pinned_memory(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, device="cpu", pin_memory=True).copy_(tensor, non_blocking=True)


def _median_lifetime(distances: np.ndarray, pairs: persistence.Pairs) -> float:
    births, deaths = (distances[edges[:, 0], edges[:, 1]] for edges in (pairs.births, pairs.deaths))
    lifetimes = (deaths - births)[deaths > births]
    return float(np.median(lifetimes)) if len(lifetimes) else 0.0
