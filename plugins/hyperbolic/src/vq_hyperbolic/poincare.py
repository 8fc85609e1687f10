"""The Poincare ball (Ganea et al. 2018, arXiv:1805.09112, section 2)."""

from __future__ import annotations

import torch
from torch import Tensor

from vq_hyperbolic.hyperbolic import Hyperbolic, ratio
from vqcore.numerics.stable import clip_norm, safe_norm

#: Largest sqrt(c) |y| of a point: slightly more than tanh(REACH), and geoopt's values.
EDGE = {torch.float32: 1 - 4e-3, torch.float64: 1 - 1e-5}


class Poincare(Hyperbolic):
    """The ball c|y|^2 < 1 in R^D with metric (2/(1 - c|y|^2))^2 |dy|^2.

    ``1 - c|y|^2`` cancels near the edge: the relative error of a float32 point is 1e-7 cosh^2 of
    half the distance from the origin, which ``max_radius`` limits. Options: see ``Hyperbolic``.

    Cost: O(N D) for the maps; the search is a product of (N, D+1) and (D+1, K) in O(N + tile)
    memory, in float64 if ``max_radius`` is above 2.5 at curvature 1.
    """

    geoopt_name = "PoincareBall"

    def rim(self, x: Tensor) -> float:
        """Largest sqrt(c) |y| of a point in the dtype of x."""
        return EDGE.get(x.dtype, EDGE[torch.float32])

    def expmap0(self, u: Tensor) -> Tensor:
        """tanh(a) u/a, a = sqrt(c) |u|."""
        a = self.sqrt_c * safe_norm(u)
        return ratio(a.clamp(max=self.reach(u)).tanh(), a, 1.0) * u

    def logmap0(self, x: Tensor) -> Tensor:
        """artanh(n) x/n, n = sqrt(c) |x|."""
        n = self.sqrt_c * safe_norm(x)
        return ratio(torch.atanh(n.clamp(max=self.rim(x))), n, 1.0) * x

    def half_sinh_squared(self, x: Tensor, y: Tensor) -> Tensor:
        """c|x - y|^2/((1 - c|x|^2)(1 - c|y|^2))."""
        return self.curvature * (x - y).square().sum(-1) / (self._depth(x) * self._depth(y))

    def _depth(self, x: Tensor) -> Tensor:
        """1 - c|x|^2 (...), positive also for points that rounding moved out of the ball."""
        lowest = 1 - self.rim(x) ** 2
        return (1 - self.curvature * x.square().sum(-1)).clamp(min=lowest / 2)

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
        return clip_norm(x, self.rim(x) / self.sqrt_c)

    @torch.no_grad()
    def check_points(self, x: Tensor) -> str | None:
        """sqrt(c) |x| is below 1 by the margin that the dtype needs."""
        if not bool(torch.isfinite(x).all()):
            return "some coordinates are not finite"
        longest = float(x.norm(dim=-1).max()) if x.numel() else 0.0
        limit = self.rim(x) / self.sqrt_c * (1 + 32 * torch.finfo(x.dtype).eps)
        if longest > limit:
            return f"a norm is {longest:.6g}: beyond the edge of the ball, {limit:.6g}"
        return None

    def to_ambient(self, x: Tensor) -> Tensor:
        """The Lorentz lift (1 + c|x|^2, 2 sqrt(c) x)/(sqrt(c) (1 - c|x|^2)), float64 for sums."""
        x = x.double()
        depth = self._depth(x).unsqueeze(-1)
        return torch.cat([(2 - depth) / self.sqrt_c, 2 * x], -1) / depth

    def from_ambient(self, m: Tensor) -> Tensor:
        """m_s/(sqrt(c) (m_0 + sqrt(m_0^2 - |m_s|^2))) of a sum m (..., D+1), any scale; 0 for 0."""
        v = self.velocity(m)
        return v / (self.sqrt_c * (1 + (1 - v.square().sum(-1, keepdim=True)).sqrt()))

    def search_query(self, x: Tensor, centre: Tensor) -> Tensor:
        """(x', |x'|^2), x' = x - centre."""
        x = self._search_type(x) - self._search_type(centre)
        return torch.cat([x, x.square().sum(-1, keepdim=True)], -1)

    def search_keys(self, codes: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
        """|x - y|^2 s = (x', |x'|^2).(-2y', 1) s + |y'|^2 s, s = 1/(1 - c|y|^2), rises with d."""
        codes = self._search_type(codes)
        scale = 1 / self._depth(codes)
        side = codes - self._search_type(centre)
        weight = torch.cat([-2 * side, torch.ones_like(side[:, :1])], -1) * scale.unsqueeze(-1)
        return weight, side.square().sum(-1) * scale

    def _search_type(self, x: Tensor) -> Tensor:
        return x.double() if self.double_search else x
