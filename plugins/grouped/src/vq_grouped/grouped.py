"""Product quantization: groups of dimensions side by side (Jegou et al. 2011; hyperbolic VQ-VAE's grouped VQ)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from vqcore.errors import SettingError
from vqcore.interfaces.manifold import Manifold
from vqcore.interfaces.quantizer import Quantized, Quantizer, merge_losses


class Grouped(Quantizer):
    """Splits (..., D) into G groups of D/G dimensions, each a point on its own factor of a product manifold.

    Indices have the group as their last axis, before the inner quantizer's own.

    Cost: G times the inner quantizer's on D/G dimensions: all searches together are as large a product as one on D,
    with K^G combinations of codes.

    Args:
        inner: builds the quantizer of a group.
        groups: G.
        shared: one inner quantizer serves all groups.

    Raises:
        SettingError: if G does not divide D.
    """

    def __init__(
        self,
        *,
        dim: int,
        codebook_size: int,
        manifold: Manifold,
        inner: Callable[..., Quantizer],
        groups: int = 2,
        shared: bool = False,
    ) -> None:
        super().__init__(dim=dim, codebook_size=codebook_size, manifold=manifold)
        if dim % groups:
            divisors = ", ".join(str(g) for g in range(1, dim + 1) if dim % g == 0)
            raise SettingError(
                "groups", groups, f"a divisor of dim = {dim}", f"choose one of {divisors}"
            )
        built = [
            inner(dim=dim // groups, codebook_size=codebook_size, manifold=manifold)
            for _ in range(1 if shared else groups)
        ]
        self.groups, self.shared = groups, shared
        self.inner = nn.ModuleList(built)
        self.dim, self.codebook_size = groups * built[0].dim, built[0].codebook_size
        self.index_shape = (groups, *built[0].index_shape)
        self.factors, self.synchronized = groups * built[0].factors, built[0].synchronized

    def tangent(self, z: Tensor) -> Tensor:
        """Each group for itself: the factors of the product are scaled and clipped apart."""
        split = z.unflatten(-1, (self.groups, -1))
        if self.shared:
            return self.inner[0].tangent(split).flatten(-2)
        return torch.cat(
            [inner.tangent(split[..., g, :]) for g, inner in enumerate(self.inner)], -1
        )

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Quantized:
        """See ``Quantizer.forward``."""
        split = z.unflatten(-1, (self.groups, -1))
        if self.shared:
            spread = None if mask is None else mask.unsqueeze(-1).expand(split.shape[:-1])
            whole = self.inner[0](split, spread)
            return Quantized(whole.z_q.flatten(-2), whole.indices, whole.losses, whole.assignments)
        parts = [inner(split[..., g, :], mask) for g, inner in enumerate(self.inner)]
        return Quantized(
            torch.cat([part.z_q for part in parts], -1),
            torch.stack([part.indices for part in parts], z.ndim - 1),
            merge_losses([part.losses for part in parts]),
            tuple(use for part in parts for use in part.assignments),
        )

    def encode(self, z: Tensor) -> Tensor:
        """See ``Quantizer.encode``."""
        split = z.unflatten(-1, (self.groups, -1))
        if self.shared:
            return self.inner[0].encode(split)
        return torch.stack(
            [inner.encode(split[..., g, :]) for g, inner in enumerate(self.inner)], z.ndim - 1
        )

    def decode(self, indices: Tensor) -> Tensor:
        """See ``Quantizer.decode``."""
        if self.shared:
            return self.inner[0].decode(indices).flatten(-2)
        axis = indices.ndim - len(self.index_shape)
        return torch.cat(
            [inner.decode(indices.select(axis, g)) for g, inner in enumerate(self.inner)], -1
        )

    def lookup(self, indices: Tensor) -> Tensor:
        """See ``Quantizer.lookup``."""
        if self.shared:
            return self.inner[0].lookup(indices)
        axis = indices.ndim - len(self.index_shape)
        return torch.stack(
            [inner.lookup(indices.select(axis, g)) for g, inner in enumerate(self.inner)], axis
        )

    def join(self, parts: Iterator[Tensor], shape: tuple[int, ...]) -> Tensor:
        """See ``Quantizer.join``."""
        if self.shared:
            return self.inner[0].join(parts, (*shape, self.groups)).flatten(-2)
        return torch.cat([inner.join(parts, shape) for inner in self.inner], -1)

    def residual_scale(self) -> float:
        """See ``Quantizer.residual_scale``: the inner one's."""
        return self.inner[0].residual_scale()

    @property
    def codebook(self) -> Tensor | None:
        """The inner codebook (K, A) where it is shared, else one for each group, (G, K, A)."""
        books = [inner.codebook for inner in self.inner]
        if books[0] is None:
            return None
        return books[0] if self.shared else torch.stack(books)
