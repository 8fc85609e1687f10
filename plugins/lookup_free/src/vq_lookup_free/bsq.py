"""Binary spherical quantization (Zhao et al. 2024, arXiv:2406.07548)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from vq_lookup_free.binary import SignQuantizer

#: A vector whose largest coordinate is at most this has no direction.
NOTHING = 1e-12


class BSQ(SignQuantizer):
    """Codes {-1, 1}^d/sqrt(d): the signs of a vector on the unit sphere.

    The sphere bounds the rounding error, |z - z_q| <= sqrt(2 - 2/sqrt(d)), so that commitment is
    off by default. Options: see ``SignQuantizer``.

    Cost: that of LFQ, and a norm.
    """

    def __init__(self, *, commitment_weight: float = 0.0, **options: Any) -> None:
        super().__init__(commitment_weight=commitment_weight, **options)

    @property
    def magnitude(self) -> float:
        """1/sqrt(d)."""
        return self.dim**-0.5

    def tangent(self, z: Tensor) -> Tensor:
        """z/|z|; 0 for z = 0, with gradient I.

        z is scaled by its largest coordinate first, because squares of extreme values are out of
        range. That factor can be a constant: z/|z| does not depend on the length of z.
        """
        largest = torch.linalg.vector_norm(z.detach(), math.inf, -1, keepdim=True)
        scaled = z / torch.where(largest > NOTHING, largest, 1)
        return scaled / torch.linalg.vector_norm(scaled, dim=-1, keepdim=True).clamp(min=1)
