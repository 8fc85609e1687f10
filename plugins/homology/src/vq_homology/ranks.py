"""What the ranks of a run give each other, where there are several; without effect where there is one.

Every rank calls these alike, whatever its shard holds.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from vqcore.distributed import is_active, sum_over_ranks


def place_among_ranks(held: int, device: torch.device) -> tuple[int, int]:
    """How many rows the ranks before this one hold, and how many all hold; the host waits."""
    if not is_active():
        return 0, held
    counts = torch.zeros(dist.get_world_size(), dtype=torch.int64, device=device)
    counts[dist.get_rank()] = held
    sum_over_ranks(counts)
    rows = counts.tolist()
    return sum(rows[: dist.get_rank()]), sum(rows)


def maximum_over_ranks(tensor: Tensor) -> Tensor:
    """The largest of each element, in place."""
    if is_active():
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
    return tensor


def with_gradient(values: Tensor, shares: Tensor) -> Tensor:
    """Values that all ranks hold alike, with the gradient of ``shares``, this rank's part of them, of the same shape.

    The gradients that the ranks' losses ask for are added up. So the mean over the ranks of a parameter's gradients is
    what a single process would find, without a factor, also where each rank's loss is weighed by its share of tokens.
    """
    return values + _SumOfGradients.apply(shares - shares.detach())


class _SumOfGradients(torch.autograd.Function):
    """A tensor as it is; backwards, the sum over the ranks of the gradients that reach it."""

    @staticmethod
    def forward(_: Any, tensor: Tensor) -> Tensor:
        """The tensor."""
        return tensor.view_as(tensor)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        """The sum of all ranks' gradients, on every rank."""
        total = gradient.clone(memory_format=torch.contiguous_format)
        sum_over_ranks(total)
        return total
