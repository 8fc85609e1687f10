"""The Lorentz model (Nickel and Kiela 2018, arXiv:1806.03417)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from vq_hyperbolic.distance import hyperbolic_distance, squared_acosh
from vq_hyperbolic.hyperbolic import Hyperbolic
from vqcore.numerics.radial import clip_norm, lifted_map, radial_map

onto_sheet = lifted_map(
    lambda a, limit: ((twice := 2 * a.clamp(max=limit)).cosh(), twice.sinh() / a), turn=2.0
)
off_sheet = radial_map(
    factor=lambda s: s.asinh() / (2 * s), steepness=lambda s, f: (1 + s.square()).rsqrt() / 2
)


def _in_ball(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    """p = x_s/l with l = 1 + x_0, q = y_s/m with m = 1 + y_0, s = l m/4.

    2 l m (p - q)/(l + m) = x_s - y_s - (x_s + y_s) (x_0 - y_0)/(l + m), where x_0 - y_0 =
    (x_s + y_s).(x_s - y_s)/(x_0 + y_0). The plain difference p - q would lose the digits of a small
    distance.
    """
    side, scale, other_side, other = x[..., 1:], 1 + x[..., :1], y[..., 1:], 1 + y[..., :1]
    difference, total, scales = side - other_side, side + other_side, scale + other
    rise = (difference * total).sum(-1, keepdim=True) / ((scales - 2) * scales)
    s = scale * other / 4
    between = scales / (8 * s) * torch.addcmul(difference, rise, total, value=-1)
    return s, between, side, scale, other_side, other


def _gradient(
    side: Tensor, scale: Tensor, between: Tensor, across: Tensor, along: Tensor
) -> Tensor:
    """For x_s and x_0 by p = x_s/l and log s = log l + ..., l = 1 + x_0."""
    to_side = across / scale * between
    to_time = (along - (to_side * side).sum(-1, keepdim=True)) / scale
    return torch.cat([to_time, to_side], -1)


distance_on_sheet = hyperbolic_distance(_in_ball, _gradient)


class Lorentz(Hyperbolic):
    """The sheet -x_0^2 + |x_s|^2 = -1/c, x_0 > 0, in R^(D+1); its origin is (1/sqrt(c), 0).

    x_0 is the first coordinate. A tangent vector u leads to the same point as in the Poincare ball,
    at distance 2|u|. Options: see ``Hyperbolic``.

    Cost: that of the Poincare ball.
    """

    geoopt_name = "Lorentz"
    keys_of_tables = True

    def point_dim(self, dim: int) -> int:
        """D + 1."""
        return dim + 1

    def expmap0(self, u: Tensor) -> Tensor:
        """(cosh 2a, sinh 2a u/|u|)/sqrt(c), a = sqrt(c) |u|: the lift of the ball's point."""
        return onto_sheet(u, self.sqrt_c, self.reach(u))

    def logmap0(self, x: Tensor) -> Tensor:
        """asinh(s)/2 x_s/s, s = sqrt(c) |x_s|: without x_0, so exact near the origin."""
        return off_sheet(x[..., 1:], self.sqrt_c)

    @staticmethod
    def quarter(x: Tensor, y: Tensor, rho: Tensor | float, apart: bool) -> Tensor:
        """See ``Hyperbolic.quarter``."""
        return distance_on_sheet(x, y, rho, apart)

    def translate(self, x: Tensor, y: Tensor) -> Tensor:
        """The boost of the origin to x, applied to y.

        Its spatial part is y_s + sqrt(c) (y_0 + sqrt(c) x_s.y_s/(1 + sqrt(c) x_0)) x_s.
        """
        sqrt_c = self.sqrt_c
        side = x[..., 1:]
        inner = (side * y[..., 1:]).sum(-1, keepdim=True)
        along = y[..., :1] + sqrt_c * inner / (1 + sqrt_c * x[..., :1])
        return self.project(torch.cat([y[..., :1], y[..., 1:] + sqrt_c * along * side], -1))

    def negate(self, x: Tensor) -> Tensor:
        """(x_0, -x_s)."""
        return torch.cat([x[..., :1], -x[..., 1:]], -1)

    def project(self, x: Tensor) -> Tensor:
        """Clip the spatial part to the reach and recompute x_0 from it."""
        return self._point(clip_norm(x[..., 1:], 1 / self._widest(x)))

    def _widest(self, x: Tensor) -> Tensor | float:
        """Largest |x_s| in the dtype of x, with a margin over what ``expmap0`` returns."""
        return math.sinh(2 * self.reach(x)) / self.sqrt_c * (1 + 1e-5)

    def _point(self, side: Tensor) -> Tensor:
        """The point with spatial coordinates (..., D)."""
        height = (side.square().sum(-1, keepdim=True) + 1 / self.curvature).sqrt()
        return torch.cat([height, side], -1)

    @torch.no_grad()
    def check_points(self, x: Tensor) -> str | None:
        """x_0 is the height of the hyperboloid above x_s, which is within reach."""
        if not bool(torch.isfinite(x).all()):
            return "some coordinates are not finite"
        if not x.numel():
            return None
        slack = 32 * torch.finfo(x.dtype).eps
        height = self._point(x[..., 1:])[..., 0]
        error = float(((x[..., 0] - height) / height).abs().max())
        if error > slack:
            return f"a time coordinate is off the hyperboloid by {error:.1e} of its height"
        widest, limit = float(x[..., 1:].norm(dim=-1).max()), self._widest(x) * (1 + slack)
        if widest > limit:
            return f"a spatial norm is {widest:.6g}: beyond the reach of the dtype, {limit:.6g}"
        return None

    def to_ambient(self, x: Tensor) -> Tensor:
        """The point itself, in float64 for sums."""
        return self._point(x[..., 1:].double())

    def ambient_dim(self, dim: int) -> int:
        """D + 1."""
        return dim + 1

    def from_ambient(self, m: Tensor) -> Tensor:
        """m/sqrt(c (m_0^2 - |m_s|^2)) of a sum m (..., D+1) of any positive scale; origin for 0."""
        v = self.velocity(m)
        side = v / (self.sqrt_c * (1 - v.square().sum(-1, keepdim=True)).sqrt())
        return self._point(clip_norm(side, 1 / self._widest(m)))

    def search_query(self, x: Tensor, centre: Tensor) -> Tensor:
        """x' = x - centre."""
        return self._search_type(x) - self._search_type(centre)

    def search_keys(self, codes: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
        """<x - y, x - y> - <x', x'> = x'.(-2Jy') + y'.Jy', J = diag(-1, 1, ...), rises with d."""
        side = self.search_query(codes, centre)
        signed = torch.cat([-side[..., :1], side[..., 1:]], -1)
        return -2 * signed, (side * signed).sum(-1)

    def squared_dist_from(self, codes: Tensor) -> Callable[[Tensor], Tensor]:
        """acosh^2(1 + c <x - y, x - y>/2)/c, by <x', x'> and the scores."""
        scores = self.scores_from(codes)

        def distances(x: Tensor) -> Tensor:
            query, found = scores(x)
            found += (query.square().sum(-1) - 2 * query[..., 0].square()).unsqueeze(-1)
            return squared_acosh(found.mul_(self.curvature / 2)).mul_(1 / self.curvature)

        return distances

    def _search_type(self, x: Tensor) -> Tensor:
        """x itself, or in float64 with x_0 recomputed."""
        self._require_reach(x)
        return self._point(x[..., 1:].double()) if self.double_search else x
