"""Completed training steps, which a CUDA graph of a step counts as well."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

import torch
from torch import Tensor, nn

from vqcore.numerics.execution import is_capturing

_by_phase = False


@contextmanager
def by_phase() -> Iterator[None]:
    """Inside, a graph is recorded for each ``phase`` of the steps, and replayed in that alone.

    Whoever replays it tells the layer, see ``VectorQuantizer.replayed``.
    """
    global _by_phase
    before, _by_phase = _by_phase, True
    try:
        yield
    finally:
        _by_phase = before


def is_for_all_steps() -> bool:
    """Whether a graph is recorded now that is replayed whatever the step."""
    return is_capturing() and not _by_phase


class StepCounter(nn.Module):
    """A count on the host, which branches on it, and on the device, which graphs read.

    Without graphs the host's count is the one that holds. A captured ``advance`` adds to the
    device's each time the graph is replayed. Of a graph ``by_phase`` the host is told, see
    ``replayed``; after a capture for all steps it reads the device's count where it is asked for
    ``value``.

    The device's is float64, since torch averages no whole numbers, and in no state dict.
    """

    host: int  #: the host's count, which a graph leaves behind
    _device: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.host = 0
        self._captured = False
        self.register_buffer("_device", torch.zeros((), dtype=torch.float64), persistent=False)

    @property
    def value(self) -> int:
        """The number of steps; after a capture for all steps, reading it waits for the device."""
        behind = self._captured and not is_capturing()
        return int(self._device) if behind else self.host

    @value.setter
    def value(self, steps: int) -> None:
        self.host = steps
        self._device.fill_(steps)

    def on_device(self) -> Tensor:
        """The number of steps as a scalar, int64."""
        return self._device.long()

    def advance(self) -> None:
        """Count one step."""
        if is_capturing():
            self._captured = self._captured or is_for_all_steps()
            self._device.add_(1)
        else:
            self.value = self.value + 1

    def replayed(self) -> None:
        """Count on the host a step that a graph ``by_phase`` has counted on the device."""
        self.host += 1

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """As ``nn.Module`` does, but the count keeps its precision, unless the device lacks it."""
        before = self._device
        try:
            super()._apply(fn, recurse)
        except TypeError:  # no float64 on MPS; float32 counts to 2^24
            self._device = before = before.float()
            super()._apply(fn, recurse)
        if self._device.dtype != before.dtype:
            self._device = before.to(self._device.device)
        return self
