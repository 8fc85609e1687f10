"""Targets for statistics of a point cloud, and the cost of missing them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from vq_homology import statistics
from vq_homology.statistics import PersistenceDiagram
from vqcore.interfaces.manifold import Manifold


@dataclass(frozen=True)
class Target:
    """The target of a statistic and its weight in the term; weight 0 leaves the statistic out."""

    value: float
    weight: float


@dataclass(frozen=True)
class CloudMeasurement:
    """The quantities that statistics are computed from."""

    diagram: PersistenceDiagram  # of n points
    spread: Tensor  # their RMS distance to the centroid
    points: int  # n
    width: float  # of the soft count of loops
    at: float  # distance, relative to the spread, at which loops are counted alive


#: Statistics by name, each a scalar; names of loop statistics begin with h1. Sums over loops are
#: taken per point.
STATISTICS: dict[str, Callable[[CloudMeasurement], Tensor]] = {
    "h0": lambda m: statistics.mean_death(m.diagram, m.spread),
    "h0_entropy": lambda m: statistics.normalized_entropy(m.diagram.h0),
    "h1": lambda m: statistics.soft_count(m.diagram.lifetimes, m.width) / m.points,
    "h1_total": lambda m: statistics.total_persistence(m.diagram.lifetimes, m.spread) / m.points,
    "h1_entropy": lambda m: statistics.normalized_entropy(m.diagram.lifetimes),
    "h1_alive": lambda m: statistics.loops_alive(m.diagram, m.spread, m.at) / m.points,
}
#: Cost of a statistic s with target t. Deaths and entropies have a floor: only values below it
#: cost. Entropies come so close to their maximum that the square of the gap would vanish.
COSTS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "h0": lambda s, t: (1 - s / t).clamp(min=0).square(),
    "h0_entropy": lambda s, t: (t - s).clamp(min=0),
    "h1": lambda s, t: (s - t).square(),
    "h1_total": lambda s, t: (s / t - 1).square(),
    "h1_entropy": lambda s, t: (t - s).clamp(min=0),
    "h1_alive": lambda s, t: (s / t - 1).square(),
}


class TargetCost:
    """The weighted sum of ``COSTS`` of a cloud's statistics.

    Args:
        targets: by the names of ``STATISTICS``.
        h0_form: compare ``each`` H0 death with the target, or their ``mean``.
        alive_scale: distance, relative to the spread, at which loops are counted alive.
    """

    def __init__(
        self, targets: dict[str, Target], *, h0_form: str = "each", alive_scale: float = 0.5
    ) -> None:
        self.targets = {name: target for name, target in targets.items() if target.weight > 0}
        self.h0_form = h0_form
        self.alive_scale = alive_scale

    @property
    def needs_loops(self) -> bool:
        """Whether any target is a statistic of loops, so that loops must be searched."""
        return any(name.startswith("h1") for name in self.targets)

    def __call__(
        self, points: Tensor, manifold: Manifold, edges: Tensor, filled: Tensor, width: float
    ) -> Tensor:
        """The cost of points (n, A) with the pairs ``edges`` and ``filled``, a scalar.

        0 for fewer than two points. See ``statistics`` for ``diagram_from_edges`` and ``width``.
        """
        cost = points[:0].sum()  # 0, attached to the graph
        if len(points) < 2:
            return cost
        diagram = statistics.diagram_from_edges(points, manifold, edges, filled)
        spread = statistics.spread(points, manifold)
        measured = CloudMeasurement(diagram, spread, len(points), width, self.alive_scale)
        for name, target in self.targets.items():
            if name == "h0" and self.h0_form == "each":
                value = statistics.relative_deaths(diagram, spread)
            else:
                value = STATISTICS[name](measured)
            cost = cost + target.weight * COSTS[name](value, target.value).mean()
        return cost
