"""The Poincare ball (Ganea et al. 2018, arXiv:1805.09112, section 2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vq_hyperbolic.distance import hyperbolic_distance, squared_acosh
from vq_hyperbolic.hyperbolic import Hyperbolic, into_ball
from vqcore.numerics.curvature import scaled
from vqcore.numerics.radial import clip_norm, radial_map

#: Largest sqrt(c) |y| of a point: slightly more than tanh(REACH), and geoopt's values.
EDGE = {torch.float32: 1 - 4e-3, torch.float64: 1 - 1e-5}

out_of_ball = radial_map(
    factor=lambda n, edge: n.clamp(max=edge).atanh() / n,
    steepness=lambda n, f, edge: torch.where(n < edge, 1 / (1 - n.clamp(max=edge).square()), 0),
)


def rim(x: Tensor) -> float:
    """Largest sqrt(c) |y| of a point in the dtype of x."""
    return EDGE.get(x.dtype, EDGE[torch.float32])


def depth(x: Tensor, rho: Tensor | float = 1.0, dtype: torch.dtype | None = None) -> Tensor:
    """1 - rho^2 |x|^2 (..., 1), positive also for points that rounding moved out of the ball."""
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=dtype)
    return (1 - scaled(length, rho).square()).clamp(min=(1 - rim(length) ** 2) / 2)


def _in_ball(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    of_x, of_y = depth(x), depth(y)
    # views, because autograd keeps no input as an output
    return (of_x * of_y).reciprocal(), x - y, x.view_as(x), of_x, y.view_as(y), of_y


def _gradient(p: Tensor, depth: Tensor, between: Tensor, across: Tensor, along: Tensor) -> Tensor:
    """-log(1 - |p|^2) has the gradient 2p/(1 - |p|^2)."""
    return torch.addcmul(2 * along / depth * p, across, between)


distance_in_ball = hyperbolic_distance(_in_ball, _gradient)


class Poincare(Hyperbolic):
    """The ball c|y|^2 < 1 in R^D with metric (2/(1 - c|y|^2))^2 |dy|^2.

    ``1 - c|y|^2`` cancels near the edge: the relative error of a float32 point is 1e-7 cosh^2 of
    half the distance from the origin, which ``max_radius`` limits.

    With ``search="ball"`` codes are chosen and averaged by flat distance |x - y| in the ball: the
    geodesic distance, in units that shrink with the metric, by 1 - c|y|^2. All children of a node
    far out then lie close to it, so one code stands for a small subtree, and codes are left for the
    few nodes near the origin. Losses, decoders and sums of residuals stay geodesic.
    Options: see ``PoincareConfig``.

    Cost: O(N D) for the maps; the search is a product of (N, D+1) and (D+1, K) in O(N + tile)
    memory, in float64 if ``max_radius`` is above 2.5 at curvature 1.
    """

    geoopt_name = "PoincareBall"
    keys_of_tables = True

    def __init__(self, *, search: str = "geodesic", **options: Any) -> None:
        super().__init__(**options)
        self.flat_search = search == "ball"

    def expmap0(self, u: Tensor) -> Tensor:
        """tanh(a) u/a, a = sqrt(c) |u|."""
        return into_ball(u, self.sqrt_c, self.reach(u))

    def logmap0(self, x: Tensor) -> Tensor:
        """artanh(n) x/n, n = sqrt(c) |x|."""
        return out_of_ball(x, self.sqrt_c, rim(x))

    @staticmethod
    def quarter(x: Tensor, y: Tensor, rho: Tensor | float, apart: bool) -> Tensor:
        """See ``Hyperbolic.quarter``."""
        return distance_in_ball(x, y, rho, apart)

    def translate(self, x: Tensor, y: Tensor) -> Tensor:
        """Moebius addition x (+) y (Ganea et al. 2018, eq. 4)."""
        c = self.curvature
        inner = c * (x * y).sum(-1, keepdim=True)
        x_squared = c * (x * x).sum(-1, keepdim=True)
        y_squared = c * (y * y).sum(-1, keepdim=True)
        moved = (1 + 2 * inner + y_squared) * x + (1 - x_squared) * y
        return self.project(moved / (1 + 2 * inner + x_squared * y_squared))

    def negate(self, x: Tensor) -> Tensor:
        """-x."""
        return -x

    def project(self, x: Tensor) -> Tensor:
        """Clip to the edge of the ball."""
        return clip_norm(x, self.sqrt_c / rim(x))

    @torch.no_grad()
    def check_points(self, x: Tensor) -> str | None:
        """sqrt(c) |x| is below 1 by the margin that the dtype needs."""
        if not bool(torch.isfinite(x).all()):
            return "some coordinates are not finite"
        longest = float(x.norm(dim=-1).max()) if x.numel() else 0.0
        limit = rim(x) / self.sqrt_c * (1 + 32 * torch.finfo(x.dtype).eps)
        if longest > limit:
            return f"a norm is {longest:.6g}: beyond the edge of the ball, {limit:.6g}"
        return None

    def to_ambient(self, x: Tensor) -> Tensor:
        """The Lorentz lift (1 + c|x|^2, 2 sqrt(c) x)/(sqrt(c) (1 - c|x|^2)), float64 for sums.

        With ``search="ball"`` x itself.
        """
        return x.double() if self.flat_search else self.lift(x)

    def ambient_dim(self, dim: int) -> int:
        """D + 1; D with ``search="ball"``."""
        return dim if self.flat_search else dim + 1

    def lift(self, x: Tensor) -> Tensor:
        """See ``Hyperbolic.lift``."""
        rho = self.sqrt_c
        height = depth(x, rho, torch.float64) / 2
        return torch.cat([(1 - height) / rho, x], -1) / height

    def from_ambient(self, m: Tensor) -> Tensor:
        """m_s/(sqrt(c) (m_0 + sqrt(m_0^2 - |m_s|^2))) of a sum m (..., D+1), any scale; 0 for 0.

        With ``search="ball"`` the mean m itself.
        """
        if self.flat_search:
            return self.project(m)
        v = self.velocity(m)
        return v / scaled(1 + (1 - v.square().sum(-1, keepdim=True)).sqrt(), self.sqrt_c)

    def search_query(self, x: Tensor, centre: Tensor) -> Tensor:
        """(x', |x'|^2), x' = x - centre; x' alone with ``search="ball"``."""
        x = self._search_type(x) - self._search_type(centre)
        if self.flat_search:
            return x
        return torch.cat([x, x.square().sum(-1, keepdim=True)], -1)

    def search_keys(self, codes: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
        """|x - y|^2 s = (x', |x'|^2).(-2y', 1) s + |y'|^2 s, s = 1/(1 - c|y|^2), rises with d.

        With ``search="ball"`` s is 1, and |x'|^2 is left out.
        """
        codes = self._search_type(codes)
        side = codes - self._search_type(centre)
        if self.flat_search:
            return -2 * side, side.square().sum(-1)
        scale = depth(codes, self.sqrt_c).reciprocal()
        weight = torch.cat([-2 * scale * side, scale], -1)
        return weight, (side.square().sum(-1, keepdim=True) * scale).squeeze(-1)

    def squared_dist_from(self, codes: Tensor) -> Callable[[Tensor], Tensor]:
        """acosh^2(1 + 2c |x - y|^2 s/(1 - c|x|^2))/c; see ``search_keys``.

        With ``search="ball"`` the scores.
        """
        scores = self.scores_from(codes)
        if self.flat_search:
            return lambda x: scores(x)[1]

        def distances(x: Tensor) -> Tensor:
            _, found = scores(x)
            scale = 2 * self.curvature / depth(x, self.sqrt_c, found.dtype)
            return squared_acosh(found.mul_(scale)).mul_(1 / self.curvature)

        return distances

    def _search_type(self, x: Tensor) -> Tensor:
        self._require_reach(x)
        return x.double() if self.double_search else x
