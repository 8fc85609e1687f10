"""The interface of a regularizer: an additional term of the training loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

from torch import Tensor, nn

from vqcore.interfaces.latent_batch import LatentBatch


class Regularizer(nn.Module, ABC):
    """A scalar of the latents of a training step; never evaluated in eval mode or at weight 0.

    Args:
        weight: factor in the loss, applied by the caller.
        every: the term is evaluated on steps divisible by this.
        start: first step on which the term is evaluated.

    Attributes:
        scope: what one call receives: ``codebook``, each codebook with its own tokens in turn (the
            terms are averaged), or ``model``, the whole bottleneck once, with inputs,
            reconstruction and decoder.
        recordable: whether a CUDA graph of a training step can be replayed as other steps on which
            the term acts: it reads no value on the host, and draws by ``LatentBatch.key``, not by
            ``LatentBatch.step``.
        computes_on_host: whether the term, where latents are on the CPU, is computed by the host,
            in NumPy for example. Then only a GPU can tell whether a step waits for it.
    """

    scope: Literal["codebook", "model"] = "codebook"
    recordable: bool = False
    computes_on_host: bool = False

    def __init__(self, *, weight: float = 1.0, every: int = 1, start: int = 0) -> None:
        super().__init__()
        self.weight = weight
        self.every = every
        self.start = start

    def acts_on(self, step: int) -> bool:
        """Whether the term is evaluated on training step ``step``, counted from 0."""
        return self.weight > 0 and step >= self.start and step % self.every == 0

    @abstractmethod
    def forward(self, batch: LatentBatch) -> Tensor:
        """The unweighted term: a mean, as a scalar in the dtype of the latents.

        Masked tokens (index -1) must not contribute. Value and gradient are finite also for equal
        latents or codes, an implicit codebook and a batch without tokens. The batch is not written
        to.
        """
