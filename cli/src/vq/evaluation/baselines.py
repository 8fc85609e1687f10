"""The error of a model beside that of two predictions which need no model."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vq.evaluation.metric import Metric
from vq.progress import working
from vqcore.distributed import sum_over_ranks
from vqcore.interfaces.dataset import Split
from vqcore.interfaces.output import Output
from vqcore.numerics import counter_rng

#: Training samples that are read, at most, drawn at random.
MOST = 10_000


class Baselines(Metric):
    """``normalized_mse``, ``normalized_mse_constant`` and ``normalized_mse_mean``.

    Mean squared errors divided by the variance of all values of the training data, so that they do
    not depend on the data's unit: of the model, of the training data's mean value, and of its mean
    sample. A model that is no better than the last has learned nothing of single samples. All is
    left out where the training data has no variance.

    Args:
        train: the training split, of which this process reads its share.
        shape: of a sample.
        batch_size: samples that are read at once.
        device: of the samples.
        share: this process's rank and the number of processes.
    """

    def __init__(
        self,
        train: Split,
        shape: Sequence[int],
        batch_size: int,
        device: torch.device,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        # from sums alone, so that the test split needs neither a second pass nor to wait
        values = math.prod(shape) + 2
        self.train, self.test = torch.zeros(2, values, dtype=torch.float64, device=device)
        self.error = torch.zeros((), dtype=torch.float64, device=device)
        count = min(len(train), MOST)
        # at random: MNIST's writers alternate, and each sixth sample is one of the half with
        # thinner strokes
        chosen = counter_rng.permutation(0, len(train))[:count].sort().values
        rows = chosen.tensor_split(share[1])[share[0]]
        with working("reading training samples", len(rows), "samples") as task:
            for batch in task.through(train.batches(rows.split(batch_size), device)):
                self.train += _sums(batch)

    def update(self, x: Tensor, reconstruction: Tensor, out: Output | None = None) -> None:
        """See ``Metric.update``."""
        self.test += _sums(x)
        self.error += (reconstruction.double() - x.double()).square().sum()

    def compute(self) -> dict[str, float]:
        """See ``Metric.compute``."""
        sum_over_ranks(self.train, self.test, self.error)
        mean, square = _moments(self.train)
        variance = square - mean.mean().square()
        if not variance > 0:  # NaN, too
            return {}
        test_mean, test_square = _moments(self.test)
        errors = torch.stack([
            self.error / (self.test[-1] * len(mean)),
            *(test_square + (each * (each - 2 * test_mean)).mean() for each in (mean.mean(), mean)),
        ])  # fmt: skip
        names = ("normalized_mse", "normalized_mse_constant", "normalized_mse_mean")
        return dict(zip(names, (errors / variance).tolist(), strict=True))


def _sums(batch: Tensor) -> Tensor:
    """Over samples (B, *shape): each value, the squares of all, and the samples, (F + 2,)."""
    values = batch.double().flatten(1)
    count = values.new_full((1,), len(batch))
    return torch.cat([values.sum(0), values.square().sum().view(1), count])


def _moments(sums: Tensor) -> tuple[Tensor, Tensor]:
    """The mean sample (F,) and the mean square of all values, from their sums."""
    mean, square, count = sums[:-2], sums[-2], sums[-1]
    return mean / count, square / (count * len(mean))
