"""The codebook learned by exponential moving averages (van den Oord et al. 2017, arXiv:1711.00937, appendix A.1)."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from vqcore.codebook.table import CodebookQuantizer, squared_error
from vqcore.distributed import sum_over_ranks


class EMACodebook(CodebookQuantizer):
    """N <- g N + (1-g) n, m <- g m + (1-g) sum x, e = m/N, sums in the manifold's ambient coordinates.

    n and the sum are of the tokens of a step that chose the code, over all ranks. N starts at 1 and m at the code, and
    is Laplace-smoothed in the quotient. A code without tokens in a step stays where it is, as m/N does: smoothing would
    draw it to the origin as N falls. The codes are buffers, held as tangent vectors: no gradient reaches them, and the
    only loss is the commitment's. Where the manifold itself is trained, m is taken anew from the code in each step,
    since a sum of points of another curvature means nothing.

    Cost: the manifold's search, an index-add of N rows, and O(K D) in ``update``; 2 K D numbers of state, no gradient,
    no moments of an optimizer.

    Args:
        decay: g.
        epsilon: of the smoothing.
        options: see ``CodebookQuantizer``.
    """

    statistics: ClassVar[tuple[str, ...]] = ("usage", "tangents", "counts", "sums")

    def __init__(self, *, decay: float = 0.99, epsilon: float = 1e-5, **options: Any) -> None:
        super().__init__(**options)
        self.decay, self.epsilon = decay, epsilon
        points = self._starting_points().detach()
        self.register_buffer("tangents", self.manifold.logmap0(points).detach())
        self.register_buffer("counts", torch.ones(self.codebook_size, dtype=torch.float32))
        self.register_buffer("sums", self.manifold.to_ambient(points).detach().clone())

    def codes(self) -> tuple[Tensor, Tensor]:
        """See ``CodebookQuantizer.codes``."""
        return self.tangents, self.manifold.expmap0(self.tangents)

    @torch.no_grad()
    def set_points(
        self, rows: Tensor, points: Tensor, optimizer: torch.optim.Optimizer | None = None
    ) -> None:
        """See ``CodebookQuantizer.set_points``; these rows' counts and sums start afresh."""
        self.counts.data.masked_fill_(rows, 1.0)
        self._replace(self.sums, rows, self.manifold.to_ambient(points))
        self._replace(self.tangents, rows, self.manifold.logmap0(points))

    def losses(self, x: Tensor, chosen: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """See ``CodebookQuantizer.losses``: commitment only."""
        return {
            "commitment": self.commitment_weight
            * squared_error(self.manifold, x, chosen, mask, self.dim)
        }

    def gather(self, x: Tensor, indices: Tensor) -> None:
        """See ``CodebookQuantizer.gather``: one index-add, row 0 takes the masked tokens."""
        ambient = self.manifold.to_ambient(x)
        sums = ambient.new_zeros(self.codebook_size + 1, ambient.shape[1]).index_add_(
            0, indices + 1, ambient
        )[1:]
        self._gathered = sums if self._gathered is None else self._gathered + sums

    def learn(self, counts: Tensor) -> None:
        """See ``CodebookQuantizer.learn``: one EMA step from the tokens of all ranks."""
        gathered = torch.zeros_like(self.sums) if self._gathered is None else self._gathered
        sum_over_ranks(gathered)
        if self.manifold.learns:
            points = self.manifold.expmap0(self.tangents)
            self.sums.copy_(self.counts.unsqueeze(1) * self.manifold.to_ambient(points))
        share = torch.where(counts.sum() > 0, 1 - self.decay, 0.0).to(
            self.counts.dtype
        )  # no tokens, no step
        self.counts.lerp_(counts.to(self.counts.dtype), share)
        self.sums.lerp_(gathered.to(self.sums.dtype), share.to(self.sums.dtype))
        total = self.counts.sum()
        smoothed = (self.counts + self.epsilon) * (
            total / (total + self.codebook_size * self.epsilon)
        )
        moved = self.manifold.logmap0(self.manifold.from_ambient(self.sums / smoothed.unsqueeze(1)))
        self._replace(self.tangents, counts > 0, moved)

    def _forget(self) -> None:
        super()._forget()
        self._gathered: Tensor | None = None

    @staticmethod
    def _replace(table: Tensor, rows: Tensor, fresh: Tensor) -> None:
        table.data.copy_(torch.where(rows.unsqueeze(1), fresh.to(table.dtype), table))
