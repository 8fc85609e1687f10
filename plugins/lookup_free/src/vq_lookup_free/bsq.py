"""Binary spherical quantization (Zhao et al. 2024, arXiv:2406.07548)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vq_lookup_free.binary import SignQuantizer
from vqcore.numerics.stable import safe_norm

#: A vector whose largest coordinate is no more than this has no direction.
NOTHING = 1e-12


class BSQ(SignQuantizer):
    """Codes {-1, 1}^d / sqrt(d): the signs of a unit vector, brought back to the sphere.

    The sphere bounds what rounding leaves, |z - z_q| <= sqrt(2 - 2/sqrt(d)), so commitment is left out by default.

    Cost: as that of lookup-free quantization, and a norm.

    Args:
        commitment_weight: weight of the commitment term.
        options: see ``SignQuantizer``.
    """

    def __init__(self, *, commitment_weight: float = 0.0, **options: Any) -> None:
        super().__init__(commitment_weight=commitment_weight, **options)

    @property
    def magnitude(self) -> float:
        """1/sqrt(d)."""
        return self.dim**-0.5

    def tangent(self, z: Tensor) -> Tensor:
        """z/|z|; where z = 0 it stays 0, with gradient I.

        Scaled by the largest coordinate first, as squares of very large or small ones are out of range. A constant
        serves there, for z/|z| does not change with the length of z.
        """
        largest = z.detach().abs().amax(-1, keepdim=True)
        scaled = z / torch.where(largest > NOTHING, largest, 1)
        return scaled / safe_norm(scaled).clamp(min=1)
