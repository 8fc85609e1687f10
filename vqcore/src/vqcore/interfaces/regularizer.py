"""The interface of a regularizer: a further term of the training loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

from torch import Tensor, nn

from vqcore.interfaces.latent_batch import LatentBatch


class Regularizer(nn.Module, ABC):
    """A scalar computed from the latents of a training step; never evaluated in eval mode or at weight 0.

    ``scope`` says what one call sees: ``codebook``, each codebook with its own tokens in turn (the terms are
    averaged), or ``model``, the whole bottleneck once, with inputs, reconstruction and decoder.

    Args:
        weight: factor in the loss, applied by the caller.
        every: the term acts on steps divisible by this.
        start: first step on which the term acts.
    """

    scope: Literal["codebook", "model"] = "codebook"

    def __init__(self, *, weight: float = 1.0, every: int = 1, start: int = 0) -> None:
        super().__init__()
        self.weight, self.every, self.start = weight, every, start

    def acts_on(self, step: int) -> bool:
        """Whether the term is evaluated on training step ``step``, counted from 0."""
        return self.weight > 0 and step >= self.start and step % self.every == 0

    @abstractmethod
    def forward(self, batch: LatentBatch) -> Tensor:
        """The unweighted term, a scalar that is a mean over whatever it is taken over."""
