"""Buffers of several modules of one kind as one tensor, which one kernel updates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def stacked(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors of equal shapes as one, (T, ...): a view of a single one, else a copy."""
    return tensors[0].unsqueeze(0) if len(tensors) == 1 else torch.stack(list(tensors))


@contextmanager
def as_one(modules: Sequence[nn.Module], *names: str) -> Iterator[list[Tensor]]:
    """The buffer of each name of all modules, (T, ...), to be changed in place.

    At the end, the changes are in the modules, too.
    """
    buffers = [[getattr(module, name).data for module in modules] for name in names]
    whole = [stacked(each) for each in buffers]
    yield whole
    if len(modules) > 1:
        for own, changed in zip(buffers, whole, strict=True):
            torch._foreach_copy_(own, list(changed.unbind()))
