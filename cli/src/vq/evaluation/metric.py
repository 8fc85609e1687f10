"""What a figure is to ``vq evaluate``: it sees every batch beside its reconstruction, and then says its numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from vqcore.interfaces.output import Output


class Figure(ABC):
    """A number, or a few, over a whole split."""

    @abstractmethod
    def add(self, x: Tensor, reconstruction: Tensor, out: Output) -> None:
        """Take in samples (B, *shape), what the model made of them in the data's range, and how it quantized them."""

    @abstractmethod
    def numbers(self) -> dict[str, Any]:
        """The figures by name, after the last batch."""


def unit_range(values: Tensor, value_range: tuple[float, float]) -> Tensor:
    """Values as shares of the data's range, what lies beyond it cut off."""
    low, high = value_range
    return ((values - low) / (high - low)).clamp(0, 1)


def as_rgb(pictures: Tensor) -> Tensor:
    """Pictures (B, C, H, W) of 1 or 3 channels as three channels."""
    return pictures.expand(-1, 3, -1, -1)
