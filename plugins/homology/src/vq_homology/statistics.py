"""Differentiable statistics of the persistence diagram of a point cloud.

Values and gradients are finite for clouds of no point, of one point and of coinciding points. With
the cloud's own spread as ``scale``, scaling a cloud changes no statistic (in flat space).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from vqcore.interfaces.manifold import Manifold
from vqcore.numerics.explicit_gradient import with_gradient
from vqcore.numerics.stable import safe_sqrt, xlogx

#: Spreads and widths below this count as zero: the cloud has collapsed.
SMALLEST = 1e-12
#: Lifetimes are clamped to this many widths, where the soft count is 1 and its square is finite.
MAX_WIDTHS = 30.0
#: Width of a birth or death in ``loops_alive``, relative to the scale at which loops are counted.
ALIVE_WIDTH = 0.05


@dataclass(frozen=True)
class Cloud:
    """n points, and the ends of the edges at which the classes of their diagram are born and die.

    The edges are t of the spanning tree, then those at which m loops are born, then those at which
    they die.
    """

    points: Tensor  # (n, A)
    weights: Tensor  # (n,) of the points in means, with sum 1; 0 for one that takes no part
    starts: Tensor  # (t + 2m, A)
    ends: Tensor  # (t + 2m, A)
    shares: Tensor  # (t,) of the tree's edges in means, with sum 1; 0 for a point to itself
    filled: Tensor | None = None  # (m,) bool, see ``persistence.Pairs``; None without loops


def whole_cloud(points: Tensor, edges: Tensor, filled: Tensor) -> Cloud:
    """The cloud of points (n, A) that all take part, with edges (n-1 + 2m, 2) between them."""
    tree = max(len(points) - 1, 0)
    weights = points.new_full((len(points),), 1 / max(len(points), 1))
    shares = points.new_full((tree,), 1 / max(tree, 1))
    starts, ends = points.index_select(0, edges.flatten()).view(-1, 2, points.shape[1]).unbind(1)
    return Cloud(points, weights, starts, ends, shares, filled if len(filled) else None)


def spanned_cloud(points: Tensor, edges: Tensor, weights: Tensor) -> Cloud:
    """The cloud of points (n, A) with a tree of ``spanning_tree.find``, without loops."""
    starts, ends = points.index_select(0, edges.flatten()).chunk(2)
    return Cloud(ends, weights[0], starts, ends, weights[1])


@dataclass(frozen=True)
class PersistenceDiagram:
    """The persistence diagram of a cloud with m loops, differentiable in its points."""

    h0: Tensor  # (t,) deaths of the H0 classes, all born at 0
    shares: Tensor  # (t,) of the deaths in means, see ``Cloud``
    births: Tensor  # (m,) of the loops
    deaths: Tensor  # (m,) of the loops; without gradient where no searched edge fills the loop

    @property
    def lifetimes(self) -> Tensor:
        """(m,) lifetimes of the loops; 0 for a stale pair whose birth has overtaken its death."""
        return (self.deaths - self.births).clamp(min=0)


class Measurement:
    """The squared geodesic distances from which a cloud's statistics are computed."""

    def __init__(self, cloud: Cloud, manifold: Manifold) -> None:
        self.cloud = cloud
        ambient = manifold.to_ambient(cloud.points)
        weights = cloud.weights.to(ambient.dtype).unsqueeze(0)
        centroid = manifold.from_ambient(weights @ ambient).to(cloud.points.dtype)
        # one call for all distances takes half the kernels of two
        squared = manifold.squared_dist(
            torch.cat([cloud.starts, cloud.points]),
            torch.cat([cloud.ends, centroid.expand_as(cloud.points)]),
        )
        #: Squares of the edges' lengths (t + 2m,), and of the distances to the centroid (n,).
        self.lengths, self.radii = squared.split([len(cloud.starts), len(cloud.points)])

    @cached_property
    def spread(self) -> Tensor:
        """Root mean square distance of the points to their centroid."""
        return safe_sqrt(self.cloud.weights @ self.radii)

    @cached_property
    def diagram(self) -> PersistenceDiagram:
        """The diagram, from the lengths of the edges alone."""
        shares, filled, lengths = self.cloud.shares, self.cloud.filled, safe_sqrt(self.lengths)
        if filled is None:
            return PersistenceDiagram(lengths, shares, lengths[:0], lengths[:0])
        h0, births, deaths = lengths.split([len(shares), len(filled), len(filled)])
        deaths = torch.where(filled, deaths, deaths.detach())
        return PersistenceDiagram(h0, shares, births, deaths)


