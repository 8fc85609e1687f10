"""A train/test partition that is the same in every run and on every machine."""

from __future__ import annotations

import torch
from torch import Tensor


def train_test_indices(count: int, test_share: float) -> tuple[Tensor, Tensor]:
    """Partition 0 to count - 1 by a fixed permutation: (train, test), each in ascending order.

    The permutation has no seed as an option, so that held-out metrics stay comparable.

    Args:
        count: number of samples, at least 2.
        test_share: share of the samples in the test part. Each part gets at least one.
    """
    size = min(max(round(count * test_share), 1), count - 1)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    return order[size:].sort().values, order[:size].sort().values
