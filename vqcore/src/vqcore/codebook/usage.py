"""Usage of the codebooks in one forward pass, and its errors. No host sync."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vqcore.interfaces.quantizer import CodeAssignment, Quantized
from vqcore.numerics.counts import code_counts, codes_used, perplexity, slot_counts

__all__ = [
    "code_counts", "codes_used", "error_sum", "error_sums", "forward_statistics",
    "perplexity", "slot_counts", "stacked_counts",
]  # fmt: skip


def forward_statistics(
    z: Tensor, kept: Tensor, mask: Tensor | None, result: Quantized, replaced: Tensor | None
) -> dict[str, Any]:
    """What an ``Output`` says of the tokens and of the codebooks' use.

    Args:
        z: latents (..., D) that were quantized.
        kept: (...) bool, the tokens that count; ``mask``, those that would if none were bad.
        result: the quantizer's.
        replaced: how many codes it has replaced; None if it never does.
    """
    assigned = result.assignments
    tokens = kept.sum()
    is_whole = len(assigned) == 1 and assigned[0].mask.numel() == kept.numel()
    whole = error_sum(z, result.z_q, kept)
    return {
        "counts": stacked_counts(assigned),
        "error_sums": whole.view(1) if is_whole else error_sums(assigned),
        "error_sum": whole,
        "tokens": tokens,
        "bad_tokens": (kept.numel() if mask is None else mask.sum()) - tokens,
        "replaced_codes": torch.zeros_like(tokens) if replaced is None else replaced.clone(),
        "codebook_sizes": tuple(each.counts.shape[0] for each in assigned),
    }


def stacked_counts(assignments: Sequence[CodeAssignment]) -> Tensor:
    """Counts of several codebooks as (C, K), padded with codes that are never used."""
    counts = [each.counts for each in assignments]
    largest = max(count.shape[0] for count in counts)
    if any(count.shape[0] < largest for count in counts):
        counts = [F.pad(count, (0, largest - count.shape[0])) for count in counts]
    return counts[0].unsqueeze(0) if len(counts) == 1 else torch.stack(counts)


def error_sums(assignments: Sequence[CodeAssignment]) -> Tensor:
    """``error_sum`` of each codebook, (C,)."""
    tokens = assignments[0].mask.shape
    if len(assignments) == 1 or any(each.mask.shape != tokens for each in assignments):
        return torch.stack([error_sum(each.z, each.z_q, each.mask) for each in assignments])
    errors = torch.stack([_error(each.z, each.z_q) for each in assignments])
    return (errors * torch.stack([each.mask for each in assignments])).sum(1)


def error_sum(z: Tensor, z_q: Tensor, mask: Tensor) -> Tensor:
    """Mean squared difference of z and z_q (..., D), summed over the tokens of ``mask`` (...)."""
    return (_error(z, z_q) * mask).sum()


def _error(z: Tensor, z_q: Tensor) -> Tensor:
    return F.mse_loss(z.detach(), z_q.detach(), reduction="none").mean(-1)
