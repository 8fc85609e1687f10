"""The curvature of a space: a number, or learned between bounds at a rate of its own."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Curvature(nn.Module):
    """A curvature c > 0.

    Where it is learned, log c = log c_0 + s tanh(rate theta / s) with s = log(span): c stays between c_0/span and
    c_0 span, has a gradient everywhere, and its logarithm moves ``rate`` times as fast as a parameter of the size of 1
    would under an optimizer that normalises steps, as Adam does. Learning curvature is learning a scale: codes
    should be held in tangent form, and a commitment term alone shrinks it.

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
        self.value, self.rate, self.span = value, rate, math.log(span)
        self.theta = nn.Parameter(torch.zeros(())) if learned else None

    @property
    def largest(self) -> float:
        """The largest value c can take."""
        return self.value if self.theta is None else self.value * math.exp(self.span)

    def forward(self) -> Tensor | float:
        """c: a float, or where it is learned a scalar tensor with gradient."""
        if self.theta is None:
            return self.value
        return self.value * (self.span * torch.tanh(self.rate / self.span * self.theta)).exp()


def root(c: Tensor | float) -> Tensor | float:
    """Square root of a curvature."""
    return c.sqrt() if isinstance(c, Tensor) else math.sqrt(c)
