"""An exponential moving average of a model's weights, which is evaluated in their place."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vq.models.autoencoder import VQModel
from vqcore.codebook.table import CodebookQuantizer
from vqcore.interfaces.quantizer import Quantizer
from vqcore.layer import VectorQuantizer


class WeightAverage:
    """average <- d average + (1 - d) weights after each step, d = min(decay, (1 + t)/(10 + t)).

    t is the number of steps done. Parameters are averaged, and buffers of floats outside of
    quantizers. A code that began anew (a dead one that was replaced, one that a resized codebook
    has gained) begins its average anew. Buffers of quantizers are copied: their codes are
    averages already, or fixed. docs/training.md has the measurements. Nothing waits for the device,
    and every process computes the same.

    Args:
        model: in training; it is copied.
        decay: d after the first steps.

    Attributes:
        model: with the averaged weights, in eval mode.
    """

    def __init__(self, model: VQModel, decay: float) -> None:
        self.model = copy.deepcopy(model).eval()
        self.decay = decay
        # modules of any kind, each with its copy
        self._modules: list[tuple[Any, Any]]
        self._modules = list(zip(model.modules(), self.model.modules(), strict=True))

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step; ``step`` is the number of steps done."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        self._resize()
        averaged: dict[Tensor, Tensor] = {}
        copied: dict[Tensor, Tensor] = {}
        for now, average in self._modules:
            rows = _learned_rows(now)
            for name, own in average._parameters.items():
                if name in rows:
                    _lerp_rows(own, now._parameters[name], now.renewed.clamp(min=weight))
                elif own is not None:
                    averaged[own] = now._parameters[name]
            if rows:
                now.renewed.zero_()
            for name, own in average._buffers.items():
                if own is None or name in average._non_persistent_buffers_set:
                    continue
                copies = isinstance(now, Quantizer) or not own.is_floating_point()
                (copied if copies else averaged)[own] = now._buffers[name]
        for own, values in _by_type(averaged):
            torch._foreach_lerp_(own, values, weight)
        for own, values in _by_type(copied):
            torch._foreach_copy_(own, values)

    def _resize(self) -> None:
        """Give the averaged codebooks the size of those in training, by the same usage."""
        for now, average in self._modules:
            if isinstance(now, VectorQuantizer) and now.codebook_size != average.codebook_size:
                average.resize_codebook(now.codebook_size)

    def settle(self) -> None:
        """Set the counts of steps, which are no tensors, before the average is saved."""
        for now, average in self._modules:
            if type(now).get_extra_state is not nn.Module.get_extra_state:
                average.set_extra_state(now.get_extra_state())


def _learned_rows(module: nn.Module) -> Sequence[str]:
    """The parameters of a table of codes that have a row for each code."""
    if not isinstance(module, CodebookQuantizer):
        return ()
    return [name for name in module.code_tensors if name in module._parameters]


def _lerp_rows(average: Tensor, value: Tensor, weights: Tensor) -> None:
    """``lerp_`` with a weight (K,) for each row of (K, ...): 1 takes the value to the bit."""
    wide = weights.view(-1, *[1] * (value.ndim - 1)).to(value.dtype)
    average.lerp_(value, wide)


def _by_type(pairs: dict[Tensor, Tensor]) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
    """Pairs of tensors as two lists for each type and device, as foreach kernels want them."""
    grouped: defaultdict[object, tuple[list[Tensor], list[Tensor]]]
    grouped = defaultdict(lambda: ([], []))
    for average, value in pairs.items():
        own, values = grouped[average.dtype, average.device]
        own.append(average)
        values.append(value)
    yield from grouped.values()
