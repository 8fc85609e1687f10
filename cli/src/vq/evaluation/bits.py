"""Bits per sample of the indices: stored plainly, and after entropy coding."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from vq.evaluation.metric import Metric
from vqcore.distributed import sum_over_ranks
from vqcore.interfaces.output import Output
from vqcore.numerics.stable import xlogx


class Bits(Metric):
    """``index_bits_per_pixel`` and ``entropy_bits_per_pixel``; of vectors, ``..._per_value``.

    A codebook c of K_c codes whose n_c tokens have shares p_c takes n_c log2 K_c bits as plain
    indices, and n_c H(p_c) bits with an ideal coder of order zero. Both are summed over the
    codebooks and divided by the number of pixels (of values, for vectors). Implicit codebooks that
    are counted in parts (see ``Quantized.assignments``) give an upper bound of the entropy.

    Args:
        shape: of a sample.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        is_image = len(shape) == 3
        self.unit = "pixel" if is_image else "value"
        self.size = math.prod(shape[1:] if is_image else shape)
        self.counts: Tensor | None = None
        self.sizes: Tensor
        self.samples = 0

    def update(self, x: Tensor, reconstruction: Tensor, out: Output) -> None:
        """See ``Metric.update``."""
        self.counts = out.counts if self.counts is None else self.counts + out.counts
        self.sizes = out.sizes
        self.samples += len(x)

    def compute(self) -> dict[str, Any]:
        """See ``Metric.compute``."""
        assert self.counts is not None, "no batch was added"
        samples = self.counts.new_tensor(self.samples)
        sum_over_ranks(self.counts, samples)
        tokens = self.counts.double().sum(1)
        shares = self.counts / tokens.clamp(min=1).unsqueeze(1)
        index = (tokens * self.sizes.double().log2()).sum()
        entropy = (tokens * -xlogx(shares).sum(1)).sum() / math.log(2)
        index_bits, entropy_bits = torch.stack([index, entropy]) / (samples * self.size)
        return {
            f"index_bits_per_{self.unit}": float(index_bits),
            f"entropy_bits_per_{self.unit}": float(entropy_bits),
        }
