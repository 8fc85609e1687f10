"""Counts of codes and what they say of a codebook's use: tensors in, tensors out, no host sync."""

from __future__ import annotations

import torch
from torch import Tensor

from vqcore.numerics.stable import in_widest, xlogx


def code_counts(indices: Tensor, codebook_size: int) -> Tensor:
    """How often each code occurs, (K,) int64, in indices of any shape; -1 (masked) is left out."""
    return slot_counts(indices.reshape(-1) + 1, codebook_size)


def slot_counts(slots: Tensor, codebook_size: int) -> Tensor:
    """``code_counts`` of indices + 1 (N,), so that 0 stands for a masked token."""
    # a compiler adds int32 by atomics, but sorts int64 first
    counts = torch.zeros(codebook_size + 1, dtype=torch.int32, device=slots.device)
    return counts.index_add_(0, slots, counts.new_ones(()).expand_as(slots))[1:].long()


def perplexity(counts: Tensor) -> Tensor:
    """exp of the entropy (nats) of counts (..., K): K for uniform usage, 1 on collapse."""
    share = in_widest(counts) / counts.sum(-1, keepdim=True).clamp(min=1)
    return (-xlogx(share).sum(-1)).exp()


def codes_used(counts: Tensor) -> Tensor:
    """Number of codes that occur at all, from counts (..., K)."""
    return (counts > 0).sum(-1)
