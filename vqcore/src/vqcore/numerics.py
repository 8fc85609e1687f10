"""Small functions whose value and gradient stay finite where the obvious formula's do not."""

from __future__ import annotations

import torch
from torch import Tensor


def safe_sqrt(x: Tensor) -> Tensor:
    """Square root with gradient 0 where x <= 0, instead of inf or NaN."""
    positive = x > 0
    return torch.where(positive, torch.where(positive, x, torch.ones_like(x)).sqrt(), torch.zeros_like(x))


def safe_norm(x: Tensor) -> Tensor:
    """Euclidean norm over the last axis, kept as an axis of 1: (..., D) -> (..., 1), with gradient 0 at 0."""
    return safe_sqrt(x.square().sum(-1, keepdim=True))


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of ``values`` (N,) over the rows that ``mask`` (N,) keeps; 0 where it keeps none."""
    if mask is None:
        return values.sum() / max(values.numel(), 1)
    kept = torch.where(mask, values, torch.zeros_like(values))
    return kept.sum() / mask.sum().clamp(min=1)


def clip_norm(x: Tensor, radius: float) -> Tensor:
    """Shorten vectors (..., D) longer than ``radius`` to it; shorter ones stay as they are."""
    return x * (radius / safe_norm(x).clamp(min=radius))


def xlogx(x: Tensor) -> Tensor:
    """x log x with value and gradient 0 at x = 0, for entropies of counts."""
    positive = x > 0
    return torch.where(positive, x * torch.where(positive, x, torch.ones_like(x)).log(), torch.zeros_like(x))
