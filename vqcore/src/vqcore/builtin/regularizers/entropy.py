"""Entropy of code usage, made differentiable by soft assignments."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from vqcore.interfaces.latent_batch import LatentBatch
from vqcore.interfaces.regularizer import Regularizer
from vqcore.numerics.stable import evenly_spaced, xlogx


class UsageEntropy(Regularizer):
    """1 - H(p)/log K, where p is the mean soft usage of the codes: 0 if uniform, 1 on collapse.

    p_k = mean_n softmax_k(-d(x_n, e_k)^2 / (temperature s)), where s is the mean squared distance
    from a latent to its code, held constant: scaling latents and codes together does not change the
    term. It is evaluated on a subsample of tokens. Options: see ``EntropyConfig``.

    Cost: ``max_tokens`` x K distances, held whole with their gradient.
    """

    recordable = True

    def __init__(self, *, temperature: float = 1.0, max_tokens: int = 1024, **options: Any) -> None:
        super().__init__(**options)
        self.temperature = temperature
        self.max_tokens = max_tokens

    def forward(self, batch: LatentBatch) -> Tensor:
        """See ``Regularizer.forward``. 0 without an explicit codebook, a second code or a token."""
        if batch.codebook is None or batch.codebook.shape[0] < 2 or batch.z.shape[0] == 0:
            return batch.z.sum() * 0
        places, kept = evenly_spaced(batch.indices >= 0, self.max_tokens)
        x = batch.manifold.expmap0(batch.z.index_select(0, places))
        squared = batch.manifold.pairwise_squared_dist(x, batch.codebook)
        weights = kept / kept.sum(dtype=squared.dtype).clamp(min=1)
        scale = squared.detach().amin(1) @ weights
        soft = torch.softmax(squared * (-1 / (self.temperature * scale.clamp(min=1e-12))), 1)
        negative = xlogx(soft.T @ weights).sum() / math.log(len(batch.codebook))
        return negative + kept.any()
