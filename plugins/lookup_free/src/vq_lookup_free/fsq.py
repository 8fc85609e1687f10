"""Finite scalar quantization (Mentzer et al. 2023, arXiv:2309.15505)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vq_lookup_free.implicit import ImplicitQuantizer
from vq_lookup_free.scalar_levels import choose_levels
from vqcore.interfaces.manifold import Manifold

#: Share by which the bound goes beyond the outermost codes, so that they can be reached.
MARGIN = 1e-3


class FSQ(ImplicitQuantizer):
    """Bounds each coordinate and rounds it to one of its L levels: no codebook, no losses.

    bound(z) = h tanh(z + s) - o with h = (1 + MARGIN) (L - 1)/2. For an odd L o = s = 0; for an even one o = 1/2 and
    s = atanh(o/h), so that 0 is a code and z = 0 its latent. Codes are round(bound(z))/(L // 2), in [-1, 1]
    and for an even L without the 1. A coordinate of 2 levels parts at z = -3.8 and hardly learns; prefer 3 and more.

    ``tangent`` is bound(z)/(L // 2), so an estimator sees the bounded vector and the encoder gets the derivative of the
    tanh. ``forward`` takes what ``tangent`` gives.

    Cost: O(N d) for d levels, and nothing that grows with the number of codes but the count of those used, of 2^16 at
    most.

    Args:
        dim: what the latents have; the levels count here.
        codebook_size: K; without ``levels`` they are chosen by it, see ``choose_levels``.
        manifold: see ``ImplicitQuantizer``.
        levels: L of each dimension.
    """

    def __init__(
        self,
        *,
        dim: int,
        codebook_size: int,
        manifold: Manifold,
        levels: Sequence[int] | None = None,
    ) -> None:
        chosen = choose_levels(codebook_size) if levels is None else tuple(levels)
        super().__init__(levels=chosen, manifold=manifold)
        self.fewest = min(chosen)

    def tangent(self, z: Tensor) -> Tensor:
        """bound(z)/(L // 2), by tanh(z + s) - tanh(s) = (1 - t^2) tanh(z)/(1 + t tanh(z)), t = tanh(s) = o/h.

        At z = 0 that is 0 to the bit, and where tanh(s) is near 1 no digits cancel.
        """
        levels = self.levels.to(z.dtype)
        half = (1 + MARGIN) * (levels - 1) / 2
        t = (1 - levels % 2) / (2 * half)
        reach = torch.tanh(z)
        return half * (1 - t * t) * reach / (1 + t * reach) / self._half()

    def digits(self, z: Tensor) -> Tensor:
        """See ``ImplicitQuantizer.digits``."""
        places = torch.round(z * self._half()) + self._half()
        return torch.minimum(places.clamp(min=0), (self.levels - 1).to(z.dtype)).to(torch.int64)

    def values(self, digits: Tensor) -> Tensor:
        """See ``ImplicitQuantizer.values``."""
        return (digits - self._half()).to(self.dtype) / self._half()

    def residual_scale(self) -> float:
        """1/(L - 1) for the fewest levels: half the distance of two codes, the most that rounding leaves."""
        return 1 / (self.fewest - 1)

    def _half(self) -> Tensor:
        return self.levels // 2
