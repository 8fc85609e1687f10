"""The squared error of quantizers whose codes have no gradient."""

from __future__ import annotations

from torch import Tensor

from vqcore.interfaces.manifold import Manifold
from vqcore.numerics.stable import masked_mean


def squared_error(
    manifold: Manifold, x: Tensor, y: Tensor, mask: Tensor, dim: int, weight: float = 1.0
) -> Tensor:
    """Mean squared distance of points (N, A) over the tokens of ``mask`` (N,), times weight / D.

    In Euclidean space this is the mean squared error of the usual codebook and commitment losses.
    """
    return masked_mean(manifold.squared_dist(x, y), mask) * (weight / dim)
