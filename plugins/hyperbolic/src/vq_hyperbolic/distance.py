"""Squared distances at curvature -1, through the Poincare ball in both models."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vqcore.numerics.pair_distance import SMALLEST, Pull, squared_distance


def hyperbolic_distance(
    in_ball: Callable[[Tensor, Tensor], tuple[Tensor, ...]],
    gradient: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor],
) -> Callable[..., Tensor]:
    """A quarter of the squared distance, asinh^2(sqrt t), with t = sinh^2(d/2) = s |p - q|^2.

    p and q are the points in the ball, and s = 1/((1 - |p|^2)(1 - |q|^2)). See
    ``squared_distance``.

    Args:
        in_ball: x, y -> s, p - q, and two tensors for each point that ``gradient`` needs.
        gradient: these two, p - q, across, along -> the gradient for the point, made of across
            (p - q), the one for p at fixed s, and of along, the one for log s.
    """

    def measure(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        s, between, *of_points = in_ball(x, y)
        root = torch.linalg.vector_norm(between, dim=-1, keepdim=True) * s.sqrt()
        half = root.asinh()
        return half.square(), s, root, half, between, *of_points

    def pull(kept: Sequence[Tensor]) -> tuple[Pull, Pull]:
        s, root, half, between, x, of_x, y, of_y = kept
        t = root.square()
        steep = (half + SMALLEST) / (root + SMALLEST) * (1 + t).rsqrt()
        along, across = steep * t, 2 * steep * s
        return (
            lambda weight: gradient(x, of_x, between, weight * across, weight * along),
            lambda weight: gradient(y, of_y, between, weight * -across, weight * along),
        )

    return squared_distance(measure, pull)


def squared_acosh(u: Tensor) -> Tensor:
    """acosh^2(1 + u) = log1p^2(u + sqrt(u^2 + 2u)), which overwrites u; of d, u is 2 sinh^2(d/2).

    A CPU computes log1p 15 times as fast as acosh.
    """
    u.clamp_(min=0)
    root = torch.addcmul(u, u, u, value=0.5).sqrt_()
    return u.add_(root, alpha=2**0.5).log1p_().square_()
