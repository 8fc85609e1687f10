"""Bits that the indices of a sample take: as they are, and as an entropy coder would leave them."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from vq.evaluation.metric import Figure
from vqcore.interfaces.output import Output
from vqcore.numerics.stable import xlogx


class Bits(Figure):
    """``index_bits_per_pixel`` and ``entropy_bits_per_pixel``; of vectors, ``..._per_value``.

    A codebook c of K_c codes that n_c tokens chose with shares p_c takes n_c log2 K_c bits by plain indices, and
    n_c H(p_c) by an ideal coder that knows how often each code comes but not what came before it. Both are summed over
    the codebooks and divided by the number of pixels (of values, where samples are vectors). Implicit codebooks that
    are counted in parts (see ``Quantized.assignments``) give an upper bound of the entropy.

    Args:
        shape: of a sample.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        picture = len(shape) == 3
        self.unit, self.size = (
            ("pixel", math.prod(shape[1:])) if picture else ("value", math.prod(shape))
        )
        self.counts: Tensor | None = None
        self.sizes: Tensor
        self.samples = 0

    def add(self, x: Tensor, reconstruction: Tensor, out: Output) -> None:
        """See ``Figure.add``."""
        self.counts = out.counts if self.counts is None else self.counts + out.counts
        self.sizes = out.sizes
        self.samples += len(x)

    def numbers(self) -> dict[str, Any]:
        """See ``Figure.numbers``."""
        tokens = self.counts.double().sum(1)
        shares = self.counts / tokens.clamp(min=1).unsqueeze(1)
        index = (tokens * self.sizes.double().log2()).sum()
        entropy = (tokens * -xlogx(shares).sum(1)).sum() / math.log(2)
        per = self.samples * self.size
        both = torch.stack([index, entropy]) / per
        return dict(
            zip(
                (f"index_bits_per_{self.unit}", f"entropy_bits_per_{self.unit}"),
                both.tolist(),
                strict=True,
            )
        )
