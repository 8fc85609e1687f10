"""Targets for statistics of a point cloud, and the cost of missing them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from vq_homology import statistics
from vq_homology.statistics import Cloud, Measurement
from vqcore.interfaces.manifold import Manifold


@dataclass(frozen=True)
class Target:
    """The target of a statistic and its weight in the term; weight 0 leaves the statistic out."""

    value: float
    weight: float


@dataclass(frozen=True)
class Scales:
    """What statistics of loops are relative to."""

    points: int  # of the cloud
    width: float = 0.0  # of the soft count of loops
    at: float = 0.5  # distance, relative to the spread, at which loops are counted alive


#: Statistics by name, each a scalar; names of loop statistics begin with h1. Sums over loops are
#: taken per point.
STATISTICS: dict[str, Callable[[Measurement, Scales], Tensor]] = {
    "h0": lambda m, _: statistics.mean_death(m.diagram, m.spread),
    "h0_entropy": lambda m, _: statistics.normalized_entropy(m.diagram.h0, m.diagram.shares),
    "h1": lambda m, s: statistics.soft_count(m.diagram.lifetimes, s.width) / s.points,
    "h1_total": lambda m, s: statistics.total_persistence(m.diagram.lifetimes, m.spread) / s.points,
    "h1_entropy": lambda m, _: statistics.normalized_entropy(m.diagram.lifetimes),
    "h1_alive": lambda m, s: statistics.loops_alive(m.diagram, m.spread, s.at) / s.points,
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

    def __call__(self, cloud: Cloud, manifold: Manifold, width: float) -> Tensor:
        """The cost of a cloud of n points, a scalar; ``width`` is that of the soft count of loops.

        0 for fewer than two points.
        """
        if len(cloud.points) < 2:
            return cloud.points.sum() * 0
        measured = Measurement(cloud, manifold)
        scales = Scales(len(cloud.points), width, self.alive_scale)
        costs = [
            target.weight * self._cost(name, target.value, measured, scales)
            for name, target in self.targets.items()
        ]
        return sum(costs[1:], costs[0]) if costs else measured.spread * 0

    def _cost(self, name: str, target: float, measured: Measurement, scales: Scales) -> Tensor:
        if name == "h0" and self.h0_form == "each":
            return statistics.mean_shortfall(measured, target)
        return COSTS[name](STATISTICS[name](measured, scales), target)
