"""DiVeQ (Vali, Bäckström and Solin 2025, arXiv:2509.26469)."""

from __future__ import annotations

import torch
from torch import Tensor

from vqcore.interfaces.estimator import GradientEstimator
from vqcore.interfaces.manifold import Manifold
from vqcore.numerics.stable import safe_norm


class DiVeQ(GradientEstimator):
    """In training, out = z + |z_q - z| sg(v/|v|) with v = z_q - z + noise n, n normal.

    With u = v/|v|, constant, and e = (z_q - z)/|z_q - z|: d out / d z = I - u e^T and
    d out / d z_q = u e^T. Without noise, u = e: the decoder's gradient along the error moves the
    code, and the rest moves the latent. So codes that are parameters learn from the decoder's loss,
    and need neither codebook nor commitment term. At z = z_q, out = z, with the identity as
    gradient. The noise comes from torch's global generator, so that activation checkpointing
    repeats it. In eval the value is z_q to the bit and the gradient straight-through.

    Cost: O(N D), N D random numbers.
    """

    exact = False

    def __init__(self, *, noise: float = 0.001, manifold: Manifold) -> None:
        super().__init__(manifold=manifold)
        self.noise = noise

    def forward(self, z: Tensor, z_q: Tensor) -> Tensor:
        """See ``GradientEstimator.forward``. Computed in float32 at least."""
        if not self.training:
            return z_q.detach() + (z - z.detach()).to(z_q.dtype)
        wide = z.to(torch.promote_types(z.dtype, torch.float32))
        error = z_q - wide
        direction = error.detach()
        if self.noise > 0:
            direction = torch.add(direction, torch.randn_like(direction), alpha=self.noise)
        unit = direction / safe_norm(direction).clamp(min=torch.finfo(wide.dtype).tiny)
        return (wide + safe_norm(error) * unit).to(z_q.dtype)
