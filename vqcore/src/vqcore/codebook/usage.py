"""Usage of a codebook from counts of its codes: tensors in, tensors out, no host sync."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vqcore.interfaces.quantizer import CodeAssignment
from vqcore.numerics.stable import masked_mean, xlogx


def code_counts(indices: Tensor, codebook_size: int) -> Tensor:
    """How often each code occurs, (K,) int64, in indices of any shape; -1 (masked) is left out."""
    flat = indices.reshape(-1) + 1
    counts = torch.zeros(codebook_size + 1, dtype=torch.int64, device=indices.device)
    return counts.index_add_(0, flat, torch.ones_like(flat))[1:]


def perplexity(counts: Tensor) -> Tensor:
    """exp of the entropy (nats) of counts (..., K): K for uniform usage, 1 on collapse."""
    share = counts.double() / counts.sum(-1, keepdim=True).clamp(min=1)
    return (-xlogx(share).sum(-1)).exp()


def codes_used(counts: Tensor) -> Tensor:
    """Number of codes that occur at all, from counts (..., K)."""
    return (counts > 0).sum(-1)


def forward_metrics(
    z: Tensor, z_q: Tensor, kept: Tensor, assignments: tuple[CodeAssignment, ...]
) -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor]:
    """``metrics`` of one forward pass, ``counts``, ``errors`` and ``sizes`` of an ``Output``."""
    counts = _stacked([each.counts for each in assignments])
    errors = torch.stack([_error(each.z, each.z_q, each.mask) for each in assignments])
    metrics = {
        "perplexity": perplexity(counts).mean(),
        "codes_used": codes_used(counts).double().mean(),
        "quantization_error": errors[0] if len(assignments) == 1 else _error(z, z_q, kept),
    }
    # filled on the device: a copy of Python numbers would wait for it
    sizes = torch.cat([each.counts.new_full((1,), each.counts.shape[0]) for each in assignments])
    return metrics, counts, errors, sizes


def _stacked(counts: list[Tensor]) -> Tensor:
    """Counts of several codebooks as (C, K), padded with codes that are never used."""
    largest = max(count.shape[0] for count in counts)
    return torch.stack([F.pad(count, (0, largest - count.shape[0])) for count in counts])


def _error(z: Tensor, z_q: Tensor, mask: Tensor) -> Tensor:
    """Mean squared difference over the tokens of ``mask`` (...) and their dimensions."""
    distance = torch.linalg.vector_norm(z.detach() - z_q.detach(), dim=-1)
    return masked_mean(distance.square().flatten(), mask.flatten()) / z.shape[-1]
