"""The curvature of a space: a constant, or learned within bounds at its own rate."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Curvature(nn.Module):
    """A curvature c > 0.

    If learned, log c = log c_0 + s tanh(rate theta / s) with s = log(span). So c stays between
    c_0/span and c_0 span and has a gradient everywhere. Under an optimizer that normalises steps,
    such as Adam, log c moves ``rate`` times as fast as a parameter of size 1.

    Learning a curvature is learning a scale: store codes as tangent vectors, and expect a
    commitment term on its own to shrink it.

    Args:
        value: c_0.
        learned: whether c is trained.
        rate: learning rate of log c relative to the optimizer's.
        span: c stays within this factor of c_0.
    """

    def __init__(
        self, value: float, *, learned: bool = False, rate: float = 0.1, span: float = 10.0
    ) -> None:
        super().__init__()
        self.value = value
        self.rate = rate
        self.span = math.log(span)
        self.theta = nn.Parameter(torch.zeros(())) if learned else None

    @property
    def largest(self) -> float:
        """The largest value c can take."""
        return self.value if self.theta is None else self.value * math.exp(self.span)

    def forward(self) -> Tensor | float:
        """c: a float, or, if learned, a scalar tensor with gradient."""
        return self._power(1.0)

    def root(self) -> Tensor | float:
        """sqrt(c)."""
        return self._power(0.5)

    def _power(self, power: float) -> Tensor | float:
        if self.theta is None:
            return self.value**power
        share = torch.tanh(self.rate / self.span * self.theta)
        return self.value**power * torch.exp(power * self.span * share)


def scaled(x: Tensor, rho: Tensor | float) -> Tensor:
    """rho x, without a pass over x if rho is the number 1."""
    return x if isinstance(rho, float) and rho == 1 else rho * x
