"""The straight-through estimator (Bengio et al. 2013, arXiv:1308.3432; van den Oord et al. 2017,
arXiv:1711.00937, section 3.2).
"""

from __future__ import annotations

from torch import Tensor

from vqcore.interfaces.estimator import GradientEstimator
from vqcore.numerics.explicit_gradient import with_gradient


class StraightThrough(GradientEstimator):
    """Copies the code's gradient to the latent: d out / d z = I in the tangent space at the origin.

    Cost: O(N D), and nothing is kept for the backward pass.
    """

    def forward(self, z: Tensor, z_q: Tensor) -> Tensor:
        """See ``GradientEstimator.forward``."""
        return straight_through(z, z_q)


def straight_through(z: Tensor, z_q: Tensor) -> Tensor:
    """z_q (..., D) to the bit, with the gradient passed to z alone."""
    return _gradient_to_first(z, z_q.detach())


# One copy, where ``z_q.detach() + (z - z.detach())`` makes two and reads z twice.
_gradient_to_first = with_gradient(
    lambda z, z_q: (z_q.clone(),), lambda gradient, *_: (gradient, None), keeps_inputs=False
)
