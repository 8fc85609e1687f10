"""Product quantization (Jegou et al. 2011; hyperbolic VQ-VAE for shared codebooks)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from vq_grouped.equal_tables import EqualTables
from vq_grouped.grouped_config import group_dim
from vq_grouped.inner import InnerQuantizers
from vqcore.interfaces.quantizer import Quantized, Quantizer, merge_losses


class Grouped(InnerQuantizers):
    """Splits (..., D) into G groups of D/G dimensions, each on its own factor of a product space.

    Indices have the group as their last axis, before the inner quantizer's own.
    Options: see ``GroupedConfig``.

    Cost: G searches on D/G dimensions, together as large as one on D, for K^G combined codes.

    Raises:
        SettingError: if G does not divide D.
    """

    def __init__(
        self,
        *,
        dim: int,
        inner: Callable[..., Quantizer],
        groups: int = 2,
        shared: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(inner, groups, shared, dim=group_dim(dim, groups), **options)
        self.groups = groups
        self.dim = groups * self.first.dim
        self.factors = groups * self.first.factors

    def tangent(self, z: Tensor) -> Tensor:
        """See ``Quantizer.tangent``: each group is scaled and clipped by itself."""
        axis, split = self._split(z)
        if type(self.first).tangent is Quantizer.tangent:
            return self.manifold.tangent(split).flatten(-2)
        parts = [inner.tangent(part) for inner, part in self._groups(split, axis)]
        return self._stack(parts, axis).flatten(-2)

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Quantized:
        """See ``Quantizer.forward``. The losses are means over the groups."""
        axis, split = self._split(z)
        tables = self.as_one()
        if tables is not None:
            return self._forward_as_one(tables, split, mask)
        if self.shared and mask is not None:
            mask = mask.unsqueeze(-1).expand(split.shape[:-1])
        parts: list[Quantized] = [inner(part, mask) for inner, part in self._groups(split, axis)]
        return Quantized(
            self._stack([part.z_q for part in parts], axis).flatten(-2),
            self._stack([part.indices for part in parts], axis),
            merge_losses([part.losses for part in parts]),
            tuple(assignment for part in parts for assignment in part.assignments),
        )

    def _forward_as_one(self, tables: EqualTables, split: Tensor, mask: Tensor | None) -> Quantized:
        """``forward`` of groups (..., G, d) that differ in their codes alone."""
        tokens = split.reshape(-1, *split.shape[-2:])
        kept = tokens.new_ones(tokens.shape[:1], dtype=torch.bool) if mask is None else mask
        kept = kept.reshape(-1, 1).expand(tokens.shape[:2])
        points, found = self._search(tables, tokens)
        result = tables.quantized(tokens, points, found, kept, axis=1)
        z_q = result.z_q.view(split.shape).flatten(-2)
        indices = result.indices.view(split.shape[:-1])
        return Quantized(z_q, indices, result.losses, result.assignments)

    def _search(self, tables: EqualTables, z: Tensor) -> tuple[Tensor, Tensor]:
        """The points (N, G, A) of tangent vectors (N, G, d), and their codes (N, G)."""
        x = self.manifold.expmap0(z)
        return x, torch.stack([tables.nearest(g, x[:, g]) for g in range(self.groups)], 1)

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """See ``Quantizer.encode``."""
        axis, split = self._split(z)
        tables = self.as_one()
        if tables is not None:
            _, found = self._search(tables, split.reshape(-1, *split.shape[-2:]))
            return found.view(split.shape[:-1])
        parts = [inner.encode(part) for inner, part in self._groups(split, axis)]
        return self._stack(parts, axis)

    def decode(self, indices: Tensor) -> Tensor:
        """See ``Quantizer.decode``."""
        tables = self.as_one()
        if tables is not None:
            return tables.lookup(indices).flatten(-2)
        axis = indices.ndim - len(self.index_shape)
        parts = [inner.decode(part) for inner, part in self._groups(indices, axis)]
        return self._stack(parts, axis).flatten(-2)

    def lookup(self, indices: Tensor) -> Tensor:
        """See ``Quantizer.lookup``."""
        tables = self.as_one()
        if tables is not None:
            return tables.lookup(indices)
        axis = indices.ndim - len(self.index_shape)
        parts = [inner.lookup(part) for inner, part in self._groups(indices, axis)]
        return self._stack(parts, axis)

    def as_one(self) -> EqualTables | None:
        """See ``InnerQuantizers.as_one``. A shared quantizer takes all groups as its tokens."""
        return None if self.shared else super().as_one()

    def join(self, parts: Iterator[Tensor], shape: tuple[int, ...]) -> Tensor:
        """See ``Quantizer.join``."""
        if self.shared:
            return self.first.join(parts, (*shape, self.groups)).flatten(-2)
        return torch.cat([inner.join(parts, shape) for _, inner in self.numbered()], -1)

    def residual_scale(self) -> float:
        """See ``Quantizer.residual_scale``: the inner quantizer's."""
        return self.first.residual_scale()

    def _split(self, z: Tensor) -> tuple[int, Tensor]:
        """The axis of the groups, and z (..., D) as (..., G, D/G)."""
        return z.ndim - 1, z.unflatten(-1, (self.groups, -1))

    def _groups(self, x: Tensor, axis: int) -> list[tuple[Quantizer, Tensor]]:
        """Each inner quantizer with its part of x: a group, or all of them for a shared one."""
        if self.shared:
            return [(self.first, x)]
        return [(inner, x.select(axis, group)) for group, inner in self.numbered()]

    def _stack(self, parts: Sequence[Tensor], axis: int) -> Tensor:
        return parts[0] if self.shared else torch.stack(list(parts), axis)
