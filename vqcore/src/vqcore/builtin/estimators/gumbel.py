"""The Gumbel-softmax relaxation (Jang et al. 2016, arXiv:1611.01144, eq. 2; Maddison et al. 2016,
arXiv:1611.00712).
"""

from __future__ import annotations

import torch
from torch import Tensor

from vqcore.builtin.estimators.straight_through import straight_through
from vqcore.interfaces.estimator import GradientEstimator
from vqcore.interfaces.manifold import Manifold
from vqcore.interfaces.quantizer import CodeAssignment, Quantized, Quantizer
from vqcore.numerics.stable import masked_mean


class Gumbel(GradientEstimator):
    """A soft choice among all codes in training: out = sum_k w_k c_k in tangent coordinates.

    w = softmax((-d_k^2 / s + g) / temperature), where d_k is the distance on the manifold from z to
    code k, s is the mean squared distance of the tokens to their own codes, held constant, and g is
    Gumbel noise. With l_k = -d_k^2/s,
    d out / d z = sum_k w_k (c_k - out) (d l_k / d z)^T / temperature; on flat space it is
    2/(temperature s) Cov_w(c). Codes that are parameters get the decoder's gradient too, through
    c_k and d_k. As the temperature falls (without noise), out tends to z_q and the gradient to that
    of a step function, which is 0 almost everywhere.

    The stages of a residual quantizer read the same latent; each of Q stages passes 1/Q of its
    gradient, so that the whole does not grow with Q. In eval, for an implicit codebook and in
    ``forward``, which knows no codes, this is straight-through. Options: see ``GumbelConfig``.

    Cost: N x K distances, held several times over; N x K x D numbers on a manifold whose
    ``pairwise_squared_dist`` is no matrix product.
    """

    exact = False

    def __init__(self, *, temperature: float = 1.0, noise: bool = True, manifold: Manifold) -> None:
        super().__init__(manifold=manifold)
        self.temperature = temperature
        self.noise = noise

    def forward(self, z: Tensor, z_q: Tensor) -> Tensor:
        """See ``GradientEstimator.forward``: straight-through."""
        return straight_through(z, z_q)

    def estimate(self, z: Tensor, result: Quantized, quantizer: Quantizer) -> Tensor:
        """See ``GradientEstimator.estimate``. Masked tokens give zero."""
        assignments = result.assignments
        if not self.training or any(each.codebook is None for each in assignments):
            return self(z, result.z_q)
        readers = max(sum(each.z.numel() for each in assignments) // max(z.numel(), 1), 1)
        parts = (self._soft_codes(each, readers) for each in assignments)
        return quantizer.join(parts, tuple(z.shape[:-1]))

    def _soft_codes(self, assignment: CodeAssignment, readers: int) -> Tensor:
        """sum_k w_k c_k (N, d) for one codebook, with 1/readers of the gradient to its latents."""
        codebook = assignment.codebook
        assert codebook is not None  # ``estimate`` has checked
        z = torch.lerp(assignment.z.detach(), assignment.z, 1 / readers)
        squared = self.manifold.pairwise_squared_dist(self.manifold.expmap0(z), codebook)
        chosen = assignment.indices.clamp(min=0).unsqueeze(1)
        own = squared.detach().gather(1, chosen).squeeze(1)
        logits = -squared / masked_mean(own, assignment.mask).clamp(min=1e-12)
        if self.noise:  # -log of an exponential variable is Gumbel; at exactly 0 it is infinite
            drawn = torch.empty_like(logits).exponential_()
            logits = logits - drawn.clamp(min=torch.finfo(logits.dtype).tiny).log()
        weights = torch.softmax(logits / self.temperature, 1)
        soft = weights @ self.manifold.logmap0(codebook).to(weights.dtype)
        return soft * assignment.mask.unsqueeze(1)
