"""What is asked of a cloud: targets for some of its statistics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from vq_homology import statistics
from vq_homology.statistics import Diagram
from vqcore.interfaces.manifold import Manifold


@dataclass(frozen=True)
class Goal:
    """A statistic's target and its share of the term; the statistic is left out at weight 0."""

    target: float
    weight: float


@dataclass(frozen=True)
class Measured:
    """What statistics are made of.

    Attributes:
        diagram: of n points.
        spread: RMS distance to their centroid.
        points: n.
        width: of the soft count of loops.
        at: relative distance at which loops are counted alive.
    """

    diagram: Diagram
    spread: Tensor
    points: int
    width: float
    at: float


#: Statistics by name, each a scalar; those of loops begin with h1. Sums over loops are taken per point.
STATISTICS: dict[str, Callable[[Measured], Tensor]] = {
    "h0": lambda m: statistics.mean_death(m.diagram, m.spread),
    "h0_entropy": lambda m: statistics.evenness(m.diagram.h0),
    "h1": lambda m: statistics.soft_count(m.diagram.lives, m.width) / m.points,
    "h1_total": lambda m: statistics.total_persistence(m.diagram.lives, m.spread) / m.points,
    "h1_entropy": lambda m: statistics.evenness(m.diagram.lives),
    "h1_alive": lambda m: statistics.alive(m.diagram, m.spread, m.at) / m.points,
}
#: How a statistic s is held against its target t.
COSTS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "h0": lambda s, t: (1 - s / t).clamp(min=0).square(),
    "h0_entropy": lambda s, t: (t - s).clamp(min=0),
    "h1": lambda s, t: (s - t).square(),
    "h1_total": lambda s, t: (s / t - 1).square(),
    "h1_entropy": lambda s, t: (t - s).clamp(min=0),
    "h1_alive": lambda s, t: (s / t - 1).square(),
}


class Signature:
    """How far a cloud's statistics are from their targets: a weighted sum of ``COSTS``.

    What keeps points apart is held to a floor, and only what is below it costs. Most clouds come so close to the
    largest entropy that the square of what is missing would be nothing.

    Args:
        goals: by the names of ``STATISTICS``.
        h0_form: ``each`` death has to reach the target, or their ``mean``.
        alive_scale: distance, relative to the spread, at which loops are counted alive.
    """

    def __init__(
        self, goals: dict[str, Goal], *, h0_form: str = "each", alive_scale: float = 0.5
    ) -> None:
        self.goals = {name: goal for name, goal in goals.items() if goal.weight > 0}
        self.h0_form, self.alive_scale = h0_form, alive_scale

    @property
    def needs_loops(self) -> bool:
        """Whether a statistic of loops is asked for, so that they must be searched."""
        return any(name.startswith("h1") for name in self.goals)

    def distance(
        self, points: Tensor, manifold: Manifold, edges: Tensor, filled: Tensor, width: float
    ) -> Tensor:
        """The term of points (n, A), a scalar: 0 for fewer than two.

        Args:
            points: (n, A).
            manifold: their space.
            edges, filled: their pairs, see ``statistics.measure``.
            width: of the soft count of loops.
        """
        term = points[:0].sum()  # 0, with a gradient whatever is left out below
        if len(points) < 2:
            return term
        diagram = statistics.measure(points, manifold, edges, filled)
        measured = Measured(
            diagram, statistics.spread(points, manifold), len(points), width, self.alive_scale
        )
        for name, goal in self.goals.items():
            term = term + goal.weight * self._cost(name, measured, goal.target)
        return term

    def _cost(self, name: str, measured: Measured, target: float) -> Tensor:
        if name == "h0" and self.h0_form == "each":
            value = statistics.relative_deaths(measured.diagram, measured.spread)
        else:
            value = STATISTICS[name](measured)
        return COSTS[name](value, target).mean()
