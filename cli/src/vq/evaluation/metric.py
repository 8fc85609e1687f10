"""What a metric of ``vq evaluate`` implements."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from vqcore.interfaces.output import Output


class Metric(ABC):
    """One or more numbers over a whole split."""

    @abstractmethod
    def update(self, x: Tensor, reconstruction: Tensor, out: Output) -> None:
        """Add a batch.

        Args:
            x: samples (B, *shape).
            reconstruction: of the same shape, in the data's range.
            out: the bottleneck's output.
        """

    @abstractmethod
    def compute(self) -> dict[str, Any]:
        """The metrics by name over all processes, which all call it, after the last batch.

        Those that training computes start anew.
        """
