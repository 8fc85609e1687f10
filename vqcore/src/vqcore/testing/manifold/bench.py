"""How the checks of a manifold build it, and the numbers they are made with."""

from __future__ import annotations

import torch
from torch import Tensor

from vqcore.interfaces.manifold import Manifold
from vqcore.testing.samples import normal

#: Relative and absolute error up to which one formula may differ from another in each number type.
TOLERANCE = {torch.float32: (1e-4, 1e-5), torch.float64: (1e-6, 1e-9)}
#: Latents near the origin, of the usual size, and so long that a curved space must clip them.
SCALES = (0.01, 2.0, 1e4)


class ManifoldBench:
    """Part of ``ManifoldConformance``.

    Attributes:
        dim: D of the latents that the checks make.
        isotropic: whether rotations about the origin keep distances, so that the distance from the origin depends on
            the tangent norm alone.
    """

    dim: int = 5
    isotropic: bool = True

    def make(self) -> Manifold:
        """A new manifold, the same each time."""
        raise NotImplementedError("make: return the manifold to be tested")

    def tangents(
        self,
        manifold: Manifold,
        n: int = 40,
        *,
        scale: float = 2.0,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> Tensor:
        """Tangent vectors (n, D) of normal latents of the given scale."""
        return manifold.tangent(scale * normal(n, self.dim, seed=seed, dtype=dtype)).detach()

    def points(
        self,
        manifold: Manifold,
        n: int = 40,
        *,
        scale: float = 2.0,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> Tensor:
        """The points (n, A) that ``tangents`` lead to."""
        return manifold.expmap0(
            self.tangents(manifold, n, scale=scale, seed=seed, dtype=dtype)
        ).detach()
