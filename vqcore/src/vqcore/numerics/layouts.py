"""Layouts of tensors in memory."""

from __future__ import annotations

import torch
from torch import Tensor

#: The layout of images (B, D, H, W) and of volumes, by number of axes, that keeps D innermost.
_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def channel_first(vectors: Tensor, like: Tensor | None = None) -> Tensor:
    """Vectors (B, ..., D) as (B, D, ...): contiguous, or channels-last in memory as ``like``."""
    moved = vectors.movedim(-1, min(1, vectors.ndim - 1))
    innermost = _CHANNELS_LAST.get(moved.ndim)
    if like is None or innermost is None or like.is_contiguous():
        return moved.contiguous()
    follows = like.is_contiguous(memory_format=innermost)
    return moved.contiguous(memory_format=innermost if follows else torch.contiguous_format)
