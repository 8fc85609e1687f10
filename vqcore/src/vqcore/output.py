"""What the layer returns, and the figures of one forward pass in it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from vqcore.metrics import codes_used, perplexity
from vqcore.numerics import masked_mean
from vqcore.quantizer import CodeUse


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


def figures(
    z: Tensor, z_q: Tensor, kept: Tensor, uses: tuple[CodeUse, ...]
) -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor]:
    """``metrics`` (those that one pass tells), ``counts``, ``errors`` and ``sizes`` of an ``Output``."""
    counts = _stacked([use.counts for use in uses])
    errors = torch.stack([_error(use.z, use.z_q, use.mask) for use in uses])
    metrics = {
        "perplexity": perplexity(counts).mean(),
        "codes_used": codes_used(counts).double().mean(),
        "quantization_error": errors[0] if len(uses) == 1 else _error(z, z_q, kept),
    }
    sizes = torch.tensor([use.counts.shape[0] for use in uses], device=z.device)
    return metrics, counts, errors, sizes


def _stacked(counts: list[Tensor]) -> Tensor:
    """Counts of several codebooks as (C, K); a smaller one is filled up with codes that are never used."""
    largest = max(count.shape[0] for count in counts)
    return torch.stack([F.pad(count, (0, largest - count.shape[0])) for count in counts])


def _error(z: Tensor, z_q: Tensor, mask: Tensor) -> Tensor:
    """Mean squared difference over the tokens (...) that count and their dimensions."""
    distance = torch.linalg.vector_norm(z.detach() - z_q.detach(), dim=-1)
    return masked_mean(distance.square().flatten(), mask.flatten()) / z.shape[-1]
