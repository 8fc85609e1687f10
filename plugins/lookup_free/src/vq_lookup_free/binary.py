"""What LFQ and BSQ share: one bit for each dimension, commitment, and the entropy of the bits."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from vq_lookup_free.entropy import bit_entropy
from vq_lookup_free.implicit import INDEX_BITS, ImplicitQuantizer
from vqcore.errors import SettingError
from vqcore.interfaces.manifold import Manifold
from vqcore.numerics.stable import masked_mean


class SignQuantizer(ImplicitQuantizer):
    """Codes s b, b in {-1, 1}^d, s > 0: the sign of each of d = log2 K coordinates, -1 for 0.

    The losses are ``commitment``, the squared difference of z and its code in tangent coordinates,
    and ``bit_entropy``, over the rank's own tokens: ``forward`` enters no collective.
    A bit's probabilities are a softmax of -|z - s b|^2/(T s^2) with temperature T: it is 1 with
    probability sigmoid(4 z/(s T)). The number of bits sets ``dim``. Options: see ``SignConfig``.

    Raises:
        SettingError: if K is not a power of two.
    """

    def __init__(
        self,
        *,
        dim: int,
        codebook_size: int,
        manifold: Manifold,
        commitment_weight: float = 0.25,
        entropy_weight: float = 0.1,
        diversity_weight: float = 1.0,
        temperature: float = 0.2,
        entropy_bits: int = 8,
    ) -> None:
        super().__init__(levels=(2,) * bits_of(codebook_size), manifold=manifold)
        self.commitment_weight, self.entropy_weight = commitment_weight, entropy_weight
        self.diversity_weight, self.entropy_bits = diversity_weight, entropy_bits
        self.temperature = temperature

    @property
    @abstractmethod
    def magnitude(self) -> float:
        """s."""

    def digits(self, z: Tensor) -> Tensor:
        """See ``ImplicitQuantizer.digits``."""
        return (z > 0).to(torch.int64)

    def values(self, digits: Tensor) -> Tensor:
        """See ``ImplicitQuantizer.values``."""
        return digits.to(self.dtype) * (2 * self.magnitude) - self.magnitude

    def residual_scale(self) -> float:
        """1/2: stages are then the digits of a binary number."""
        return 0.5

    def losses(self, z: Tensor, z_q: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """See ``ImplicitQuantizer.losses``."""
        losses = {}
        if self.commitment_weight > 0:
            error = masked_mean((z - z_q).square().mean(1), mask)
            losses["commitment"] = self.commitment_weight * error
        if self.entropy_weight > 0:
            logits = z * (4 / (self.magnitude * self.temperature))
            entropy = bit_entropy(logits, mask, self.diversity_weight, self.entropy_bits)
            losses["bit_entropy"] = self.entropy_weight * entropy
        return losses


def bits_of(codebook_size: int) -> int:
    """log2 of the number of codes.

    Raises:
        SettingError: if it is not a power of two; it names the nearest ones.
    """
    bits = codebook_size.bit_length() - 1
    if bits < 1 or codebook_size != 2**bits or bits > INDEX_BITS:
        near = [2**each for each in (bits, bits + 1) if 1 <= each <= INDEX_BITS] or [2**INDEX_BITS]
        expected = f"a power of two from 2 to 2**{INDEX_BITS}"
        fix = f"choose {' or '.join(map(str, near))}"
        raise SettingError("codebook_size", codebook_size, expected, fix)
    return bits
