"""The flat torus: a product of circles."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from vqcore import Manifold


class Torus(Manifold):
    """D circles of circumference ``period``; a point is its D coordinates in [-period/2, period/2].

    Coordinates that differ by a period are the same, so the distance of two points is that of the
    shorter ways around: d(x, y)^2 = sum_i wrap(x_i - y_i)^2. An encoder's outputs are bent into one
    period. If they wrapped instead, nothing would keep them from growing, and a small change of a
    sample would turn them around many times.

    The centroid is that of the chords: the direction of the mean of (cos, sin) on each circle. For
    a cloud that is small against a circle it is the mean of the coordinates.

    Cost: O(N D) for the maps. The nearest code has no affine form (that of (cos, sin) is the order
    of chords, another one), so the search compares all N K distances, in tiles.
    """

    isotropic = False  # a rotation of the coordinates changes distances

    def __init__(self, *, period: float = 2 * math.pi) -> None:
        super().__init__()
        self.period = period

    def wrap(self, x: Tensor) -> Tensor:
        """x modulo the period, in [-period/2, period/2]; exact, with gradient 1."""
        x = torch.fmod(x, self.period)
        return x - self.period * torch.round(x / self.period)

    def tangent(self, z: Tensor) -> Tensor:
        """(period/pi) arctan(pi z/period): z itself near 0, and within half a period anywhere."""
        scale = math.pi / self.period
        return torch.atan(scale * z) / scale

    def expmap0(self, u: Tensor) -> Tensor:
        """Each coordinate goes around its circle."""
        return self.wrap(u)

    def logmap0(self, x: Tensor) -> Tensor:
        """The identity: of all ways from the origin, the shortest."""
        return x

    def squared_dist(self, x: Tensor, y: Tensor) -> Tensor:
        """The sum of the squared distances on the circles."""
        return self.wrap(x - y).square().sum(-1)

    def project(self, x: Tensor) -> Tensor:
        """Wraps what is out of range."""
        return self.wrap(x)

    def check_points(self, x: Tensor) -> str | None:
        """Each coordinate is at most half a period from 0."""
        if bool((x.abs() <= self.period / 2 * (1 + 1e-6)).all()):  # False for NaN
            return None
        return f"a coordinate outside -{self.period / 2:g} to {self.period / 2:g}"

    def to_ambient(self, x: Tensor) -> Tensor:
        """(cos, sin) of the angle on each circle, (..., 2 D)."""
        angle = x * (2 * math.pi / self.period)
        return torch.cat([angle.cos(), angle.sin()], -1)

    def from_ambient(self, m: Tensor) -> Tensor:
        """The angle of each mean, as a coordinate."""
        cos, sin = m.chunk(2, -1)
        return torch.atan2(sin, cos) * (self.period / (2 * math.pi))

    def codes(self, parameter: Tensor) -> tuple[Tensor, Tensor]:
        """Learned coordinates may leave the range: both are the wrapped ones."""
        points = self.wrap(parameter)
        return points, points
