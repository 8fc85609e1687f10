"""Finite scalar quantization (Mentzer et al. 2023, arXiv:2309.15505)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vq_lookup_free.implicit import ImplicitQuantizer
from vq_lookup_free.scalar_levels import choose_levels
from vqcore.interfaces.manifold import Manifold

#: Relative margin of the bound beyond the outermost codes, so that latents can reach them.
MARGIN = 1e-3


class FSQ(ImplicitQuantizer):
    """Bounds each coordinate and rounds it to one of its L levels: no codebook, no losses.

    bound(z) = h tanh(z + s) - o with h = (1 + MARGIN) (L - 1)/2. For an odd L, o = s = 0. For an
    even L, o = 1/2 and s = atanh(o/h), so that 0 is a code and z = 0 its latent. Codes are
    round(bound(z))/(L // 2), in [-1, 1], without 1 for an even L. With 2 levels the boundary lies
    at z = -3.8, where the gradient almost vanishes; prefer 3 and more.

    ``tangent`` is bound(z)/(L // 2), so that the estimator sees the bounded vector and the encoder
    gets the derivative of the tanh. ``forward`` takes the output of ``tangent``. The number of
    levels, by default those of ``choose_levels``, is the dimension.

    Cost: O(N d) for d levels. Only the usage counts grow with the number of codes, to at most 2^16.
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

    def grid(self) -> Sequence[Sequence[float]]:
        """See ``ImplicitQuantizer.grid``: L // 2, the outermost codes, t and the factor of tanh."""
        half = [level // 2 for level in self._levels]
        reach = [(1 + MARGIN) * (level - 1) / 2 for level in self._levels]
        t = [(1 - level % 2) / (2 * h) for level, h in zip(self._levels, reach, strict=True)]
        return [
            half,
            [-each for each in half],
            [level - 1 - each for level, each in zip(self._levels, half, strict=True)],
            t,
            [h * (1 - s * s) / each for h, s, each in zip(reach, t, half, strict=True)],
        ]

    def tangent(self, z: Tensor) -> Tensor:
        """bound(z)/(L // 2).

        By tanh(z + s) - tanh(s) = (1 - t^2) tanh(z)/(1 + t tanh(z)) with t = tanh(s) = o/h: exactly
        0 at z = 0, and without cancellation where t is near 1.
        """
        *_, t, factor = self._grid(z.dtype)
        reach = torch.tanh(z)
        return factor * reach / (1 + t * reach)

    def digits(self, z: Tensor) -> Tensor:
        """See ``ImplicitQuantizer.digits``."""
        half, lowest, highest, *_ = self._grid(z.dtype)
        return (torch.clamp(torch.round(z * half), lowest, highest) + half).to(torch.int64)

    def values(self, digits: Tensor) -> Tensor:
        """See ``ImplicitQuantizer.values``."""
        half = self._grid(self.dtype)[0]
        return (digits - half) / half

    def residual_scale(self) -> float:
        """1/(L - 1) for the fewest levels: half the spacing of codes, the largest error."""
        return 1 / (self.fewest - 1)

    def _grid(self, dtype: torch.dtype) -> tuple[Tensor, ...]:
        return self.constants(torch.promote_types(dtype, torch.float32)).unbind()
