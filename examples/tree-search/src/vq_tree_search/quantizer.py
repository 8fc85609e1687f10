"""A codebook learned by gradients, with a search of its own."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from vqcore.codebook.own_rate import OwnRateCodebook
from vqcore.codebook.rows import reset_rows

from vq_tree_search.tree import search


class TreeCodebook(OwnRateCodebook):
    """A table of codes whose search follows ``beam`` branches of a tree, see ``tree``.

    The code found is near, and mostly the nearest; in training and in use it is the same. Codes
    learn as those of the built-in codebook do. Options: see ``TreeCodebookConfig``.

    Cost: O(N D beam log K) for the search and O(K D log K) for the tree, with O(N D beam) memory.
    """

    code_tensors: ClassVar[tuple[str, ...]] = ("weight",)

    def __init__(self, *, beam: int = 4, **options: Any) -> None:
        super().__init__(**options)
        self.beam = beam
        self._register(self.manifold.parameter(self._starting_points()), self.lr_scale)

    def choose_codes(self, x: Tensor, points: Tensor) -> Tensor:
        """See ``CodebookQuantizer.choose_codes``."""
        return search(x, points, self.manifold, self.beam)

    def stored(self) -> Tensor:
        """See ``CodebookQuantizer.stored``."""
        return self.learned()

    @torch.no_grad()
    def set_points(
        self, rows: Tensor, points: Tensor, optimizer: torch.optim.Optimizer | None = None
    ) -> None:
        """See ``CodebookQuantizer.set_points``."""
        fresh = self.manifold.coordinates(points).to(self.weight) / self.lr_scale
        self.weight.data.copy_(torch.where(rows.unsqueeze(1), fresh, self.weight))
        reset_rows(self.weight, rows, optimizer)
