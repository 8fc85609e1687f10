"""What the layer returns, and the figures of one forward pass in it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Output:
    """What the layer returns.

    Attributes:
        quantized: codes in the layout and dtype of the input, with the estimator's gradient.
        indices: int64: one for each position, group or stage last.
        loss: sum of ``losses``, to be added to the reconstruction loss.
        losses: weighted scalars by name: the quantizer's, then one for each regularizer that acted.
        metrics: detached scalars on the device: ``perplexity``, ``codes_used`` (means over codebooks),
            ``quantization_error`` (mean squared, tangent coordinates), ``bad_tokens`` (NaN or inf, left out) and
            ``replaced_codes`` (dead ones, so far).
        counts: how often each code was used, (C, K) for C codebooks: groups or stages.
        errors: quantization error of each codebook, (C,): mean squared over its tokens, in tangent coordinates.
        sizes: number of codes in each codebook, (C,) int64: K, or less where ``counts`` is filled up.
        reconstruction: ``decode(quantized)`` where ``decode`` was given.
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
