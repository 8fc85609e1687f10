"""Distances kept between inputs and latents, up to a common scale."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vqcore.errors import UsageError
from vqcore.interfaces.latent_batch import LatentBatch
from vqcore.interfaces.regularizer import Regularizer
from vqcore.numerics.stable import evenly_spaced, masked_mean, safe_sqrt


class Isometry(Regularizer):
    """Mean over pairs of samples of (d_z / mean d_z - d_ref / mean d_ref)^2.

    d_z is the root of the mean, over the positions that count in both samples, of the manifold's squared distances
    between their latents: the distance in the product of one space for each position, up to a factor that the quotient
    drops. d_ref is taken between the inputs, one flat row a sample. Both means pass a gradient: so the term, which does
    not change when all latent distances are scaled together, does not push at that scale either.

    Under a quantizer that splits latents into groups, a position is a point in the product of a space for each.

    Cost: M^2 P distances for M samples of P positions.

    Args:
        reference: ``euclidean`` distance of the inputs, or ``squared``: for inputs of zeros and ones the Hamming
            distance.
        max_samples: samples looked at, evenly spaced over the batch.
        options: weight, every, start.
    """

    scope = "model"

    def __init__(
        self, *, reference: str = "euclidean", max_samples: int = 128, **options: Any
    ) -> None:
        super().__init__(**options)
        self.reference, self.max_samples = reference, max_samples

    def forward(self, batch: LatentBatch) -> Tensor:
        """See ``Regularizer.forward``. 0 without two samples that differ; samples of no position that counts stay out.

        Raises:
            UsageError: if the layer was not given the inputs, or they are not as many samples as the latents.
        """
        z, mask, inputs = _samples(batch)
        rows, kept = evenly_spaced(mask.any(1), self.max_samples)
        z, mask, inputs = z[rows], mask[rows], inputs[rows]
        kept = kept & torch.isfinite(inputs).all(1)
        squared, pairs = _squared_distances(z, mask & kept.unsqueeze(1), batch)
        latent = _relative(safe_sqrt(squared), pairs)
        reference = _relative(
            self._between(torch.where(kept.unsqueeze(1), inputs, 0)).to(latent.dtype), pairs
        )
        error = masked_mean((latent - reference).square().flatten(), pairs.flatten())
        return error * (reference.square() * pairs).any()

    @torch.no_grad()
    def _between(self, inputs: Tensor) -> Tensor:
        """Reference distances (M, M) of inputs (M, F)."""
        wide = inputs.to(torch.promote_types(inputs.dtype, torch.float32))
        wide = (
            wide - wide[:1]
        )  # far from 0 the product form loses every digit; and equal inputs are at 0 exactly
        distances = torch.cdist(wide, wide)
        return distances.square() if self.reference == "squared" else distances


def _samples(batch: LatentBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Latents (B, P, d), the positions that count (B, P), and inputs (B, F); each factor of a latent is a position."""
    if batch.inputs is None:
        raise UsageError(
            "regularizer 'isometry' needs the encoder's input: call the layer with inputs=your_inputs"
        )
    if batch.inputs.shape[0] != batch.z.shape[0]:
        found = f"{batch.inputs.shape[0]} inputs and {batch.z.shape[0]} latents"
        raise UsageError(
            f"regularizer 'isometry' needs latents (B, ..., D) of the B inputs, got {found}"
        )
    z = batch.z.unflatten(-1, (batch.factors, -1)).flatten(1, -2)
    if batch.mask is None:
        return z, z.new_ones(z.shape[:2], dtype=torch.bool), batch.inputs.unsqueeze(1).flatten(1)
    mask = batch.mask.unsqueeze(1).flatten(1).repeat_interleave(batch.factors, 1)
    return z, mask, batch.inputs.unsqueeze(1).flatten(1)


def _squared_distances(z: Tensor, mask: Tensor, batch: LatentBatch) -> tuple[Tensor, Tensor]:
    """Mean squared distances (M, M) of latents (M, P, D) over common positions, and which pairs i < j have some."""
    points = batch.manifold.expmap0(z.transpose(0, 1))
    squared = torch.vmap(batch.manifold.pairwise_squared_dist)(points, points)
    both = mask.T.unsqueeze(2) & mask.T.unsqueeze(1)
    common = both.sum(0)
    return torch.where(both, squared, 0).sum(0) / common.clamp(min=1), torch.triu(
        common > 0, diagonal=1
    )


def _relative(distances: Tensor, pairs: Tensor) -> Tensor:
    """Distances (M, M) divided by their mean over ``pairs``; zeros where that is 0."""
    mean = masked_mean(distances.flatten(), pairs.flatten())
    return distances / torch.where(mean > 0, mean, torch.ones_like(mean))
