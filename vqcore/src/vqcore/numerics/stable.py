"""Functions whose value and gradient stay finite where the textbook formula's do not."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from vqcore.numerics.execution import is_exporting


def without_autocast(kind: str) -> AbstractContextManager[None]:
    """A context of full precision on a device type, whatever autocast is set to."""
    # An exported graph gets no region if autocast is off: PyTorch cannot read nested ones back.
    needless = is_exporting() and not torch.is_autocast_enabled(kind)
    return nullcontext() if needless else torch.autocast(kind, enabled=False)


def in_full_precision(x: Tensor) -> Tensor:
    """x in float32 at least: points of half-precision coordinates choose wrong codes."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def widest(device: torch.device) -> torch.dtype:
    """The type that sums are formed in: float64, or float32 on MPS, which has no more."""
    return torch.float32 if device.type == "mps" else torch.float64


def in_widest(x: Tensor) -> Tensor:
    """x in the ``widest`` type of its device."""
    return x.to(widest(x.device))


def safe_sqrt(x: Tensor) -> Tensor:
    """Square root with value and gradient 0 where x <= 0, instead of NaN or inf.

    The smallest numbers, of fewer digits, count as 0: a quotient by their root has a gradient of
    infinity times zero.
    """
    positive = x >= torch.finfo(x.dtype).tiny
    root = torch.where(positive, x, torch.ones_like(x)).sqrt()
    return torch.where(positive, root, torch.zeros_like(x))


def safe_norm(x: Tensor) -> Tensor:
    """Euclidean norm over the last axis, (..., D) -> (..., 1), with gradient 0 at 0."""
    return torch.linalg.vector_norm(x, dim=-1, keepdim=True)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the last axis of finite ``values`` (..., N), of what ``mask`` (N,) keeps, or 0."""
    return (values * mask).sum(-1) / mask.sum().clamp(min=1)


def xlogx(x: Tensor) -> Tensor:
    """x log x with value and gradient 0 at x = 0, for entropies of counts."""
    return x * torch.where(x > 0, x, 1).log()


def evenly_spaced(mask: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Indices of at most ``count`` evenly spaced rows among those that ``mask`` (N,) keeps.

    The choice depends on the kept rows alone, as if the others were absent. The host never waits.

    Returns:
        Indices (M,) int64 with M = min(N, count), and which of them are valid, (M,) bool: all,
        unless fewer rows are kept.
    """
    slots = min(mask.shape[0], count)
    place = torch.arange(slots, device=mask.device)
    if slots == mask.shape[0]:  # all rows, which need not be moved together
        return place, mask
    so_far = mask.cumsum(0)
    kept = so_far[-1]
    rank = place * kept.clamp(min=slots) // slots
    found = torch.searchsorted(so_far, rank, right=True).clamp(max=mask.shape[0] - 1)
    return found, rank < kept


def times(value: Tensor, factor: float) -> Tensor:
    """The product, without a kernel where the factor is 1."""
    return value if factor == 1 else value * factor
