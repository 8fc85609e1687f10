"""The codebook of VQ-VAE, learned by gradients (van den Oord et al. 2017, arXiv:1711.00937, eq. 3)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vqcore.codebook.table import CodebookQuantizer, in_full_precision, reset_rows, squared_error
from vqcore.errors import SettingError


class GradientCodebook(CodebookQuantizer):
    """Codes are parameters. loss = codebook_weight |sg x - e|^2 + commitment_weight |x - sg e|^2, by the manifold.

    Cost: the manifold's search and O(N D + K D); K D parameters with their gradient and the optimizer's moments.

    Args:
        codebook_weight: weight of the first term, which pulls codes towards their latents.
        affine_lr: where it is above 0, codes are e = w (1 + affine_lr s) + affine_lr b in tangent coordinates, with one
            learned scale s and shift b (D,) for all of them, so that the gradient of the codes in use moves the others
            along (Huh et al. 2023, arXiv:2305.08842, section 4.1).
        synchronized: weight of the decoder's gradient on the chosen codes (the same, section 4.2).
        options: see ``CodebookQuantizer``.

    Raises:
        SettingError: for ``affine_lr`` where codes are no tangent coordinates.
    """

    def __init__(
        self,
        *,
        codebook_weight: float = 1.0,
        affine_lr: float = 0.0,
        synchronized: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.codebook_weight, self.affine_lr, self.synchronized = (
            codebook_weight,
            affine_lr,
            synchronized,
        )
        self.weight = self.manifold.parameter(self._starting_points())
        if affine_lr > 0:
            if self.weight.shape[1] != self.dim or type(self.weight) is not nn.Parameter:
                raise SettingError(
                    "affine_lr",
                    affine_lr,
                    "0 for codes held as points",
                    "set manifold.codes to tangent",
                )
            self.scale, self.shift = (
                nn.Parameter(torch.zeros(self.dim)),
                nn.Parameter(torch.zeros(self.dim)),
            )

    def codes(self) -> tuple[Tensor, Tensor]:
        """See ``CodebookQuantizer.codes``."""
        weight = in_full_precision(self.weight) if self.weight.dtype.itemsize < 4 else self.weight
        if self.affine_lr > 0:
            weight = weight * (1 + self.affine_lr * self.scale) + self.affine_lr * self.shift
        return self.manifold.codes(weight)

    @torch.no_grad()
    def set_points(
        self, rows: Tensor, points: Tensor, optimizer: torch.optim.Optimizer | None = None
    ) -> None:
        """See ``CodebookQuantizer.set_points``; resets the optimizer's moments of these rows."""
        fresh = self.manifold.coordinates(points).to(self.weight)
        if self.affine_lr > 0:
            fresh = (fresh - self.affine_lr * self.shift) / (1 + self.affine_lr * self.scale)
        self.weight.data.copy_(torch.where(rows.unsqueeze(1), fresh, self.weight))
        reset_rows(self.weight, rows, optimizer)

    def losses(self, x: Tensor, chosen: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """See ``CodebookQuantizer.losses``."""
        commitment = squared_error(self.manifold, x, chosen.detach(), mask, self.dim)
        codebook = squared_error(self.manifold, x.detach(), chosen, mask, self.dim)
        return {
            "commitment": self.commitment_weight * commitment,
            "codebook": self.codebook_weight * codebook,
        }
