"""The straight-through estimator (Bengio et al. 2013, arXiv:1308.3432; van den Oord et al. 2017, section 3.2)."""

from __future__ import annotations

from torch import Tensor

from vqcore.estimator import GradientEstimator


class StraightThrough(GradientEstimator):
    """Copies the gradient at the code to the latent: d out / d z = I, in the tangent space at the origin.

    Cost: O(N D), and nothing is kept for the backward.
    """

    def forward(self, z: Tensor, z_q: Tensor) -> Tensor:
        """See ``GradientEstimator.forward``."""
        return straight_through(z, z_q)


def straight_through(z: Tensor, z_q: Tensor) -> Tensor:
    """z_q (..., D) with the gradient of z: ``z - z.detach()`` is exactly 0, so the value is ``z_q`` to the bit."""
    return z_q.detach() + (z - z.detach())
