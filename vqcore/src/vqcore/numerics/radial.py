"""Maps of vectors x (..., D) along themselves, x -> f(a) x with a = rho |x|.

By the chain rule, gradient g of the result is f g + rho^2 s (x.g) x for x, with s = f'(a)/a, and
the sum of a^2 s (x.g)/rho for rho.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from vqcore.numerics.curvature import scaled
from vqcore.numerics.explicit_gradient import with_gradient

#: Least a that is divided by: below, sin a/a and its like are 1 to the last digit.
TINY = 1e-10


def radial_map(
    factor: Callable[..., Tensor], steepness: Callable[..., Tensor]
) -> Callable[..., Tensor]:
    """The function of x (..., D), rho and limits, constants if any, that returns f x.

    Args:
        factor: f of a (..., 1) > 0 and the limits.
        steepness: the derivative of a f(a), of a, f and the limits.
    """

    def forward(x: Tensor, rho: Tensor | float, *limits: float) -> tuple[Tensor, ...]:
        a = _argument(x, rho)
        f = factor(a, *limits)
        return f * x, a, f

    def backward(
        gradient: Tensor, inputs: Sequence[Any], kept: Sequence[Tensor], needed: Sequence[bool]
    ) -> tuple[Any, ...]:
        (x, rho, *limits), (a, f) = inputs, kept
        slope = (steepness(a, f, *limits) - f) / a.square()
        along = slope * _inner(x, gradient)
        to_rho = (a.square() * along).sum() / rho if needed[1] else None
        return (_pulled(gradient, x, rho, f, along), to_rho, *(None for _ in limits))

    return with_gradient(forward, backward)


def lifted_map(profile: Callable[..., tuple[Tensor, Tensor]], turn: float) -> Callable[..., Tensor]:
    """The function of x (..., D), rho and a limit of a that returns (h/rho, f x), (..., D+1).

    Args:
        profile: h and f of a (..., 1), from 0 to the limit, beyond which h and a f stay as they
            are. Below it, h' = turn a f and (a f)' = |turn| h, as for h = cosh 2a, a f = sinh 2a.
        turn: see ``profile``.
    """

    def forward(x: Tensor, rho: Tensor | float, limit: float) -> tuple[Tensor, ...]:
        a = _argument(x, rho)
        h, f = profile(a, limit)
        return torch.cat([h / rho, f * x], -1), a, h, f

    def backward(
        gradient: Tensor, inputs: Sequence[Any], kept: Sequence[Tensor], needed: Sequence[bool]
    ) -> tuple[Any, ...]:
        (x, rho, limit), (a, h, f) = inputs, kept
        up, side = gradient[..., :1], gradient[..., 1:]
        inner, square = _inner(x, side), a.square()
        rise = abs(turn) * h / square * inner + turn / rho * f * up
        if limit < math.inf:
            rise = torch.where(a < limit, rise, 0)
        along = rise - f / square * inner
        to_rho = (square * along - h / rho * up).sum() / rho if needed[1] else None
        return _pulled(side, x, rho, f, along), to_rho, None

    return with_gradient(forward, backward)


def _clip(x: Tensor, rho: Tensor | float, scale: float) -> tuple[Tensor, ...]:
    a = torch.linalg.vector_norm(x, dim=-1, keepdim=True) * rho
    f = a.clamp(min=1 / scale).reciprocal()
    return f * x, a, f


def _clip_gradient(
    gradient: Tensor, inputs: Sequence[Any], kept: Sequence[Tensor], needed: Sequence[bool]
) -> tuple[Any, ...]:
    (x, rho, scale), (a, f) = inputs, kept
    along = torch.where(a > 1 / scale, -f.pow(3), 0) * _inner(x, gradient)
    to_rho = (a.square() * along).sum() / rho if needed[1] else None
    return _pulled(gradient, x, rho, f, along), to_rho, None


_clipped = with_gradient(_clip, _clip_gradient)


def clip_norm(x: Tensor, rho: Tensor | float, scale: float = 1.0) -> Tensor:
    """``scale`` x, for vectors x (..., D), shortened to the length 1/rho if it is longer."""
    return _clipped(x, rho, scale)


def _argument(x: Tensor, rho: Tensor | float) -> Tensor:
    return scaled(torch.linalg.vector_norm(x, dim=-1, keepdim=True), rho).clamp(min=TINY)


def _inner(x: Tensor, y: Tensor) -> Tensor:
    return (x * y).sum(-1, keepdim=True)


def _pulled(gradient: Tensor, x: Tensor, rho: Tensor | float, f: Tensor, along: Tensor) -> Tensor:
    return torch.addcmul(f * gradient, scaled(along, rho**2), x)
