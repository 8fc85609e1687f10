"""Persistence pairs of a finite metric space, as edges. No torch, no gradient.

Vietoris-Rips persistence depends on the order of the edges alone, and each H0 or H1 class is born
and dies at one edge. Backends therefore receive the ranks of the sorted edges as lengths. Their
results name edges, ties follow the vertex order, coinciding points are no special case, and
float64 order is kept whatever precision a backend uses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vq_homology.backends import Backend

#: Clouds of up to this many points use all edges, which takes milliseconds.
FULL_SIZE = 128


@dataclass(frozen=True)
class Pairs:
    """The persistence pairs of n points; an edge is an int64 pair of point indices.

    H0 classes are born at 0 and die at the edges of a minimum spanning tree. Where no searched edge
    fills a loop, its death is the longest searched edge, a lower bound.
    """

    tree: np.ndarray  # (n-1, 2), shortest edge first
    births: np.ndarray  # (m, 2), the edges at which loops (H1 classes) are born
    deaths: np.ndarray  # (m, 2), the edges at which they die
    filled: np.ndarray  # (m,) bool, whether the loop dies at a searched edge


def search(
    distances: np.ndarray, backend: Backend | None = None, edge_quantile: float = 1.0
) -> Pairs:
    """The pairs of a symmetric and finite distance matrix (n, n).

    H0 is exact. H1 needs a ``backend`` and uses the shortest ``edge_quantile`` of the edges, or all
    for n <= 128, but none beyond the enclosing radius.
    """
    tree = spanning_tree(distances)
    if backend is None or len(distances) < 4:  # three points form no loop
        none = np.empty((0, 2), dtype=np.int64)
        return Pairs(tree, none, none, np.empty(0, dtype=bool))
    edges = shortest_edges(distances, 1.0 if len(distances) <= FULL_SIZE else edge_quantile)
    ranks = backend.loops(edges, len(distances))
    ranks = ranks[np.lexsort((ranks[:, 1], ranks[:, 0]))]  # the order differs between backends
    filled = np.isfinite(ranks[:, 1])
    births = ranks[:, 0].astype(np.int64) - 1
    deaths = np.where(filled, ranks[:, 1], len(edges)).astype(np.int64) - 1
    edges = edges.astype(np.int64)
    return Pairs(tree, edges[births], edges[deaths], filled)


def spanning_tree(distances: np.ndarray) -> np.ndarray:
    """Edges (n-1, 2) int64 of a minimum spanning tree of a matrix (n, n), shortest first (Prim).

    Zero distances are edges too. Among equal edges the first found wins, on every machine.
    """
    n = len(distances)
    if n < 2:
        return np.empty((0, 2), dtype=np.int64)
    nearest = np.array(distances[0], dtype=np.float64)
    source = np.zeros(n, dtype=np.int64)
    joined = np.zeros(n)  # inf for points in the tree
    nearest[0] = joined[0] = np.inf
    row = np.empty(n)
    closer = np.empty(n, dtype=bool)
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
    """The shortest ``quantile`` of the edges of a matrix (n, n): (M, 2) int32, shortest first.

    Equal edges follow the vertex order, and no more than the quantile are returned: coinciding
    points would take seconds. Edges beyond the enclosing radius min_i max_j d_ij are left out:
    there some point is joined to all others, the complex is a cone, and every loop is filled.
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
    """The stable order (N,) of values (N,); the unstable sort is faster, and ties are rare."""
    order = np.argsort(values)
    ranked = values[order]
    return np.argsort(values, kind="stable") if (ranked[1:] == ranked[:-1]).any() else order