def _shortfall(
    lengths: Tensor, radii: Tensor, weights: Tensor, shares: Tensor, target: float
) -> tuple[Tensor, ...]:
    spread = (weights @ radii).sqrt().clamp(min=SMALLEST)
    deaths = lengths.sqrt()
    missing = (1 - deaths / (target * spread)).clamp(min=0)
    return shares @ missing.square(), spread, deaths, missing


def _shortfall_gradient(
    gradient: Tensor, inputs: Sequence[Any], kept: Sequence[Tensor], _: Sequence[bool]
) -> tuple[Any, ...]:
    (lengths, _, weights, shares, target), (spread, deaths, missing) = inputs, kept
    pull = gradient / (target * spread) * (shares * missing)
    to_lengths = torch.where(lengths < torch.finfo(lengths.dtype).tiny, 0, -pull / deaths)
    to_spread = (spread > SMALLEST) * (pull @ deaths) / spread.square()
    return to_lengths, to_spread * weights, None, None, None


_mean_shortfall = with_gradient(_shortfall, _shortfall_gradient)


def mean_shortfall(measured: Measurement, target: float) -> Tensor:
    """Mean of max(0, 1 - s/target)^2 over the ``relative_deaths`` s.

    The default term is this alone; in closed form it takes a third of the kernels.
    """
    cloud = measured.cloud
    tree = measured.lengths[: len(cloud.shares)]
    return _mean_shortfall(tree, measured.radii, cloud.weights, cloud.shares, target)


def relative_deaths(diagram: PersistenceDiagram, scale: Tensor) -> Tensor:
    """H0 deaths (t,) over ``scale``, a scalar; 0 in a collapsed cloud.

    The scale carries gradient: were it constant, inflating the cloud would lengthen all deaths.
    """
    return diagram.h0 / scale.clamp(min=SMALLEST)


def mean_death(diagram: PersistenceDiagram, scale: Tensor) -> Tensor:
    """Mean of all ``relative_deaths``, zero deaths included (HC-VQ's eps, scale-free)."""
    return diagram.shares @ relative_deaths(diagram, scale)


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


def normalized_entropy(lifetimes: Tensor, shares: Tensor | None = None) -> Tensor:
    """Persistent entropy over its maximum log m: 1 for equal lifetimes, 0 for fewer than two.

    The m lifetimes are all, or those with a share above 0; the others must be 0.
    """
    entropy = persistent_entropy(lifetimes)
    if shares is None:
        return entropy / math.log(max(len(lifetimes), 2))
    return entropy / (shares > 0).sum().clamp(min=2).to(entropy.dtype).log()


def loops_alive(diagram: PersistenceDiagram, scale: Tensor, at: float) -> Tensor:
    """Smoothed number of loops with birth < a < death, where a = at * scale.

    The Betti curve convolved with the logistic density of width w = 0.05 a:
    sum_k sigmoid((a - birth_k) / w) - sigmoid((a - death_k) / w). A lifetime of 0 counts 0.
    """
    width = (ALIVE_WIDTH * at * scale).clamp(min=SMALLEST)
    born = torch.sigmoid((at * scale - diagram.births) / width)
    dead = torch.sigmoid((at * scale - (diagram.births + diagram.lifetimes)) / width)
    return (born - dead).sum()
