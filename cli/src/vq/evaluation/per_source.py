"""Held-out quality of each source of a mixture."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from vq.data.mixture import MixedSplit
from vq.evaluation.metric import Metric
from vq.processes.together import gathered
from vqcore.interfaces.output import Output


class PerSource(Metric):
    """``psnr_NAME`` of each source: as ``psnr``, over its samples alone.

    Args:
        split: what is evaluated, in its order.
        value_range: of the data.
    """

    def __init__(self, split: MixedSplit, value_range: tuple[float, float]) -> None:
        self.split, self.span = split, value_range[1] - value_range[0]
        self.errors: list[Tensor] = []

    def update(self, x: Tensor, reconstruction: Tensor, out: Output) -> None:
        """See ``Metric.update``."""
        difference = (reconstruction - x) / self.span
        self.errors.append(difference.double().square().flatten(1).mean(1))

    def compute(self) -> dict[str, Any]:
        """See ``Metric.compute``."""
        own = torch.cat(self.errors).cpu()
        errors = torch.cat(gathered(own)).split([len(part) for part in self.split.parts])
        means = [float(each.mean()) for each in errors]
        return {
            f"psnr_{title}": -10 * math.log10(mse) if mse else math.inf
            for title, mse in zip(self.split.titles, means, strict=True)
        }
