"""Persistence pairs of a finite metric space, as the edges whose lengths are births and deaths. No torch, no gradient.

Vietoris-Rips persistence depends on the order of the edges alone, and each H0 or H1 class appears or ends with one
edge. So backends are given the ranks of the sorted edges instead of lengths: what comes back names the edges, ties are
settled by vertex number, equal points are no special case, and float64 order is kept whatever a backend computes in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vq_homology.backends import Backend

#: Clouds of up to so many points are searched in full, whatever the quantile: it takes milliseconds.
FULL_SIZE = 128


@dataclass(frozen=True)
class Pairs:
    """The persistence pairs of n points; an edge is a pair of point numbers.

    Attributes:
        tree: (n-1, 2) int64, the edges of a minimum spanning tree, shortest first: the H0 classes, all born at 0,
            die with them.
        births: (m, 2) int64, the edges with which loops (H1 classes) appear.
        deaths: (m, 2) int64, the edges with which they are filled.
        filled: (m,) bool; False where a loop outlives the edges looked at. Its death is the longest of them, which
            bounds its true death from below.
    """

    tree: np.ndarray
    births: np.ndarray
    deaths: np.ndarray
    filled: np.ndarray


def search(
    distances: np.ndarray, backend: Backend | None = None, edge_quantile: float = 1.0
) -> Pairs:
    """The pairs of the metric space with the distance matrix ``distances`` (n, n), symmetric and finite.

    H0 is exact. H1 is computed where a ``backend`` is given, from the shortest ``edge_quantile`` of all edges, or from
    all for n <= 128; never from edges that cannot matter.
    """
    tree = spanning_tree(distances)
    if backend is None or len(distances) < 4:  # three points are a triangle: a loop needs four
        none = np.empty((0, 2), dtype=np.int64)
        return Pairs(tree, none, none, np.empty(0, dtype=bool))
    edges = shortest_edges(distances, 1.0 if len(distances) <= FULL_SIZE else edge_quantile)
    ranks = backend.loops(edges, len(distances))
    ranks = ranks[
        np.lexsort((ranks[:, 1], ranks[:, 0]))
    ]  # backends list them in orders of their own
    filled = np.isfinite(ranks[:, 1])
    first, last = ranks[:, 0], np.where(filled, ranks[:, 1], len(edges))
    chosen = edges.astype(np.int64)
    return Pairs(
        tree, chosen[first.astype(np.int64) - 1], chosen[last.astype(np.int64) - 1], filled
    )


def spanning_tree(distances: np.ndarray) -> np.ndarray:
    """Edges (n-1, 2) int64 of a minimum spanning tree of a full distance matrix (n, n), shortest first (Prim 1957).

    Zero distances are edges like any other. Of equal edges the one met first wins, the same on every machine.
    """
    n = len(distances)
    if n < 2:
        return np.empty((0, 2), dtype=np.int64)
    nearest, source = np.array(distances[0], dtype=np.float64), np.zeros(n, dtype=np.int64)
    joined, row, closer = (
        np.zeros(n),
        np.empty(n),
        np.empty(n, dtype=bool),
    )  # joined: inf for points in the tree
    nearest[0] = joined[0] = np.inf
    order = np.empty(n - 1, dtype=np.int64)
    for step in range(n - 1):
        point = order[step] = nearest.argmin()
        nearest[point] = joined[point] = np.inf
        np.add(distances[point], joined, out=row)
        np.less(row, nearest, out=closer)
        source[closer] = point
        np.minimum(nearest, row, out=nearest)
    edges = np.stack([source[order], order], 1)
    return edges[np.argsort(distances[source[order], order], kind="stable")]


def shortest_edges(distances: np.ndarray, quantile: float = 1.0) -> np.ndarray:
    """The shortest ``quantile`` of the edges of a distance matrix (n, n): (M, 2) int32, shortest first.

    Equal edges stand in the order of their vertices, and no more than the quantile are given however many are equal:
    points that are all equal would take seconds. Edges beyond the enclosing radius, min_i max_j d_ij, are left out:
    from there on some point is joined to every other, the complex is a cone, and no loop is left to fill.
    """
    above = ~np.tri(len(distances), dtype=bool)
    lengths = distances[above]
    count = max(1, int(np.ceil(quantile * len(lengths))))
    limit = distances.max(1).min()
    if count < len(lengths):
        limit = min(limit, np.partition(lengths, count - 1)[count - 1])
    rows, columns = np.nonzero(above & (distances <= limit))
    order = _ascending(lengths[lengths <= limit])[:count]
    return np.stack([rows[order], columns[order]], 1).astype(np.int32)


def _ascending(values: np.ndarray) -> np.ndarray:
    """Stable order (N,) of values (N,). The sort that is not stable takes a sixth of the time; ties are rare."""
    order = np.argsort(values)
    ranked = values[order]
    return np.argsort(values, kind="stable") if (ranked[1:] == ranked[:-1]).any() else order
