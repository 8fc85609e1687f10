"""The Poincare ball (Ganea et al. 2018, arXiv:1805.09112, section 2, for the maps)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vq_hyperbolic.hyperbolic import Hyperbolic, ratio
from vqcore.numerics.stable import clip_norm, safe_norm

#: Largest sqrt(c) |y| of a point, a little outside tanh(REACH) and the same as geoopt's.
EDGE = {torch.float32: 1 - 4e-3, torch.float64: 1 - 1e-5}


class Poincare(Hyperbolic):
    """The ball c|y|^2 < 1 in R^D with metric (2/(1 - c|y|^2))^2 |dy|^2.

    ``1 - c|y|^2`` is a subtraction: a point's rounded coordinates hold no more than that gives, an error of 1e-7
    cosh^2 of half the radius, which ``max_radius`` keeps small. Options: see ``Hyperbolic``.

    Cost: O(N D) for the maps; the search is one (N, D+1) x (D+1, K) product, O(N + tile) memory, in float64 where
    ``max_radius`` is above 2.5 at curvature 1.
    """

    def rim(self, x: Tensor) -> float:
        """Largest sqrt(c) |y| of a point in the number type of x."""
        return EDGE.get(x.dtype, EDGE[torch.float32])

    def edge(self, x: Tensor) -> Tensor | float:
        """Largest Euclidean norm of a point in the number type of x."""
        return self.rim(x) / self.sqrt_c

    def expmap0(self, u: Tensor) -> Tensor:
        """tanh(a) u/a, a = sqrt(c) |u|."""
        a = self.sqrt_c * safe_norm(u)
        return ratio(a.clamp(max=self.reach(u)).tanh(), a, 1.0) * u

    def logmap0(self, x: Tensor) -> Tensor:
        """artanh(n) x/n, n = sqrt(c) |x|."""
        n = self.sqrt_c * safe_norm(x)
        return ratio(torch.atanh(n.clamp(max=self.rim(x))), n, 1.0) * x

    def half_sinh_squared(self, x: Tensor, y: Tensor) -> Tensor:
        """c|x - y|^2 / ((1 - c|x|^2)(1 - c|y|^2))."""
        return self.curvature * (x - y).square().sum(-1) / (self._depth(x) * self._depth(y))

    def _depth(self, x: Tensor) -> Tensor:
        """1 - c|x|^2 (...), positive also for what rounding pushed out of the ball."""
        lowest = 1 - self.rim(x) ** 2
        return (1 - self.curvature * x.square().sum(-1)).clamp(min=lowest / 2)

    def translate(self, x: Tensor, y: Tensor) -> Tensor:
        """Moebius addition x (+) y (Ganea et al. 2018, eq. 4)."""
        c = self.curvature
        inner, x_squared, y_squared = (
            c * (a * b).sum(-1, keepdim=True) for a, b in ((x, y), (x, x), (y, y))
        )
        moved = (1 + 2 * inner + y_squared) * x + (1 - x_squared) * y
        return self.project(moved / (1 + 2 * inner + x_squared * y_squared))

    def negate(self, x: Tensor) -> Tensor:
        """-x."""
        return -x

    def project(self, x: Tensor) -> Tensor:
        """Shortened to the edge of the ball."""
        return clip_norm(x, self.edge(x))

    @torch.no_grad()
    def check_points(self, x: Tensor) -> str | None:
        """sqrt(c) |x| below 1 by the margin that the number type needs."""
        if not bool(torch.isfinite(x).all()):
            return "some coordinates are not finite"
        longest = float(x.norm(dim=-1).max()) if x.numel() else 0.0
        limit = self.edge(x) * (1 + 32 * torch.finfo(x.dtype).eps)
        return (
            None
            if longest <= limit
            else f"a norm is {longest:.6g}: beyond the edge of the ball, {limit:.6g}"
        )

    def to_ambient(self, x: Tensor) -> Tensor:
        """The Lorentz lift (1 + c|x|^2, 2 sqrt(c) x) / (sqrt(c) (1 - c|x|^2)), (..., D+1), in float64 for sums."""
        x = x.double()
        depth = self._depth(x).unsqueeze(-1)
        return torch.cat([(2 - depth) / self.sqrt_c, 2 * x], -1) / depth

    def from_ambient(self, m: Tensor) -> Tensor:
        """m_s/(sqrt(c) (m_0 + sqrt(m_0^2 - |m_s|^2))) of a sum m (..., D+1) of any positive scale; no mass: 0."""
        v = self.velocity(m)
        return v / (self.sqrt_c * (1 + (1 - v.square().sum(-1, keepdim=True)).sqrt()))

    def point_parameter(self, points: Tensor) -> nn.Parameter:
        """See ``Hyperbolic.point_parameter``."""
        from vq_hyperbolic.riemannian import ball_parameter

        return ball_parameter(points, self.curvature)

    def search_query(self, x: Tensor, centre: Tensor) -> Tensor:
        """(x', |x'|^2), x' = x - centre."""
        x = self._search_type(x) - self._search_type(centre)
        return torch.cat([x, x.square().sum(-1, keepdim=True)], -1)

    def search_keys(self, codes: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
        """|x - y|^2 s = (x', |x'|^2) . (-2y', 1) s + |y'|^2 s with s = 1/(1 - c|y|^2), which grows with t."""
        codes = self._search_type(codes)
        scale, side = 1 / self._depth(codes), codes - self._search_type(centre)
        weight = torch.cat([-2 * side, torch.ones_like(side[:, :1])], -1) * scale.unsqueeze(-1)
        return weight, side.square().sum(-1) * scale

    def _search_type(self, x: Tensor) -> Tensor:
        return x.double() if self.double_search else x
