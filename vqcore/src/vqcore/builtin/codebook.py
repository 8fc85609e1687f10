"""The codebook of VQ-VAE, learned by gradients (van den Oord et al. 2017, arXiv:1711.00937, eq. 3)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vqcore.codebook import CodebookQuantizer, reset_rows, squared_error


class GradientCodebook(CodebookQuantizer):
    """Codes are parameters. loss = codebook_weight |sg x - e|^2 + commitment_weight |x - sg e|^2, by the manifold.

    Args:
        codebook_weight: weight of the first term, which pulls codes towards their latents.
        options: see ``CodebookQuantizer``.
    """

    def __init__(self, *, codebook_weight: float = 1.0, **options: Any) -> None:
        super().__init__(**options)
        self.codebook_weight = codebook_weight
        self.weight = self.manifold.parameter(self._starting_points())

    def codes(self) -> tuple[Tensor, Tensor]:
        """See ``CodebookQuantizer.codes``."""
        return self.manifold.codes(self.weight)

    @torch.no_grad()
    def set_points(self, rows: Tensor, points: Tensor, optimizer: torch.optim.Optimizer | None = None) -> None:
        """See ``CodebookQuantizer.set_points``; resets the optimizer's moments of these rows."""
        fresh = self.manifold.parameter(points).to(self.weight)
        self.weight.copy_(torch.where(rows.unsqueeze(1), fresh, self.weight))
        reset_rows(self.weight, rows, optimizer)

    def losses(self, x: Tensor, chosen: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """See ``CodebookQuantizer.losses``."""
        commitment = squared_error(self.manifold, x, chosen.detach(), mask, self.dim)
        codebook = squared_error(self.manifold, x.detach(), chosen, mask, self.dim)
        return {"commitment": self.commitment_weight * commitment, "codebook": self.codebook_weight * codebook}
