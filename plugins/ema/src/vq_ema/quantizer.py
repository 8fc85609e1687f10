"""The EMA codebook (van den Oord et al. 2017, arXiv:1711.00937, appendix A.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from vqcore.codebook.drift import followed
from vqcore.codebook.table import CodebookQuantizer
from vqcore.codebook.together import as_one, stacked
from vqcore.distributed import sum_over_ranks
from vqcore.numerics.stable import masked_mean


class EMACodebook(CodebookQuantizer):
    """N <- g N + (1 - g) n, m <- g m + (1 - g) sum x, e = m/N; g is ``decay``, x is ambient.

    n and sum x are over the tokens of a step that chose the code, on all ranks. N starts at 1 and m
    at the code; the quotient uses Laplace-smoothed counts. A code without tokens in a step stays
    where it is: smoothing would pull it towards the origin as N falls. With ``drift`` it follows
    the mean move of the others, see ``vqcore.codebook.drift``, and m is that of the code moved.
    Codes are buffers, stored as tangent vectors, so the only loss is commitment. If the curvature
    is learned, m is recomputed from the code in each step, because sums of points of different
    curvature are meaningless. Options: see ``EMAConfig``.

    Cost: the search, an index-add of N rows, and O(K D) in ``update``; 2 K D numbers of state.
    """

    code_tensors: ClassVar[tuple[str, ...]] = ("tangents", "counts", "sums")
    statistics: ClassVar[tuple[str, ...]] = (*CodebookQuantizer.statistics, *code_tensors)
    tangents: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(
        self, *, decay: float = 0.99, epsilon: float = 1e-5, drift: float = 0.0, **options: Any
    ) -> None:
        super().__init__(**options)
        self.decay, self.epsilon, self.drift = decay, epsilon, drift
        points = self._starting_points().detach()
        self.register_buffer("tangents", self.manifold.logmap0(points).detach())
        self.register_buffer("counts", torch.ones(self.codebook_size, dtype=torch.float32))
        self.register_buffer("sums", self.manifold.to_ambient(points).detach().clone())

    def stored(self) -> Tensor:
        """See ``CodebookQuantizer.stored``."""
        return self.tangents

    @torch.no_grad()
    def set_points(
        self, rows: Tensor, points: Tensor, optimizer: torch.optim.Optimizer | None = None
    ) -> None:
        """See ``CodebookQuantizer.set_points``; resets the counts and sums of these rows."""
        self.counts.data.masked_fill_(rows, 1.0)
        _replace(self.sums, rows, self.manifold.to_ambient(points))
        _replace(self.tangents, rows, self.manifold.logmap0(points))

    def losses(self, x: Tensor, chosen: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """See ``CodebookQuantizer.losses``: commitment only."""
        apart = self.dissimilarity(self.manifold.squared_dist(x, chosen))
        return {"commitment": masked_mean(apart, mask) * (self.commitment_weight / self.dim)}

    def sums_of(self, x: Tensor, indices: Tensor, rows: int) -> Tensor:
        """See ``CodebookQuantizer.sums_of``: one index-add, in which row 0 takes masked tokens."""
        ambient = self.manifold.to_ambient(x)
        sums = ambient.new_zeros(rows + 1, ambient.shape[1])
        return sums.index_add_(0, indices + 1, ambient)[1:]

    @classmethod
    def learn_together(cls, tables: Sequence[Self], counts: Tensor) -> None:
        """See ``CodebookQuantizer.learn``: one EMA step from the tokens of all ranks."""
        first, space = tables[0], tables[0].manifold
        gathered = stacked([table._sums_so_far() for table in tables])
        sum_over_ranks(gathered)
        with as_one(tables, "tangents", "counts", "sums") as (tangents, sizes, sums):
            if space.learns:
                ambient = space.to_ambient(space.expmap0(tangents))
                torch.mul(sizes.unsqueeze(-1), ambient, out=sums)
            share = (1 - first.decay) * (counts.sum(-1, keepdim=True) > 0)  # no tokens, no step
            sizes.lerp_(counts.to(sizes.dtype), share.to(sizes.dtype))
            sums.lerp_(gathered.to(sums.dtype), share.unsqueeze(-1).to(sums.dtype))
            total = sizes.sum(-1, keepdim=True)
            scale = total / (total + first.codebook_size * first.epsilon)
            means = sums / ((sizes + first.epsilon) * scale).unsqueeze(-1)
            moved = space.logmap0(space.from_ambient(means)).to(tangents.dtype)
            used = (counts > 0).unsqueeze(-1)
            if first.drift > 0:
                moved = torch.where(used, moved, tangents)
                moved = followed(tangents, moved, counts, first.drift)
                ambient = space.to_ambient(space.expmap0(moved)) * sizes.unsqueeze(-1)
                torch.where(used, sums, ambient.to(sums.dtype), out=sums)
                tangents.copy_(moved)
            else:
                torch.where(used, moved, tangents, out=tangents)

    def _sums_so_far(self) -> Tensor:
        return torch.zeros_like(self.sums) if self._gathered is None else self._gathered

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *arguments: Any
    ) -> None:
        """As every table does. Codes without counts and sums get those that set codes have."""
        super()._load_from_state_dict(state_dict, prefix, *arguments)
        given = {f"{prefix}{name}" in state_dict for name in self.code_tensors}
        if given == {True, False}:
            points = self.manifold.expmap0(self.tangents)
            self.counts = torch.ones_like(self.tangents[:, 0])
            self.sums = self.manifold.to_ambient(points).clone()


def _replace(table: Tensor, rows: Tensor, fresh: Tensor) -> None:
    torch.where(rows.unsqueeze(1), fresh.to(table.dtype), table, out=table.data)
