"""What the grouped and the residual quantizer share: the quantizers that they wrap."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from vq_grouped.equal_tables import EqualTables, equal_tables, setting_names
from vqcore.interfaces.quantizer import Quantizer


class InnerQuantizers(Quantizer):
    """``count`` groups or stages, each with a quantizer that ``inner`` builds, or one shared."""

    def __init__(
        self, inner: Callable[..., Quantizer], count: int, shared: bool, **options: Any
    ) -> None:
        super().__init__(**options)
        self.count, self.shared = count, shared
        self.inner = nn.ModuleList(inner(**options) for _ in range(1 if shared else count))
        self.dim, self.factors = self.first.dim, self.first.factors
        self.codebook_size = self.first.codebook_size
        self.synchronized = self.first.synchronized
        self.index_shape = (count, *self.first.index_shape)
        self._settings = setting_names(next(self._innermost()))

    @property
    def recordable(self) -> bool:  # type: ignore[override]  # follows from the inner ones
        """See ``Quantizer``."""
        return all(inner.recordable for _, inner in self.numbered())

    @property
    def phase(self) -> Hashable:
        """See ``Quantizer.phase``: that of each inner quantizer."""
        return tuple(inner.phase for _, inner in self.numbered())

    @property
    def first(self) -> Quantizer:
        """The quantizer of the first group or stage."""
        return self.inner[0]  # type: ignore[return-value]  # ModuleList is not generic

    def numbered(self) -> list[tuple[int, Quantizer]]:
        """The number and the quantizer of each group or stage."""
        quantizers = [self.first] * self.count if self.shared else self.inner
        return list(enumerate(quantizers))  # type: ignore[arg-type]  # ModuleList is not generic

    def as_one(self) -> EqualTables | None:
        """The quantizers of all groups or stages as one, if they are tables, equal and started."""
        return EqualTables.of(self.inner_quantizers(), self.count, self._settings)

    def update(self, optimizer: torch.optim.Optimizer | None = None) -> None:
        """See ``Quantizer.update``; equal tables, also of nested groups and stages, as one."""
        tables = equal_tables(self._innermost(), self._settings)
        if tables is None:
            super().update(optimizer)
            self.draw()
        else:
            tables[0].update_together(tables, optimizer)
            for module in self.modules():
                if isinstance(module, InnerQuantizers):
                    module.draw()

    def draw(self) -> None:
        """Draw what the next step needs at random, after each ``update``."""

    def _innermost(self) -> Iterator[Quantizer]:
        for each in self.inner_quantizers():
            if isinstance(each, InnerQuantizers):
                yield from each._innermost()
            else:
                yield each

    def resize_codebook(
        self, codebook_size: int, optimizer: torch.optim.Optimizer | None = None
    ) -> Tensor:
        """See ``Quantizer.resize_codebook``; every group or stage has its own most used codes."""
        inner: Any = self.inner  # ModuleList is not generic
        resized = [each.resize_codebook(codebook_size, optimizer) for each in inner]
        self.codebook_size = self.first.codebook_size
        return resized[0] if self.shared else torch.stack(resized)

    @property
    def codebook(self) -> Tensor | None:
        """(K, A) if shared, else (G, K, A) for G groups or stages; None if implicit."""
        if self.shared:
            return self.first.codebook
        codebooks = [inner.codebook for _, inner in self.numbered()]
        explicit = [codebook for codebook in codebooks if codebook is not None]
        return torch.stack(explicit) if explicit else None
