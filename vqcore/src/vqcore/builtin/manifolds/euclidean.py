"""Flat space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from vqcore.interfaces.manifold import Manifold
from vqcore.numerics.explicit_gradient import with_gradient


def _measure(x: Tensor, y: Tensor, apart: bool) -> tuple[Tensor, ...]:
    """|x - y|^2, twice if ``apart``, and x - y; the squares of coordinates are never written."""
    between = x - y
    squared = torch.linalg.vector_norm(between, dim=-1).square()
    return squared.expand(2, *squared.shape) if apart else squared, between


def _pull(
    gradient: Tensor, inputs: Sequence[Any], kept: Sequence[Tensor], needed: Sequence[bool]
) -> tuple[Any, ...]:
    x, y, apart = inputs
    twice = (2 * gradient).unsqueeze(-1)
    to_x, to_y = twice.unbind(0) if apart else (twice, twice)
    return (
        (to_x * kept[0]).sum_to_size(x.shape) if needed[0] else None,
        (-to_y * kept[0]).sum_to_size(y.shape) if needed[1] else None,
        None,
    )


_squared_distance = with_gradient(_measure, _pull)


class Euclidean(Manifold):
    """R^D: points and tangent vectors are the same, and the exp and log maps the identity.

    Cost: the maps are free; the search is one (N, D) x (D, K) product, O(N + tile) memory.
    """

    keys_of_tables = True

    def expmap0(self, u: Tensor) -> Tensor:
        """The identity."""
        return u

    def logmap0(self, x: Tensor) -> Tensor:
        """The identity."""
        return x

    def squared_dist(self, x: Tensor, y: Tensor) -> Tensor:
        """|x - y|^2."""
        return _squared_distance(x, y, False)

    def squared_dist_apart(self, x: Tensor, y: Tensor) -> Tensor:
        """See ``Manifold.squared_dist_apart``."""
        return _squared_distance(x, y, True)

    def pairwise_squared_dist(self, x: Tensor, y: Tensor) -> Tensor:
        """|x|^2 - 2 x.y + |y|^2, centred on the mean of y: N x M numbers instead of N x M x D."""
        wide = torch.promote_types(x.dtype, y.dtype)
        x, y = x.to(wide), y.to(wide)
        centre = y.detach().mean(0)
        x, y = x - centre, y - centre
        return (x.square().sum(-1, keepdim=True) - 2 * x @ y.T + y.square().sum(-1)).clamp(min=0)

    def pairwise_order(self, x: Tensor) -> Tensor:
        """|x|^2 - 2 x.y + |y|^2, centred on the mean."""
        x = x - x.mean(0)
        square = x.square().sum(-1)
        return torch.addmm(square.unsqueeze(1) + square, x, x.mT, alpha=-2).clamp(min=0)

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

    def squared_dist_from(self, codes: Tensor) -> Callable[[Tensor], Tensor]:
        """The scores, |x - c|^2 - |x'|^2."""
        scores = self.scores_from(codes)
        return lambda x: scores(x)[1]
