"""Flat space."""

from __future__ import annotations

import torch
from torch import Tensor

from vqcore.interfaces.manifold import Manifold
from vqcore.numerics.stable import safe_sqrt


class Euclidean(Manifold):
    """R^D: points and tangent vectors are the same, and the exp and log maps the identity.

    Cost: the maps are free; the search is one (N, D) x (D, K) product, O(N + tile) memory.
    """

    def expmap0(self, u: Tensor) -> Tensor:
        """The identity."""
        return u

    def logmap0(self, x: Tensor) -> Tensor:
        """The identity."""
        return x

    def squared_dist(self, x: Tensor, y: Tensor) -> Tensor:
        """|x - y|^2."""
        return (x - y).square().sum(-1)

    def dist(self, x: Tensor, y: Tensor) -> Tensor:
        """|x - y|, with gradient 0 where x = y."""
        return safe_sqrt(self.squared_dist(x, y))

    def pairwise_squared_dist(self, x: Tensor, y: Tensor) -> Tensor:
        """|x|^2 - 2 x.y + |y|^2, centred on the mean of y: N x M numbers instead of N x M x D."""
        wide = torch.promote_types(x.dtype, y.dtype)
        x, y = x.to(wide), y.to(wide)
        centre = y.detach().mean(0)
        x, y = x - centre, y - centre
        return (x.square().sum(-1, keepdim=True) - 2 * x @ y.T + y.square().sum(-1)).clamp(min=0)

    def project(self, x: Tensor) -> Tensor:
        """Every vector is a point."""
        return x

    def check_points(self, x: Tensor) -> str | None:
        """Every finite vector is a point."""
        return None if bool(torch.isfinite(x).all()) else "some coordinates are not finite"

    def search_query(self, x: Tensor, centre: Tensor) -> Tensor:
        """x' = x - centre."""
        return x - centre

    def search_keys(self, codes: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
        """|x - c|^2 - |x'|^2 = x' . (-2c') + |c'|^2."""
        codes = codes - centre
        return -2 * codes, codes.square().sum(-1)
