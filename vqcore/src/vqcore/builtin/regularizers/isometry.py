"""Isometry of inputs and latents, up to a common scale."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vqcore.errors import UsageError
from vqcore.interfaces.latent_batch import LatentBatch
from vqcore.interfaces.regularizer import Regularizer
from vqcore.numerics.masking import largest, usable
from vqcore.numerics.stable import evenly_spaced, safe_sqrt


class Isometry(Regularizer):
    """Mean over pairs of samples of (d_z / mean d_z - d_ref / mean d_ref)^2.

    d_z is the root of the mean, over the positions that count in both samples, of the squared
    distances between their latents: up to a constant factor, the distance in a product of one space
    for each position. d_ref is the distance between the inputs, flattened. Gradients pass through
    both means, so that the term neither depends on a common scale of the latent distances nor
    changes it. Under a quantizer that splits latents into groups, a position is a point in the
    product of one space for each group. Options: see ``IsometryConfig``.

    Cost: M^2 P distances for M samples of P positions.
    """

    scope = "model"
    recordable = True

    def __init__(
        self, *, reference: str = "euclidean", max_samples: int = 128, **options: Any
    ) -> None:
        super().__init__(**options)
        self.reference = reference
        self.max_samples = max_samples

    def forward(self, batch: LatentBatch) -> Tensor:
        """See ``Regularizer.forward``. 0 without two samples that differ and have a position.

        Raises:
            UsageError: if the layer received no inputs, or not one for each sample of latents.
        """
        z, mask, inputs = _samples(batch)
        rows, kept = evenly_spaced(mask.any(1), self.max_samples)
        z, mask, inputs = (each.index_select(0, rows) for each in (z, mask, inputs))
        kept = kept & usable(inputs, largest(torch.promote_types(inputs.dtype, torch.float32)))
        squared, pairs = _squared_distances(z, mask & kept.unsqueeze(1), batch)
        weights = pairs / pairs.sum(dtype=squared.dtype).clamp(min=1)
        latent, _ = _relative(safe_sqrt(squared), weights)
        between = self._between(torch.where(kept.unsqueeze(1), inputs, 0))
        reference, mean = _relative(between.to(latent.dtype), weights)
        return ((latent - reference).square() * weights).sum() * (mean > 0)

    @torch.no_grad()
    def _between(self, inputs: Tensor) -> Tensor:
        """Reference distances (M, M) of inputs (M, F)."""
        wide = inputs.to(torch.promote_types(inputs.dtype, torch.float32))
        # The product form of cdist is inaccurate far from 0; centred, equal inputs are exactly 0.
        wide = wide - wide[:1]
        distances = torch.cdist(wide, wide)
        return distances.square() if self.reference == "squared" else distances


def _samples(batch: LatentBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Latents (B, P, d), mask (B, P) and inputs (B, F); each factor of a latent is a position."""
    if batch.inputs is None:
        needed = "the encoder's input: call the layer with inputs=your_inputs"
        raise UsageError(f"regularizer 'isometry' needs {needed}")
    if batch.inputs.shape[0] != batch.z.shape[0]:
        found = f"{batch.inputs.shape[0]} inputs and {batch.z.shape[0]} latents"
        needed = f"latents (B, ..., D) of the B inputs, got {found}"
        raise UsageError(f"regularizer 'isometry' needs {needed}")
    z = batch.z.unflatten(-1, (batch.factors, -1)).flatten(1, -2)
    inputs = batch.inputs.unsqueeze(1).flatten(1)
    if batch.mask is None:
        return z, z.new_ones(z.shape[:2], dtype=torch.bool), inputs
    mask = batch.mask.unsqueeze(1).flatten(1).repeat_interleave(batch.factors, 1)
    return z, mask, inputs


def _squared_distances(z: Tensor, mask: Tensor, batch: LatentBatch) -> tuple[Tensor, Tensor]:
    """Mean squared distances (M, M) of latents (M, P, D), and the pairs i < j that have one.

    Each mean is over the positions that count in both samples.
    """
    points = batch.manifold.expmap0(z.transpose(0, 1))
    squared = torch.vmap(batch.manifold.pairwise_squared_dist)(points, points)
    both = mask.T.unsqueeze(2) & mask.T.unsqueeze(1)
    common = both.sum(0)
    mean = torch.where(both, squared, 0).sum(0) / common.clamp(min=1)
    return mean, torch.triu(common > 0, diagonal=1)


def _relative(distances: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Distances (M, M) divided by their weighted mean, unless that is 0; and the mean."""
    mean = (distances * weights).sum()
    return distances / (mean + (mean == 0)), mean
