"""Collectives that gather a point cloud over ranks; on a single process they do nothing.

Every rank must call them in the same order, whatever its shard holds.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from vqcore.distributed import is_active, sum_over_ranks


def maximum_over_ranks(tensor: Tensor) -> Tensor:
    """The element-wise maximum over the ranks, in place."""
    if is_active():
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
    return tensor


def with_gradient(values: Tensor, shares: Tensor) -> Tensor:
    """``values``, equal on all ranks, with the gradient of ``shares``, this rank's part of them.

    The backward pass sums the gradients of all ranks' losses. The mean over ranks of a parameter's
    gradient is then that of a single process, also where losses are weighted by token counts.
    """
    return values + _SumOfGradients.apply(shares - shares.detach())


class _SumOfGradients(torch.autograd.Function):
    """The identity; its backward sums the incoming gradients over the ranks."""

    @staticmethod
    def forward(_: Any, tensor: Tensor) -> Tensor:
        return tensor.view_as(tensor)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        sum_over_ranks(total)
        return total
