"""The interface of a gradient estimator: a gradient for quantization, which has none."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from vqcore.interfaces.manifold import Manifold
from vqcore.interfaces.quantizer import Quantized, Quantizer


class GradientEstimator(nn.Module, ABC):
    """Passes the decoder's gradient from the quantized latent back to the encoder's.

    All vectors are tangent vectors at the manifold's origin. The docstring of an implementation
    states its Jacobian d out / d z.

    Args:
        manifold: the space of the latents.

    Attributes:
        exact: the value returned is ``z_q`` to the bit. An estimator that changes it in training
            (noise, Gumbel) sets False; in eval it returns ``z_q`` all the same.
    """

    exact: bool = True

    def __init__(self, *, manifold: Manifold) -> None:
        super().__init__()
        self.manifold = manifold

    @abstractmethod
    def forward(self, z: Tensor, z_q: Tensor) -> Tensor:
        """What the decoder receives, (..., D), in the dtype of z_q.

        A masked token, with z = z_q = 0, gives 0. An exact estimator passes z_q no gradient.

        Args:
            z: latents, (..., D).
            z_q: their codes, (..., D).
        """

    def estimate(self, z: Tensor, result: Quantized, quantizer: Quantizer) -> Tensor:
        """What the layer calls; ``forward(z, result.z_q)`` by default.

        Override it, in addition to ``forward``, to use more than the chosen codes.

        Args:
            z: latents, (..., D).
            result: the quantizer's; ``assignments`` has each codebook and its tokens.
            quantizer: its ``join`` assembles one vector for each of ``assignments``.
        """
        return self(z, result.z_q)
