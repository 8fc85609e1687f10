"""What the layer returns."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Output:
    """What ``VectorQuantizer`` returns, for C codebooks: groups or stages.

    Attributes:
        quantized: codes in the layout and dtype of the input, with the estimator's gradient.
        indices: int64, one for each position; groups or stages last.
        loss: sum of ``losses``, to be added to the reconstruction loss.
        losses: weighted scalars by name: the quantizer's, and one for each active regularizer.
        metrics: detached scalars on the device: ``perplexity`` and ``codes_used`` (means over
            codebooks), ``quantization_error`` (mean squared, tangent coordinates), ``bad_tokens``
            (NaN, inf or huge, left out) and ``replaced_codes`` (dead codes replaced so far).
        counts: how often each code was used, (C, K).
        errors: quantization error of each codebook, (C,): mean squared, tangent coordinates.
        sizes: number of codes of each codebook, (C,) int64; below K where ``counts`` is padded.
        reconstruction: ``decode(quantized)`` if ``decode`` was given.
    """

    quantized: Tensor
    indices: Tensor
    loss: Tensor
    losses: dict[str, Tensor]
    metrics: dict[str, Tensor]
    counts: Tensor
    errors: Tensor
    sizes: Tensor
    reconstruction: Tensor | None = field(default=None, repr=False)


torch.export.register_dataclass(Output)  # so that a layer can be exported whole
