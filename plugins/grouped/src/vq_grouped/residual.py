"""Residual quantization: each stage quantizes what the ones before it left (SoundStream, arXiv:2107.03312)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vqcore.manifold import Manifold
from vqcore.quantizer import Quantized, Quantizer, merge_losses


class Residual(Quantizer):
    """Stages in the tangent space at the origin: r_1 = z, r_(i+1) = r_i - sg q_i, z_q = sum q_i.

    No stage passes its gradient through another: the estimator around the whole decides it once, so that with
    straight-through d(sum out)/dz is 1 whatever the number of stages. Indices have the stage as their last axis,
    before the inner quantizer's own.

    Args:
        inner: builds the quantizer of a stage.
        stages: Q.
    """

    def __init__(
        self, *, dim: int, codebook_size: int, manifold: Manifold, inner: Callable[..., Quantizer], stages: int = 4
    ) -> None:
        super().__init__(dim=dim, codebook_size=codebook_size, manifold=manifold)
        self.inner = nn.ModuleList(
            inner(dim=dim, codebook_size=codebook_size, manifold=manifold) for _ in range(stages)
        )
        self.index_shape = (stages, *self.inner[0].index_shape)

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Quantized:
        """See ``Quantizer.forward``. The losses are means over the stages."""
        rest, parts = z, []
        for stage in self.inner:
            parts.append(stage(rest, mask))
            rest = rest - parts[-1].z_q.detach()
        return Quantized(
            sum(part.z_q for part in parts),
            torch.stack([part.indices for part in parts], z.ndim - 1),
            merge_losses([part.losses for part in parts]),
            tuple(use for part in parts for use in part.uses),
        )

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """See ``Quantizer.encode``."""
        rest, found = z, []
        for stage in self.inner:
            found.append(stage.encode(rest))
            rest = rest - stage.decode(found[-1])
        return torch.stack(found, z.ndim - 1)

    def decode(self, indices: Tensor) -> Tensor:
        """See ``Quantizer.decode``."""
        axis = indices.ndim - len(self.index_shape)
        return sum(stage.decode(indices.select(axis, q)) for q, stage in enumerate(self.inner))

    @property
    def codebook(self) -> Tensor | None:
        """One codebook for each stage, (Q, K, A)."""
        books = [stage.codebook for stage in self.inner]
        return None if books[0] is None else torch.stack(books)
