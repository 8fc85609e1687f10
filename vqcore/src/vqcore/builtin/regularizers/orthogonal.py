"""Orthogonality of codes (Shin et al. 2021, arXiv:2112.00384)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vqcore.codebook.usage import code_counts
from vqcore.interfaces.latent_batch import LatentBatch
from vqcore.interfaces.regularizer import Regularizer
from vqcore.numerics import counter_rng
from vqcore.numerics.stable import safe_norm

#: Codes shorter than this, relative to the mean length, have no meaningful direction.
SHORT = 1e-6


class Orthogonality(Regularizer):
    """Mean of cos^2 over pairs of codes in tangent coordinates: 0 if orthogonal, 1 on collapse.

    In D dimensions it is 1/D for random directions, and at least (K - D)/(D (K - 1)) for K > D
    codes.

    Codes without a gradient (of an EMA codebook) are read as e_k + (m_k - sg m_k), where m_k is the
    mean of the latents that chose code k: the gradient moves the encoder, and the codes follow it.
    Codes without tokens then get none. The term is 0 for an implicit codebook, whose grid is fixed.
    Options: see ``OrthogonalConfig``.

    Cost: O(M D min(M, D)) for M = ``max_codes``; min(M, D)^2 numbers.
    """

    recordable = True

    def __init__(self, *, max_codes: int = 1024, active_only: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.max_codes = max_codes
        self.active_only = active_only

    def forward(self, batch: LatentBatch) -> Tensor:
        """See ``Regularizer.forward``. 0 without an explicit codebook or a second code."""
        if batch.codebook is None or batch.codebook.shape[0] < 2:
            return batch.z.sum() * 0
        codes = batch.manifold.logmap0(batch.codebook)
        wanted = None
        if self.active_only or not batch.z_q.requires_grad:
            counts = code_counts(batch.indices, len(codes))
            if not batch.z_q.requires_grad:
                codes = codes.detach() + _pull(batch, counts)
            if self.active_only:
                wanted = counts > 0
        if len(codes) > self.max_codes:
            drawn = _drawn(batch.key, codes, wanted)[: self.max_codes]
            codes = codes.index_select(0, drawn)
            wanted = None if wanted is None else wanted[drawn]
        return mean_squared_cosine(codes, wanted)


def mean_squared_cosine(vectors: Tensor, kept: Tensor | None = None) -> Tensor:
    """Mean of cos^2 over pairs of different rows (K, D), of those that ``kept`` (K,) marks.

    It is 0 without a pair. The sum over all pairs is the squared Frobenius norm of U U^T, and of
    U^T U: the smaller of both is built.
    """
    length = safe_norm(vectors)
    # no length that is not 0 is below this root
    shortest = (SHORT * length.detach().mean()).clamp(min=torch.finfo(length.dtype).tiny ** 0.5)
    directed = length > 0 if kept is None else (length > 0) & kept.unsqueeze(1)
    unit = vectors * (directed / length.clamp(min=shortest))
    gram = unit @ unit.T if unit.shape[0] <= unit.shape[1] else unit.T @ unit
    others = gram.square().sum() - unit.square().sum(1).square().sum()
    if kept is None:
        return others / (len(unit) * (len(unit) - 1))
    count = kept.sum()
    return others / (count * (count - 1)).clamp(min=1)


def _pull(batch: LatentBatch, counts: Tensor) -> Tensor:
    """Zero for each code (K, d), with the gradient of the mean latent of its tokens."""
    sums = batch.z.new_zeros(counts.shape[0] + 1, batch.z.shape[-1])
    means = sums.index_add(0, batch.indices + 1, batch.z)[1:] / counts.clamp(min=1).unsqueeze(1)
    return means - means.detach()


def _drawn(key: counter_rng.Key, codes: Tensor, wanted: Tensor | None) -> Tensor:
    """The codes (K, D) in an order (K,) that the key determines, the wanted ones first."""
    order = counter_rng.uniform(key, len(codes), device=codes.device)
    return (order if wanted is None else order + ~wanted).argsort()
