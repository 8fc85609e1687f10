"""Dead codes: usage tracking, which codes count as dead, and the latents that replace them.

Nothing here waits for the device.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: Training batches whose latents are kept as candidates for replacement: the most recent ones.
POOLED = 16
#: Steps between two replacements; each draws K latents and as much noise.
REVIVE_EVERY = 10

#: Latents (N, D) and mask (N,) of recent training batches.
LatentPool = list[tuple[Tensor, Tensor]]


def track_usage(usage: Tensor, unused_steps: Tensor, counts: Tensor, decay: float) -> None:
    """Update usage statistics (K,) in place from the counts of one step; without tokens they stay.

    Args:
        usage: running usage relative to an equal share: 1 is average use. It decays by ``decay``.
        unused_steps: steps since the code last had a token.
        counts: tokens of each code in this step, over all ranks.
    """
    seen = counts.sum()
    share = (counts * (counts.shape[0] / seen.clamp(min=1))).to(usage.dtype)
    usage.copy_(torch.where(seen > 0, usage.lerp(share, 1 - decay), usage))
    unused_steps.copy_(torch.where(counts > 0, 0, unused_steps + (seen > 0)))


def pooled(pool: LatentPool, dim: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """All latents (N, D) and masks (N,) of the pool; if it is empty, no rows of ``like``'s type."""
    if not pool:
        return like.new_zeros(0, dim), like.new_zeros(0, dtype=torch.bool)
    latents, masks = zip(*pool, strict=True)
    return torch.cat(latents), torch.cat(masks)
