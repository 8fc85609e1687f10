"""What persistence pairs say of a cloud, differentiable: lengths of chosen edges, and numbers made of them.

Everything is finite, with a finite gradient, for clouds of no point, one point, or equal points. Nothing changes when
the cloud is scaled, given its own spread as ``scale``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vqcore.interfaces.manifold import Manifold
from vqcore.numerics.stable import safe_sqrt, xlogx

#: Spreads and widths below this count as zero: a cloud this small has collapsed.
SMALLEST = 1e-12
#: A life of so many widths counts as one loop to the last digit, with gradient 0; its square must not overflow.
MOST_WIDTHS = 30.0
#: Width of the edge at which a loop begins or ceases to be alive, relative to the scale at which one asks.
ALIVE_WIDTH = 0.05


@dataclass(frozen=True)
class Diagram:
    """The persistence diagram of n points with m loops, with gradient to the points.

    Attributes:
        h0: (n-1,) deaths of the H0 classes, all born at 0.
        births: (m,) of the loops.
        deaths: (m,) of the loops; a constant for those that outlive the edges looked at.
    """

    h0: Tensor
    births: Tensor
    deaths: Tensor

    @property
    def lives(self) -> Tensor:
        """(m,) lives of the loops, 0 where pairs searched on an earlier step have crossed since."""
        return (self.deaths - self.births).clamp(min=0)


def measure(points: Tensor, manifold: Manifold, edges: Tensor, filled: Tensor) -> Diagram:
    """The diagram of points (n, A) from edges found before; only these edges' lengths are computed.

    Args:
        points: (n, A).
        manifold: whose distance is meant.
        edges: (n-1 + 2m, 2) int64: the tree's edges, then those with which the m loops appear, then those that fill
            them.
        filled: (m,) bool; the death of a loop that is not filled carries no gradient.
    """
    lengths = manifold.dist(
        points.index_select(0, edges[:, 0]), points.index_select(0, edges[:, 1])
    )
    loops = len(filled)
    h0, births, deaths = lengths.split([len(edges) - 2 * loops, loops, loops])
    return Diagram(h0, births, torch.where(filled, deaths, deaths.detach()))


def spread(points: Tensor, manifold: Manifold) -> Tensor:
    """Root mean square distance of points (n, A) to their centroid; 0 for fewer than two."""
    if len(points) < 2:
        return points[:0].sum()
    centroid = manifold.from_ambient(manifold.to_ambient(points).mean(0))
    return safe_sqrt(manifold.squared_dist(points, centroid).mean())


def relative_deaths(diagram: Diagram, scale: Tensor) -> Tensor:
    """H0 deaths (n-1,) over ``scale``, a scalar; 0 in a collapsed cloud.

    With the cloud's own spread as scale they do not change when the cloud is scaled (in curved space: nearly), so no
    target is met by inflation. That takes the gradient through the scale too: held constant, it leaves a force that
    inflates for ever (measured: the latents' spread grew by 20 % and perplexity did not).
    """
    return diagram.h0 / scale.clamp(min=SMALLEST)


def mean_death(diagram: Diagram, scale: Tensor) -> Tensor:
    """Mean of ``relative_deaths`` (eps of HC-VQ, scale-free): over all n-1, so that equal points count as 0."""
    return relative_deaths(diagram, scale).sum() / max(len(diagram.h0), 1)


def soft_count(lives: Tensor, width: Tensor | float) -> Tensor:
    """Number of loops (m,) that live long: B = sum_k 1 - exp(-p_k^2 / (2 width^2)) (HC-VQ's b_1, its width relative).

    A life of 0 counts 0 with gradient 0, one of several widths counts 1.
    """
    if not len(lives):
        return lives.sum()
    width = width.clamp(min=SMALLEST) if isinstance(width, Tensor) else max(width, SMALLEST)
    return -torch.expm1((lives / width).clamp(max=MOST_WIDTHS).square() / -2).sum()


def total_persistence(lives: Tensor, scale: Tensor) -> Tensor:
    """Sum of the lives (m,) over ``scale``; 0 in a collapsed cloud."""
    return lives.sum() / scale.clamp(min=SMALLEST)


def persistent_entropy(lives: Tensor) -> Tensor:
    """Entropy of the shares that the bars have in the total: E = -sum_k p_k log p_k, p_k = life_k / sum life.

    log m where all m lives are equal, 0 where one outlives all others, or where none lives (HC-VQ logs it).
    """
    return -xlogx(lives / lives.sum().clamp(min=SMALLEST)).sum()


def evenness(lives: Tensor) -> Tensor:
    """Persistent entropy as a share of the most that m bars allow, log m: 1 where all live equally long.

    0, without gradient, for fewer than two bars.
    """
    return persistent_entropy(lives) / math.log(max(len(lives), 2))


def alive(diagram: Diagram, scale: Tensor, at: float) -> Tensor:
    """Number of loops alive at distance ``at * scale``: birth < at scale < death, each edge of the step made smooth.

    The Betti curve convolved with the logistic density of width w = 0.05 at scale:
    sum_k sigmoid((at scale - birth_k) / w) - sigmoid((at scale - death_k) / w). A life of 0 counts 0.
    """
    width = (ALIVE_WIDTH * at * scale).clamp(min=SMALLEST)
    births, deaths = diagram.births, diagram.births + diagram.lives
    return (
        torch.sigmoid((at * scale - births) / width) - torch.sigmoid((at * scale - deaths) / width)
    ).sum()
