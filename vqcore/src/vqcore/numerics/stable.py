"""Small functions whose value and gradient stay finite where the obvious formula's do not."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def without_autocast(kind: str) -> AbstractContextManager[None]:
    """Full precision on devices of a kind, whatever autocast says.

    Where autocast is off, an exported graph gets no region for it: PyTorch 2.15 cannot read a file with nested ones.
    """
    needless = torch.compiler.is_exporting() and not torch.is_autocast_enabled(kind)
    return nullcontext() if needless else torch.autocast(kind, enabled=False)


def safe_sqrt(x: Tensor) -> Tensor:
    """Square root with gradient 0 where x <= 0, instead of inf or NaN."""
    positive = x > 0
    return torch.where(
        positive, torch.where(positive, x, torch.ones_like(x)).sqrt(), torch.zeros_like(x)
    )


def safe_norm(x: Tensor) -> Tensor:
    """Euclidean norm over the last axis, kept as an axis of 1: (..., D) -> (..., 1), with gradient 0 at 0."""
    return safe_sqrt(x.square().sum(-1, keepdim=True))


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of ``values`` (N,) over the rows that ``mask`` (N,) keeps; 0 where it keeps none."""
    if mask is None:
        return values.sum() / max(values.numel(), 1)
    kept = torch.where(mask, values, torch.zeros_like(values))
    return kept.sum() / mask.sum().clamp(min=1)


def clip_norm(x: Tensor, radius: Tensor | float) -> Tensor:
    """Shorten vectors (..., D) longer than ``radius`` to it; shorter ones stay as they are."""
    return x * (radius / safe_norm(x).clamp(min=radius))


def xlogx(x: Tensor) -> Tensor:
    """x log x with value and gradient 0 at x = 0, for entropies of counts."""
    positive = x > 0
    return torch.where(
        positive, x * torch.where(positive, x, torch.ones_like(x)).log(), torch.zeros_like(x)
    )


def evenly_spaced(mask: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Places of at most ``count`` of the rows that ``mask`` (N,) keeps, evenly spaced over them.

    Returns:
        Places (M,) int64 with M = min(N, count), and which are valid (M,) bool: all, unless fewer rows are kept. Only
        the kept rows matter, so leaving the others out gives the same choice. The host never waits.
    """
    slots = min(mask.shape[0], count)
    kept = mask.sum()
    place = torch.arange(slots, device=mask.device)
    rank = torch.where(kept > slots, place * kept // max(slots, 1), place)
    found = torch.searchsorted(mask.cumsum(0), rank + 1).clamp(max=max(mask.shape[0] - 1, 0))
    return found, rank < kept
