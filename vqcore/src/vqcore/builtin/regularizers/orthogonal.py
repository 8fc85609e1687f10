"""Orthogonality of codes (Shin et al. 2021, arXiv:2112.00384)."""

from __future__ import annotations

from collections.abc import Callable
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

    def __init__(self, *, max_codes: int = 1024, active_only: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.max_codes = max_codes
        self.active_only = active_only

    def forward(self, batch: LatentBatch) -> Tensor:
        """See ``Regularizer.forward``. 0 without an explicit codebook or a second code."""
        if batch.codebook is None or batch.codebook.shape[0] < 2:
            return batch.z.sum() * 0
        counts = code_counts(batch.indices, batch.codebook.shape[0])
        codes = batch.manifold.logmap0(batch.codebook)
        if not batch.z_q.requires_grad:
            codes = codes.detach() + _pull(batch, counts)
        wanted = counts > 0 if self.active_only else torch.ones_like(counts, dtype=torch.bool)
        if codes.shape[0] > self.max_codes:
            rows = _outside_of_graphs(_drawn)(batch, wanted)[: self.max_codes]
            codes, wanted = codes[rows], wanted[rows]
        return mean_squared_cosine(codes, wanted)


def mean_squared_cosine(vectors: Tensor, kept: Tensor) -> Tensor:
    """Mean of cos^2 over pairs of different rows (K, D) that ``kept`` (K,) marks; 0 without a pair.

    The sum over all pairs is the squared Frobenius norm of U U^T, and of U^T U: the smaller of both
    is built.
    """
    length = safe_norm(vectors)
    # no length that is not 0 is below this root
    shortest = (SHORT * length.detach().mean()).clamp(min=torch.finfo(length.dtype).tiny ** 0.5)
    directed = kept.unsqueeze(1) & (length > 0)
    unit = torch.where(directed, vectors / length.clamp(min=shortest), 0)
    gram = unit @ unit.T if unit.shape[0] <= unit.shape[1] else unit.T @ unit
    same = unit.square().sum(1).square().sum()
    count = kept.sum()
    return (gram.square().sum() - same) / (count * (count - 1)).clamp(min=1)


def _pull(batch: LatentBatch, counts: Tensor) -> Tensor:
    """Zero for each code (K, d), with the gradient of the mean latent of its tokens."""
    sums = batch.z.new_zeros(counts.shape[0] + 1, batch.z.shape[-1])
    means = sums.index_add(0, batch.indices + 1, batch.z)[1:] / counts.clamp(min=1).unsqueeze(1)
    return means - means.detach()


def _drawn(batch: LatentBatch, wanted: Tensor) -> Tensor:
    """The codes (K,) in an order that the step determines, the wanted ones first."""
    key = counter_rng.key_of(batch.step)
    order = counter_rng.uniform(key, wanted.shape[0], device=wanted.device)
    return torch.where(wanted, order, order + 1).argsort()


def _outside_of_graphs(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function, kept out of compiled graphs: its step would recompile them each time."""
    return torch.compiler.disable(function) if torch.compiler.is_compiling() else function
