"""Differentiable statistics of the persistence diagram of a point cloud.

Values and gradients are finite for clouds of no point, of one point and of coinciding points. With
the cloud's own spread as ``scale``, scaling a cloud changes no statistic (in flat space).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vqcore.interfaces.manifold import Manifold
from vqcore.numerics.stable import safe_sqrt, xlogx

#: Spreads and widths below this count as zero: the cloud has collapsed.
SMALLEST = 1e-12
#: Lifetimes are clamped to this many widths, where the soft count is 1 and its square is finite.
MAX_WIDTHS = 30.0
#: Width of a birth or death in ``loops_alive``, relative to the scale at which loops are counted.
ALIVE_WIDTH = 0.05


@dataclass(frozen=True)
class PersistenceDiagram:
    """The persistence diagram of n points with m loops, differentiable in the points."""

    h0: Tensor  # (n-1,) deaths of the H0 classes, all born at 0
    births: Tensor  # (m,) of the loops
    deaths: Tensor  # (m,) of the loops; without gradient where no searched edge fills the loop

    @property
    def lifetimes(self) -> Tensor:
        """(m,) lifetimes of the loops; 0 for a stale pair whose birth has overtaken its death."""
        return (self.deaths - self.births).clamp(min=0)


def diagram_from_edges(
    points: Tensor, manifold: Manifold, edges: Tensor, filled: Tensor
) -> PersistenceDiagram:
    """The diagram of points (n, A), from the geodesic lengths of the given edges alone.

    ``edges`` (n-1 + 2m, 2) int64 are those of the spanning tree, those at which the m loops are
    born and those at which they die; ``filled`` (m,) bool is that of ``persistence.Pairs``.
    """
    starts = points.index_select(0, edges[:, 0])
    lengths = manifold.dist(starts, points.index_select(0, edges[:, 1]))
    loops = len(filled)
    h0, births, deaths = lengths.split([len(edges) - 2 * loops, loops, loops])
    return PersistenceDiagram(h0, births, torch.where(filled, deaths, deaths.detach()))


def spread(points: Tensor, manifold: Manifold) -> Tensor:
    """Root mean square distance of points (n, A) to their centroid; 0 for fewer than two."""
    if len(points) < 2:
        return points[:0].sum()
    centroid = manifold.from_ambient(manifold.to_ambient(points).mean(0))
    return safe_sqrt(manifold.squared_dist(points, centroid).mean())


def relative_deaths(diagram: PersistenceDiagram, scale: Tensor) -> Tensor:
    """H0 deaths (n-1,) over ``scale``, a scalar; 0 in a collapsed cloud.

    The scale carries gradient: were it constant, inflating the cloud would lengthen all deaths.
    """
    return diagram.h0 / scale.clamp(min=SMALLEST)


def mean_death(diagram: PersistenceDiagram, scale: Tensor) -> Tensor:
    """Mean of all n-1 ``relative_deaths``, zero deaths included (HC-VQ's eps, scale-free)."""
    return relative_deaths(diagram, scale).sum() / max(len(diagram.h0), 1)


def soft_count(lifetimes: Tensor, width: Tensor | float) -> Tensor:
    """HC-VQ's b_1 of lifetimes p (m,): sum_k 1 - exp(-p_k^2 / (2 width^2)).

    A lifetime of 0 counts 0 with gradient 0; one of several widths counts 1.
    """
    if not len(lifetimes):
        return lifetimes.sum()
    width = width.clamp(min=SMALLEST) if isinstance(width, Tensor) else max(width, SMALLEST)
    return -torch.expm1((lifetimes / width).clamp(max=MAX_WIDTHS).square() / -2).sum()


def total_persistence(lifetimes: Tensor, scale: Tensor) -> Tensor:
    """Sum of the lifetimes (m,) over ``scale``; 0 in a collapsed cloud."""
    return lifetimes.sum() / scale.clamp(min=SMALLEST)


def persistent_entropy(lifetimes: Tensor) -> Tensor:
    """Persistent entropy E = -sum_k p_k log p_k with p_k = lifetime_k / sum of lifetimes (HC-VQ).

    log m where all m lifetimes are equal; 0 where one dominates, or where all are 0.
    """
    return -xlogx(lifetimes / lifetimes.sum().clamp(min=SMALLEST)).sum()


def normalized_entropy(lifetimes: Tensor) -> Tensor:
    """Persistent entropy over its maximum log m: 1 for equal lifetimes, 0 for fewer than two."""
    return persistent_entropy(lifetimes) / math.log(max(len(lifetimes), 2))


def loops_alive(diagram: PersistenceDiagram, scale: Tensor, at: float) -> Tensor:
    """Smoothed number of loops with birth < a < death, where a = at * scale.

    The Betti curve convolved with the logistic density of width w = 0.05 a:
    sum_k sigmoid((a - birth_k) / w) - sigmoid((a - death_k) / w). A lifetime of 0 counts 0.
    """
    width = (ALIVE_WIDTH * at * scale).clamp(min=SMALLEST)
    born = torch.sigmoid((at * scale - diagram.births) / width)
    dead = torch.sigmoid((at * scale - (diagram.births + diagram.lifetimes)) / width)
    return (born - dead).sum()
