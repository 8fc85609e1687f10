"""Backbones on empty batches, which a process gets if there are fewer samples than processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only


def allow_empty_batch(method: Callable[..., Any]) -> Callable[..., Any]:
    """A backbone's method that accepts empty batches: it is called with one sample of zeros.

    The result has no sample, yet the parameters are in the graph and receive gradients of 0.
    """

    def call(*arguments: Any) -> Any:
        tensors = [leaf for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor)]
        # not len(), which would fix the batch size of an exported program
        if all(tensor.shape[0] > 0 for tensor in tensors):
            return method(*arguments)
        result = method(*tree_map_only(Tensor, _with_one_sample, arguments))
        return tree_map_only(Tensor, _without_samples, result)

    return call


def _with_one_sample(tensor: Tensor) -> Tensor:
    return torch.cat([tensor, tensor.new_zeros(1, *tensor.shape[1:])])


def _without_samples(tensor: Tensor) -> Tensor:
    return tensor[:0]
