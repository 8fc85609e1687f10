"""Which samples each step takes: a pure function of the seed and the step, whoever computes it."""

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
        samples: numbers of its samples, (n,) int64; none where a short batch has fewer samples than there are parts.
        positions: where they stand in the step's whole batch, (n,).
        share: n over the size of the whole batch: what its mean losses weigh.
    """

    samples: Tensor
    positions: Tensor
    share: float


@dataclass(frozen=True)
class BatchSampler:
    """Passes over the samples, each in an order of its own; the last batch of a pass may be short.

    Attributes:
        samples: how many there are.
        batch_size: of a step, over all processes and parts.
        seed: of every order.
    """

    samples: int
    batch_size: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Steps of a pass."""
        return math.ceil(self.samples / self.batch_size)

    def size(self, step: int) -> int:
        """Samples in the batch of a step."""
        return min(self.batch_size, self.samples - step % self.steps_per_epoch * self.batch_size)

    def epoch(
        self, step: int, process: int = 0, processes: int = 1, parts: int = 1
    ) -> Iterator[list[MicroBatch]]:
        """One process's parts of each step, from ``step`` to the end of its pass.

        A batch is cut into ``parts``, done one after the other, and each goes to the processes in equal runs: so what
        all of them see at a time does not depend on how many they are.
        """
        epoch, done = divmod(step, self.steps_per_epoch)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        order = torch.randperm(self.samples, generator=generator)
        for batch in order[done * self.batch_size :].split(self.batch_size):
            positions = [
                run.tensor_split(processes)[process]
                for run in torch.arange(len(batch)).tensor_split(parts)
            ]
            yield [
                MicroBatch(batch[places], places, len(places) / len(batch)) for places in positions
            ]
