"""The straight-through estimator (Bengio et al. 2013, arXiv:1308.3432; van den Oord et al. 2017,
arXiv:1711.00937, section 3.2).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vqcore.interfaces.estimator import GradientEstimator


class StraightThrough(GradientEstimator):
    """Copies the code's gradient to the latent: d out / d z = I in the tangent space at the origin.

    Cost: O(N D), and nothing is kept for the backward pass.
    """

    def forward(self, z: Tensor, z_q: Tensor) -> Tensor:
        """See ``GradientEstimator.forward``."""
        return straight_through(z, z_q)


def straight_through(z: Tensor, z_q: Tensor) -> Tensor:
    """z_q (..., D) to the bit, with the gradient passed to z alone."""
    return _GradientToFirst.apply(z, z_q.detach())


class _GradientToFirst(torch.autograd.Function):
    """One copy, where ``z_q.detach() + (z - z.detach())`` makes two and reads z twice."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor, z_q: Tensor) -> Tensor:
        return z_q.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None
