"""The interface of a gradient estimator: how a gradient passes the step that has none."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from vqcore.interfaces.manifold import Manifold
from vqcore.interfaces.quantizer import Quantized, Quantizer


class GradientEstimator(nn.Module, ABC):
    """Carries the decoder's gradient from the quantized latent back to the encoder's.

    Works on tangent vectors at the manifold's origin. ``exact`` says that the value returned is ``z_q`` to the bit;
    an estimator that changes the value in training (noise, Gumbel) says False, and still returns ``z_q`` in eval. The
    class docstring states the Jacobian d out / d z.

    Args:
        manifold: the space the latents live in.
    """

    exact: bool = True

    def __init__(self, *, manifold: Manifold) -> None:
        super().__init__()
        self.manifold = manifold

    @abstractmethod
    def forward(self, z: Tensor, z_q: Tensor) -> Tensor:
        """What the decoder is given, (..., D).

        Args:
            z: latents, (..., D).
            z_q: their codes, (..., D); an exact estimator passes them no gradient.
        """

    def estimate(self, z: Tensor, result: Quantized, quantizer: Quantizer) -> Tensor:
        """What the layer calls. Override it, beside ``forward``, where the other codes matter too.

        Args:
            z: latents, (..., D).
            result: of the quantizer: ``assignments`` holds each codebook with its tokens.
            quantizer: puts vectors for each of ``assignments`` together again: ``join``.
        """
        return self(z, result.z_q)
