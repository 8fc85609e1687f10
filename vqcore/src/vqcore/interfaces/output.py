"""What the layer returns."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from vqcore.numerics.counts import codes_used, perplexity
from vqcore.numerics.stable import in_widest


@dataclass(frozen=True)
class Output:
    """What ``VectorQuantizer`` returns, for C codebooks: groups or stages.

    ``metrics``, ``errors`` and ``sizes`` are computed when they are read, on the device: a step
    that does not log them does not pay for them.

    Attributes:
        quantized: codes in the layout and dtype of the input, with the estimator's gradient.
        indices: int64, one for each position; groups or stages last.
        loss: sum of ``losses``, to be added to the reconstruction loss.
        losses: weighted scalars by name: the quantizer's, and one for each active regularizer.
        counts: how often each code was used, (C, K) int64.
        error_sums: sum over the tokens of each codebook of the mean squared difference between a
            latent and its code, in tangent coordinates, (C,).
        error_sum: the same of the whole latents, a scalar.
        tokens: how many counted, a scalar.
        bad_tokens: tokens with NaN, inf or huge numbers, which are left out, a scalar.
        replaced_codes: dead codes replaced so far, a scalar.
        codebook_sizes: number of codes of each codebook; below K where ``counts`` is padded.
        reconstruction: ``decode(quantized)`` if ``decode`` was given.
    """

    quantized: Tensor
    indices: Tensor
    loss: Tensor
    losses: dict[str, Tensor]
    counts: Tensor
    error_sums: Tensor
    error_sum: Tensor
    tokens: Tensor
    bad_tokens: Tensor
    replaced_codes: Tensor
    codebook_sizes: tuple[int, ...]
    reconstruction: Tensor | None = field(default=None, repr=False)

    @property
    def metrics(self) -> dict[str, Tensor]:
        """Detached scalars on the device.

        ``perplexity`` and ``codes_used`` (means over codebooks), ``quantization_error`` (mean
        squared, tangent coordinates), ``bad_tokens`` and ``replaced_codes``. Empty without a
        codebook.
        """
        if not self.codebook_sizes:
            return {}
        return {
            "perplexity": perplexity(self.counts).mean(),
            "codes_used": in_widest(codes_used(self.counts)).mean(),
            "quantization_error": self.error_sum / self.tokens.clamp(min=1),
            "bad_tokens": self.bad_tokens,
            "replaced_codes": self.replaced_codes,
        }

    @property
    def errors(self) -> Tensor:
        """Quantization error of each codebook, (C,): mean squared, tangent coordinates."""
        return self.error_sums / self.counts.sum(1).clamp(min=1)

    @property
    def sizes(self) -> Tensor:
        """``codebook_sizes`` as a tensor (C,) int64, filled on the device: no copy waits for it."""
        parts = [self.counts.new_full((1,), size) for size in self.codebook_sizes]
        return torch.cat(parts) if parts else self.counts.new_zeros(0)


torch.export.register_dataclass(Output)  # so that a layer can be exported whole
