"""Noise substitution, NSVQ (Vali and Backstrom 2022, IEEE Access 10, 13598)."""

from __future__ import annotations

import torch
from torch import Tensor

from vqcore.builtin.estimators.straight_through import straight_through
from vqcore.interfaces.estimator import GradientEstimator
from vqcore.numerics.stable import safe_norm


class NoiseSubstitution(GradientEstimator):
    """Replaces the quantization error in training by noise: out = z + |z - z_q| n/|n|, n normal.

    d out / d z = I + v u^T with v = n/|n| and u = (z - z_q)/|z - z_q|, and d out / d z_q = -v u^T:
    codes that are parameters get the decoder's gradient too, through |z - z_q|. At z = z_q, out = z
    with the identity as gradient. The noise comes from torch's global generator, so that activation
    checkpointing repeats it. In eval the value is z_q to the bit and the gradient straight-through.

    Cost: O(N D), N D random numbers.
    """

    exact = False

    def forward(self, z: Tensor, z_q: Tensor) -> Tensor:
        """See ``GradientEstimator.forward``. Computed in float32 at least."""
        if not self.training:
            return straight_through(z, z_q)
        wide = z.to(torch.promote_types(z.dtype, torch.float32))
        noise = torch.randn_like(wide)
        direction = noise / safe_norm(noise).clamp(min=torch.finfo(wide.dtype).tiny)
        return (wide + safe_norm(wide - z_q) * direction).to(z_q.dtype)
