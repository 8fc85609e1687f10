"""Product quantization (Jegou et al. 2011; hyperbolic VQ-VAE for shared codebooks)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from vq_grouped.inner import InnerQuantizers
from vqcore.errors import SettingError
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
        if dim % groups:
            divisors = ", ".join(str(g) for g in range(1, dim + 1) if dim % g == 0)
            fix = f"choose one of {divisors}"
            raise SettingError("groups", groups, f"a divisor of dim = {dim}", fix)
        super().__init__(inner, groups, shared, dim=dim // groups, **options)
        self.groups = groups
        self.dim = groups * self.first.dim
        self.factors = groups * self.first.factors

    def tangent(self, z: Tensor) -> Tensor:
        """See ``Quantizer.tangent``: each group is scaled and clipped by itself."""
        axis, split = self._split(z)
        parts = [inner.tangent(part) for inner, part in self._groups(split, axis)]
        return self._stack(parts, axis).flatten(-2)

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Quantized:
        """See ``Quantizer.forward``. The losses are means over the groups."""
        axis, split = self._split(z)
        if self.shared and mask is not None:
            mask = mask.unsqueeze(-1).expand(split.shape[:-1])
        parts: list[Quantized] = [inner(part, mask) for inner, part in self._groups(split, axis)]
        return Quantized(
            self._stack([part.z_q for part in parts], axis).flatten(-2),
            self._stack([part.indices for part in parts], axis),
            merge_losses([part.losses for part in parts]),
            tuple(assignment for part in parts for assignment in part.assignments),
        )

    def encode(self, z: Tensor) -> Tensor:
        """See ``Quantizer.encode``."""
        axis, split = self._split(z)
        parts = [inner.encode(part) for inner, part in self._groups(split, axis)]
        return self._stack(parts, axis)

    def decode(self, indices: Tensor) -> Tensor:
        """See ``Quantizer.decode``."""
        axis = indices.ndim - len(self.index_shape)
        parts = [inner.decode(part) for inner, part in self._groups(indices, axis)]
        return self._stack(parts, axis).flatten(-2)

    def lookup(self, indices: Tensor) -> Tensor:
        """See ``Quantizer.lookup``."""
        axis = indices.ndim - len(self.index_shape)
        parts = [inner.lookup(part) for inner, part in self._groups(indices, axis)]
        return self._stack(parts, axis)

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

    def _stack(self, parts: list[Tensor], axis: int) -> Tensor:
        return parts[0] if self.shared else torch.stack(parts, axis)
