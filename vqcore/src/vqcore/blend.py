"""The first steps of training, in which the output goes from the latents to their codes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Blend:
    """When a layer's output goes from its latents to their codes, and what it is on the way.

    The host decides after each step whether the next one blends, so that a compiled forward reads
    no number of a step. The share of the codes is computed from the step on the device.

    Attributes:
        steps: training steps of the blend; with 0 and a start of 0 there is none.
        start: the first step that quantizes; the output is the latents until then.
        acts: whether the next training step blends.
    """

    steps: int
    start: int
    acts: bool = False

    def choose(self, step: int) -> None:
        """Decide whether training step ``step`` blends."""
        self.acts = step < self.start + self.steps

    def from_start_on(self, z: Tensor, step: Tensor) -> Tensor:
        """z to the bit, with gradient from ``start`` on."""
        return torch.lerp(z.detach(), z, (step >= self.start).to(z.dtype))

    def output(self, z: Tensor, estimated: Tensor, step: Tensor) -> Tensor:
        """The output of this step, in the type of ``estimated``: a share of it, the rest z."""
        share = ((step + 1 - self.start) / (self.steps + 1)).clamp(0, 1)
        return torch.lerp(z.to(estimated.dtype), estimated, share.to(estimated.dtype))
