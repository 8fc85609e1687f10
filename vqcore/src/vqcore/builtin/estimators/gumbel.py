"""The Gumbel-softmax relaxation (Jang et al. 2016, arXiv:1611.01144, eq. 2; Maddison et al. 2016, arXiv:1611.00712)."""

from __future__ import annotations

import torch
from torch import Tensor

from vqcore.builtin.estimators.straight_through import straight_through
from vqcore.interfaces.estimator import GradientEstimator
from vqcore.interfaces.manifold import Manifold
from vqcore.interfaces.quantizer import CodeAssignment, Quantized, Quantizer
from vqcore.numerics.stable import masked_mean


class Gumbel(GradientEstimator):
    """Training gives the decoder a soft choice among all codes: out = sum_k w_k c_k, c_k in tangent coordinates.

    w = softmax((-d_k^2 / s + g) / temperature), d_k the manifold's distance from z to code k, s the mean of it squared
    over the tokens and their own codes, held constant, and g Gumbel noise. With l_k = -d_k^2/s,
    d out / d z = sum_k w_k (c_k - out) (d l_k / d z)^T / temperature, on flat space 2/(temperature s) Cov_w(c). Codes
    that are parameters get the decoder's gradient too, by c_k and by d_k. As the temperature falls (without noise) out
    becomes z_q, and the gradient that of a step function: nothing nearly everywhere.

    Stages of a residual quantizer read the same latent; of Q stages each passes 1/Q of its gradient, so that the whole
    does not grow with their number. In eval, and where a codebook is implicit, this is straight-through, as ``forward``
    is, which knows no codes.

    Cost: N x K distances, held several times over, which no other estimator does; on a manifold whose
    ``pairwise_squared_dist`` is no matrix product, N x K x D numbers.

    Args:
        temperature: softness of the choice.
        noise: draw g; without it the choice is a function of z alone.
        manifold: the space the latents live in.
    """

    exact = False

    def __init__(self, *, temperature: float = 1.0, noise: bool = True, manifold: Manifold) -> None:
        super().__init__(manifold=manifold)
        self.temperature, self.noise = temperature, noise

    def forward(self, z: Tensor, z_q: Tensor) -> Tensor:
        """See ``GradientEstimator.forward``: straight-through."""
        return straight_through(z, z_q)

    def estimate(self, z: Tensor, result: Quantized, quantizer: Quantizer) -> Tensor:
        """See ``GradientEstimator.estimate``. Masked tokens give zero."""
        if not self.training or any(use.codebook is None for use in result.assignments):
            return self(z, result.z_q)
        readers = sum(use.z.numel() for use in result.assignments) // max(z.numel(), 1)
        parts = (self._soft_codes(use, max(readers, 1)) for use in result.assignments)
        return quantizer.join(parts, tuple(z.shape[:-1]))

    def _soft_codes(self, use: CodeAssignment, readers: int) -> Tensor:
        """sum_k w_k c_k (N, d) for the tokens of one codebook, with 1/readers of the gradient to its latents."""
        z = torch.lerp(use.z.detach(), use.z, 1 / readers)
        squared = self.manifold.pairwise_squared_dist(self.manifold.expmap0(z), use.codebook)
        own = squared.detach().gather(1, use.indices.clamp(min=0).unsqueeze(1)).squeeze(1)
        logits = -squared / masked_mean(own, use.mask).clamp(min=1e-12)
        if (
            self.noise
        ):  # -log of an exponential variable is Gumbel's; one of exactly 0 would be infinite
            drawn = (
                torch.empty_like(logits).exponential_().clamp(min=torch.finfo(logits.dtype).tiny)
            )
            logits = logits - drawn.log()
        weights = torch.softmax(logits / self.temperature, 1)
        return (
            weights @ self.manifold.logmap0(use.codebook).to(weights.dtype)
        ) * use.mask.unsqueeze(1)
