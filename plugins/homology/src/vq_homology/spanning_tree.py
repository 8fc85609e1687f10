"""Minimum spanning trees of fixed shape, found where the points are."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from vq_homology import persistence
from vqcore.numerics import kernel_trial


@torch.no_grad()
def find(order: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """A minimum spanning tree of the points of n that ``kept`` (n,) selects.

    ``order`` (n, n) rises with the distances. On a GPU with Triton the host does not wait.

    Returns:
        The edges (2, n), int64: what each point hangs from, and the point. For the root, which is
        the first point kept, and for points that take no part, both are the root. Only the root
        takes part, kept or not, if no point is kept or if a distance overflows.
        Weights (2, n) in means: of the points, with sum 1, and of the edges, with sum 1 or 0.
    """
    if order.is_cuda and _kernel_runs(order.device):
        from vq_homology import prim

        return prim.find(order.double(), kept)
    edges, weights = _find_on_host(order.cpu().numpy(), kept.cpu().numpy())
    return edges.to(order.device), weights.to(order.device, order.dtype)


def _find_on_host(order: np.ndarray, kept: np.ndarray) -> tuple[Tensor, Tensor]:
    rows = np.flatnonzero(kept) if kept.any() else np.array([0])
    if len(rows) < len(order):
        order = order[np.ix_(rows, rows)]
    if not np.isfinite(order).all():
        rows, order = rows[:1], order[:1, :1]
    starts, ends = persistence.spanning_tree(order).T
    edges, weights = np.full((2, len(kept)), rows[0]), np.zeros((2, len(kept)))
    edges[0, rows[ends]] = rows[starts]
    edges[1, rows] = rows
    weights[0, rows] = 1 / len(rows)
    weights[1, rows[ends]] = 1 / max(len(ends), 1)
    return torch.from_numpy(edges), torch.from_numpy(weights)


@functools.cache
def _kernel_runs(device: torch.device) -> bool:
    """Whether the kernel works on a device; where it does not, the host waits for distances."""

    def trial() -> bool:
        from vq_homology import prim

        place = torch.arange(5, dtype=torch.float64, device=device)
        edges, _ = prim.find((place - place.unsqueeze(1)).abs(), place >= 0)
        return edges.tolist() == [[0, 0, 1, 2, 3], [0, 1, 2, 3, 4]]

    return kernel_trial.succeeds(trial, f"no spanning trees on {device}, the host finds them")
