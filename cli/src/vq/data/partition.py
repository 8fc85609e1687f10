"""A held-out part that is the same on every machine and in every run."""

from __future__ import annotations

import torch
from torch import Tensor


def held_out(count: int, share: float, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Indices 0 to count - 1, parted by a seeded permutation: (train, test), each in rising order.

    Args:
        count: number of samples, at least 2.
        share: of the samples that the test part takes; each part gets one at the least.
        seed: of the permutation. It is no option of a data set: held-out figures must stay comparable.
    """
    size = min(max(round(count * share), 1), count - 1)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return order[size:].sort().values, order[:size].sort().values
