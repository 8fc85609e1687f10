"""How the checks build a manifold, and the inputs they use."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from vqcore.errors import SettingError
from vqcore.interfaces.manifold import Manifold
from vqcore.testing.samples import normal

#: Relative and absolute error by which two formulas may differ in each dtype.
TOLERANCE = {torch.float32: (1e-4, 1e-5), torch.float64: (1e-6, 1e-9)}
#: Latents near the origin, of usual size, and so long that a curved space must clip them.
SCALES = (0.01, 2.0, 1e4)
#: D of the latents: the first one that ``check_dim`` accepts.
DIMS = (5, 4, 6, 3, *range(7, 65), 2)


class ManifoldBench:
    """Part of ``ManifoldConformance``.

    Attributes:
        dim: D of the latents, by default the first of ``DIMS`` that the manifold takes.
        isotropic, search_precision, search_floor: instead of what the manifold states.
    """

    isotropic: bool | None = None
    search_precision: float | None = None
    search_floor: float | None = None

    def make(self) -> Manifold:
        """A new manifold, the same each time."""
        raise NotImplementedError("make: return the manifold to be tested")

    @cached_property
    def dim(self) -> int:
        """See above."""
        manifold = self.make()
        return next((dim for dim in DIMS if _takes(manifold, dim)), DIMS[0])

    def manifolds(self) -> Sequence[Manifold]:
        """The manifold in float64, for checks of formulas."""
        return [self.make().double()]

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
        self, manifold: Manifold, *, scale: float = 2.0, dtype: torch.dtype = torch.float64
    ) -> Tensor:
        """The 40 points (n, A) of ``tangents``."""
        return manifold.expmap0(self.tangents(manifold, scale=scale, dtype=dtype)).detach()


def _takes(manifold: Manifold, dim: int) -> bool:
    try:
        manifold.check_dim(dim)
    except SettingError:
        return False
    return True
