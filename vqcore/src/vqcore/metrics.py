"""How a codebook is used, from counts of its codes; tensors in, tensors out, the host never waits."""

from __future__ import annotations

import torch
from torch import Tensor

from vqcore.numerics import xlogx


def code_counts(indices: Tensor, codebook_size: int) -> Tensor:
    """How often each code occurs, (K,) int64, from indices of any shape; -1 (masked) is not counted."""
    flat = indices.reshape(-1) + 1
    counts = torch.zeros(codebook_size + 1, dtype=torch.int64, device=indices.device)
    return counts.index_add_(0, flat, torch.ones_like(flat))[1:]


def perplexity(counts: Tensor) -> Tensor:
    """exp of the entropy (nats) of code usage, from counts (..., K): K when all are used alike, 1 on collapse."""
    share = counts.double() / counts.sum(-1, keepdim=True).clamp(min=1)
    return (-xlogx(share).sum(-1)).exp()


def codes_used(counts: Tensor) -> Tensor:
    """Number of codes that occur at all, from counts (..., K)."""
    return (counts > 0).sum(-1)
