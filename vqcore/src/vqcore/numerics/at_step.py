"""The training step that a batch belongs to, on the host and where a graph is replayed."""

from __future__ import annotations

from torch import Tensor

from vqcore.numerics import counter_rng
from vqcore.numerics.step_counter import StepCounter


class AtStep:
    """A base of batches: the number of completed steps, and the key of random draws.

    Attributes:
        steps: number of completed training steps, or what counts them.
        step_on_device: the step as a scalar int64 where a graph of this pass is replayed later.
    """

    steps: int | StepCounter
    step_on_device: Tensor | None

    @property
    def step(self) -> int:
        """Number of completed training steps. To a compiler each number is another graph."""
        return self.steps.value if isinstance(self.steps, StepCounter) else self.steps

    @property
    def key(self) -> counter_rng.Key:
        """Key of the step's random draws, see ``counter_rng``: the same on every rank."""
        if self.step_on_device is None:
            return counter_rng.key_of(self.step)
        return counter_rng.key_on_device(self.step_on_device)
