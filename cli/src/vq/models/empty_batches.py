"""Backbones on empty batches, as one of several processes may have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def of_any_batch(method: Callable[..., Any]) -> Callable[..., Any]:
    """A backbone's method for empty batches too, as one of several processes may have: it sees a sample of zeros.

    What it answers for that one is left out, but its parameters stay in the graph, with gradients of 0.
    """

    def call(*given: Any) -> Any:
        if all(
            tensor.shape[0] > 0 for tensor in _tensors(given)
        ):  # len() would fix the batch of an exported program
            return method(*given)
        one = _mapped(
            lambda tensor: torch.cat([tensor, tensor.new_zeros(1, *tensor.shape[1:])]), given
        )
        return _mapped(lambda tensor: tensor[:0], method(*one))

    return call


def _tensors(given: Any) -> list[Tensor]:
    if isinstance(given, Tensor):
        return [given]
    return (
        [tensor for each in given for tensor in _tensors(each)]
        if isinstance(given, tuple | list)
        else []
    )


def _mapped(change: Callable[[Tensor], Tensor], given: Any) -> Any:
    if isinstance(given, Tensor):
        return change(given)
    return (
        tuple(_mapped(change, each) for each in given) if isinstance(given, tuple | list) else given
    )
