"""How well a classifier tells the classes of held-out samples."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vq.evaluation.metric import Metric
from vqcore.distributed import sum_over_ranks
from vqcore.interfaces.output import Output


class Classification(Metric):
    """``accuracy``, the share of samples whose class is the likeliest, and ``cross_entropy``.

    The latter is the mean over samples, in nats.

    Args:
        labels: the class of each sample (N,), in the order of the batches.
        device: of the batches.
    """

    def __init__(self, labels: Tensor, device: torch.device) -> None:
        self.labels, self.seen = labels.to(device), 0
        #: Numbers of samples and of correct ones, and the summed cross-entropy.
        self.sums = torch.zeros(3, dtype=torch.float64, device=device)

    def update(self, x: Tensor, reconstruction: Tensor, out: Output) -> None:
        """See ``Metric.update``; the logits are the bottleneck's ``reconstruction``."""
        assert out.reconstruction is not None  # of a forward with the decoder
        logits = out.reconstruction.double()
        labels = self.labels[self.seen : self.seen + len(x)]
        self.seen += len(x)
        self.sums[0] += len(x)
        self.sums[1] += (logits.argmax(1) == labels).sum()
        self.sums[2] += F.cross_entropy(logits, labels, reduction="sum")

    def compute(self) -> dict[str, Any]:
        """See ``Metric.compute``."""
        sum_over_ranks(self.sums)
        samples, right, entropy = self.sums.tolist()
        return {"accuracy": right / samples, "cross_entropy": entropy / samples}
