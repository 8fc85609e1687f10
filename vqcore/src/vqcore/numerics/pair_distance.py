"""Squared distances of pairs of points, with their gradients in closed form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from vqcore.numerics.curvature import scaled
from vqcore.numerics.explicit_gradient import with_gradient

#: Added above and below a quotient of two lengths that are 0 together.
SMALLEST = 1e-30

#: From a weight (..., 1) of each pair to the weighted gradient (..., A) for one of its points.
Pull = Callable[[Tensor], Tensor]


def squared_distance(
    measure: Callable[[Tensor, Tensor], tuple[Tensor, ...]],
    pull: Callable[[Sequence[Tensor]], tuple[Pull, Pull]],
) -> Callable[..., Tensor]:
    """The function of points x and y (..., A), which broadcast, of a scale rho, and of ``apart``.

    It returns the squared distances (...) of rho x and rho y. If ``apart`` is true it returns them
    twice, (2, ...): first as if y were constant, then as if x were. Both depend on rho.

    Args:
        measure: the squared distances (..., 1) of two points, and what ``pull`` needs.
        pull: that -> the gradients for these points.
    """

    def forward(x: Tensor, y: Tensor, rho: Tensor | float, apart: bool) -> tuple[Tensor, ...]:
        squared, *kept = measure(scaled(x, rho), scaled(y, rho))
        value = squared.squeeze(-1)
        return (value.expand(2, *value.shape) if apart else value, *kept)

    def backward(
        gradient: Tensor, inputs: Sequence[Any], kept: Sequence[Tensor], needed: Sequence[bool]
    ) -> tuple[Any, ...]:
        x, y, rho, apart = inputs
        weight = gradient.unsqueeze(-1)
        for_x, for_y = weight.unbind(0) if apart else (weight, weight)
        pull_x, pull_y = pull(kept)
        to_x = _summed(pull_x(scaled(for_x, rho)), x) if needed[0] else None
        to_y = _summed(pull_y(scaled(for_y, rho)), y) if needed[1] else None
        if not needed[2]:
            return to_x, to_y, None, None
        both = for_x + for_y if apart else weight
        return to_x, to_y, (pull_x(both) * x + pull_y(both) * y).sum(), None

    return with_gradient(forward, backward)


def _summed(gradient: Tensor, like: Tensor) -> Tensor:
    """The gradient of what was broadcast."""
    return gradient if gradient.shape == like.shape else gradient.sum_to_size(like.shape)
