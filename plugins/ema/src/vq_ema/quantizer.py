"""The codebook learned by exponential moving averages (van den Oord et al. 2017, arXiv:1711.00937, appendix A.1)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vqcore.codebook import CodebookQuantizer, squared_error
from vqcore.distributed import sum_over_ranks


class EMACodebook(CodebookQuantizer):
    """N <- g N + (1-g) n, m <- g m + (1-g) sum x, e = m/N, sums in the manifold's ambient coordinates.

    n and the sum are of the tokens of a step that chose the code, over all ranks. N starts at 1 and m at the code, and
    is Laplace-smoothed in the quotient. A code without tokens in a step stays where it is, as m/N does: smoothing would
    draw it to the origin as N falls. The codes are a buffer: no gradient reaches
    them, and the only loss is the commitment's.

    Args:
        decay: g.
        epsilon: of the smoothing.
        options: see ``CodebookQuantizer``.
    """

    def __init__(self, *, decay: float = 0.99, epsilon: float = 1e-5, **options: Any) -> None:
        super().__init__(**options)
        self.decay, self.epsilon = decay, epsilon
        points = self._starting_points()
        self.register_buffer("points", points)
        self.register_buffer("tangents", self.manifold.logmap0(points))
        self.register_buffer("counts", torch.ones(self.codebook_size))
        self.register_buffer("sums", self.manifold.to_ambient(points).clone())
        self._gathered: Tensor | None = None

    def codes(self) -> tuple[Tensor, Tensor]:
        """See ``CodebookQuantizer.codes``."""
        return self.tangents, self.points

    @torch.no_grad()
    def set_points(self, rows: Tensor, points: Tensor, optimizer: torch.optim.Optimizer | None = None) -> None:
        """See ``CodebookQuantizer.set_points``; these rows' counts and sums start afresh."""
        chosen = rows.unsqueeze(1)
        fresh = points.to(self.points)
        self.counts.masked_fill_(rows, 1.0)
        self.sums.copy_(torch.where(chosen, self.manifold.to_ambient(fresh), self.sums))
        self._place(torch.where(chosen, fresh, self.points))

    def losses(self, x: Tensor, chosen: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """See ``CodebookQuantizer.losses``: commitment only."""
        return {"commitment": self.commitment_weight * squared_error(self.manifold, x, chosen, mask, self.dim)}

    def gather(self, x: Tensor, indices: Tensor) -> None:
        """See ``CodebookQuantizer.gather``: one index-add, row 0 takes the masked tokens."""
        ambient = self.manifold.to_ambient(x)
        sums = ambient.new_zeros(self.codebook_size + 1, ambient.shape[1]).index_add_(0, indices + 1, ambient)[1:]
        self._gathered = sums if self._gathered is None else self._gathered + sums

    def learn(self) -> None:
        """See ``CodebookQuantizer.learn``: one EMA step from the tokens of all ranks."""
        sum_over_ranks(self._gathered)
        share = torch.where(self._pending.sum() > 0, 1 - self.decay, 0.0).to(self.counts.dtype)  # no tokens, no step
        self.counts.lerp_(self._pending.to(self.counts.dtype), share)
        self.sums.lerp_(self._gathered.to(self.sums.dtype), share.to(self.sums.dtype))
        self._gathered = None
        total = self.counts.sum()
        smoothed = (self.counts + self.epsilon) * (total / (total + self.codebook_size * self.epsilon))
        moved = self.manifold.from_ambient(self.sums / smoothed.unsqueeze(1))
        self._place(torch.where((self._pending > 0).unsqueeze(1), moved, self.points))

    def _place(self, points: Tensor) -> None:
        self.points.copy_(points)
        self.tangents.copy_(self.manifold.logmap0(points))
