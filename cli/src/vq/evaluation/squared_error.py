"""How much reconstructions differ from held-out samples, value by value."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from vq.evaluation.metric import Metric
from vqcore.distributed import sum_over_ranks
from vqcore.interfaces.output import Output


class SquaredError(Metric):
    """``mse``: mean over all values, with the data's range scaled to 1; ``psnr``, in dB.

    PSNR is -10 log10 of the mean squared error.

    Args:
        value_range: of the data.
        device: of the batches.
    """

    def __init__(self, value_range: tuple[float, float], device: torch.device) -> None:
        self.span = value_range[1] - value_range[0]
        #: The summed squared error, and the number of values.
        self.sums = torch.zeros(2, dtype=torch.float64, device=device)

    def update(self, x: Tensor, reconstruction: Tensor, out: Output) -> None:
        """See ``Metric.update``."""
        difference = (reconstruction - x) / self.span
        self.sums[0] += difference.double().square().sum()
        self.sums[1] += difference.numel()

    def compute(self) -> dict[str, Any]:
        """See ``Metric.compute``."""
        sum_over_ranks(self.sums)
        mse = float(self.sums[0] / self.sums[1])
        return {"psnr": math.inf if mse == 0 else -10 * math.log10(mse), "mse": mse}
