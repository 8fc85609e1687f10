"""Lookup-free quantization (Yu et al. 2023, MAGVIT-v2, arXiv:2310.05737)."""

from __future__ import annotations

from torch import Tensor

from vq_lookup_free.binary import SignQuantizer


class LFQ(SignQuantizer):
    """Codes {-1, 1}^d: the sign of each coordinate. Options: see ``SignQuantizer``.

    Cost: O(N d) for d = log2 K bits, and N 2^g for each group of g ``entropy_bits``.
    """

    @property
    def magnitude(self) -> float:
        """1."""
        return 1.0

    def tangent(self, z: Tensor) -> Tensor:
        """z itself: a sign needs no bound, and commitment pulls z to 1 or -1."""
        return z
