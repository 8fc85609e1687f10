"""Which samples each step takes: a pure function of the seed and the step, on every process."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class MicroBatch:
    """One forward pass of one process.

    Attributes:
        samples: (n,) int64, which samples of the split; n is 0 where a short batch has fewer
            samples than micro-batches.
        positions: (n,) int64, their positions in the batch of the whole step.
        share: n over the size of that batch: the weight of this micro-batch's mean losses.
    """

    samples: Tensor
    positions: Tensor
    share: float


@dataclass(frozen=True)
class BatchSampler:
    """Epochs over the samples, each in its own random order; the last batch may be short.

    Attributes:
        samples: how many there are.
        batch_size: of a step, over all processes and micro-batches.
        seed: of every order.
    """

    samples: int
    batch_size: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch."""
        return math.ceil(self.samples / self.batch_size)

    def size(self, step: int) -> int:
        """Samples in the batch of a step."""
        return min(self.batch_size, self.samples - step % self.steps_per_epoch * self.batch_size)

    def epoch(
        self, step: int, process: int = 0, processes: int = 1, parts: int = 1
    ) -> Iterator[list[MicroBatch]]:
        """One process's micro-batches of each step, from ``step`` to the end of its epoch.

        A batch is cut into ``parts`` micro-batches, and each of these into equal slices for the
        processes. So what all processes see at a time does not depend on their number.
        """
        epoch, done = divmod(step, self.steps_per_epoch)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        order = torch.randperm(self.samples, generator=generator)
        for batch in order[done * self.batch_size :].split(self.batch_size):
            positions = [
                part.tensor_split(processes)[process]
                for part in torch.arange(len(batch)).tensor_split(parts)
            ]
            yield [MicroBatch(batch[rows], rows, len(rows) / len(batch)) for rows in positions]
