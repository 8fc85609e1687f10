"""Functions whose value and gradient stay finite where the textbook formula's do not."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

#: Whether dynamo reads ``is_exporting`` as it is; before, it took it for true in any case.
_TELLS_EXPORTS = torch.__version__ >= "2.12"


def without_autocast(kind: str) -> AbstractContextManager[None]:
    """A context of full precision on a device type, whatever autocast is set to."""
    # An exported graph gets no region if autocast is off: PyTorch cannot read nested ones back.
    needless = is_exporting() and not torch.is_autocast_enabled(kind)
    return nullcontext() if needless else torch.autocast(kind, enabled=False)


def is_exporting() -> bool:
    """Whether ``torch.export`` traces this call. Under ``torch.compile`` it is False.

    Before torch 2.12 a strict export cannot be told from a compilation, and counts as one.
    """
    told_apart = _TELLS_EXPORTS or not torch.compiler.is_dynamo_compiling()
    return torch.compiler.is_exporting() and told_apart


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
    return safe_sqrt(x.square().sum(-1, keepdim=True))


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``values`` (N,) over the rows that ``mask`` (N,) keeps; 0 if it keeps none."""
    kept = torch.where(mask, values, torch.zeros_like(values))
    return kept.sum() / mask.sum().clamp(min=1)


def clip_norm(x: Tensor, radius: Tensor | float) -> Tensor:
    """Vectors (..., D) shortened to ``radius`` if they are longer."""
    return x * (radius / safe_norm(x).clamp(min=radius))


def xlogx(x: Tensor) -> Tensor:
    """x log x with value and gradient 0 at x = 0, for entropies of counts."""
    positive = x > 0
    product = x * torch.where(positive, x, torch.ones_like(x)).log()
    return torch.where(positive, product, torch.zeros_like(x))


def evenly_spaced(mask: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Indices of at most ``count`` evenly spaced rows among those that ``mask`` (N,) keeps.

    The choice depends on the kept rows alone, as if the others were absent. The host never waits.

    Returns:
        Indices (M,) int64 with M = min(N, count), and which of them are valid, (M,) bool: all,
        unless fewer rows are kept.
    """
    slots = min(mask.shape[0], count)
    kept = mask.sum()
    place = torch.arange(slots, device=mask.device)
    rank = torch.where(kept > slots, place * kept // max(slots, 1), place)
    found = torch.searchsorted(mask.cumsum(0), rank + 1).clamp(max=max(mask.shape[0] - 1, 0))
    return found, rank < kept
