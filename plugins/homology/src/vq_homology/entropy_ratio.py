"""HC-VQ's strength: a factor from the ratio of the codes' entropy to the inputs' entropy."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vq_homology.collectives import maximum_over_ranks
from vq_homology.point_clouds import codebook_size
from vqcore.codebook.usage import code_counts
from vqcore.distributed import sum_over_ranks
from vqcore.errors import UsageError
from vqcore.interfaces.latent_batch import LatentBatch
from vqcore.numerics.stable import xlogx

#: Bins of the histogram of input values.
BINS = 256


class EntropyRatio(nn.Module):
    """w = |1 - mean S(Q) / mean S(X)|, means over the last whole period of steps; 1 before one.

    S(Q) is the entropy of the codes and S(X) that of the inputs of a step, over all ranks. With
    ``usage`` both are normalised, since nats of K codes and of grey values do not compare:
    S(Q) = H(code usage) / log K and S(X) = H(values in 256 bins over their range) / log 256. Then
    w is 0 where codes are used as evenly as values are. With ``paper`` both are ``row_entropy``.

    Nothing carries a gradient or synchronises with the device. Where S(X) is 0, w stays as it was.

    Args:
        period: training steps of a period.
        entropy: ``usage`` or ``paper``.
    """

    def __init__(self, period: int, entropy: str) -> None:
        super().__init__()
        self.period = period
        self.entropy = entropy
        # w, index of the period, sum of S(Q), codebooks added, sum of S(X), steps added
        start = [1.0, -1.0, 0.0, 0.0, 0.0, 0.0]
        self._state = torch.tensor(start, dtype=torch.float64, device="cpu")  # not on meta
        self._step: int | None = None

    @torch.no_grad()
    def forward(self, batch: LatentBatch) -> Tensor:
        """Add one codebook's batch to the running sums, in training only; return w, a scalar.

        Raises:
            UsageError: if the batch has no inputs.
        """
        if batch.inputs is None:
            needs = "needs the encoder's input: call the layer with inputs=your_inputs"
            raise UsageError(f"regularizer 'homology' with strength = entropy-ratio {needs}")
        state = self._state.to(batch.z.device)
        if self.training:
            state = self._begin(state, batch.step // self.period)
            state = state + self._measure(batch, batch.inputs, first=batch.step != self._step)
            self._state = state
            self._step = batch.step
        return state[0]

    def _begin(self, state: Tensor, period: int) -> Tensor:
        """The state at the start of a step; a new period updates w and resets the sums."""
        w, last, codes, codebooks, values, steps = state.unbind()
        new = (1 - (codes / codebooks.clamp(min=1)) / (values / steps.clamp(min=1))).abs()
        is_over = last != period
        w = torch.where(is_over & torch.isfinite(new), new, w)
        sums = torch.where(is_over, 0, state[2:])
        return torch.cat([torch.stack([w, torch.full_like(w, period)]), sums])

    def _measure(self, batch: LatentBatch, inputs: Tensor, *, first: bool) -> Tensor:
        """The increment of the state; the codebooks of a step share inputs, counted ``first``."""
        zero = torch.zeros((), dtype=torch.float64, device=batch.z.device)
        is_paper = self.entropy == "paper"
        codes = row_entropy(_valid_codes(batch)) if is_paper else usage_entropy(batch)
        values = zero
        if first:
            values = row_entropy(inputs) if is_paper else value_entropy(inputs)
        return torch.stack([zero, zero, codes, zero + 1, values, zero + first])

    def metrics(self) -> dict[str, float]:
        """w, and the means of S(Q) and S(X) over the running period, by name; empty before a step.

        Reading them waits for the device.
        """
        w, _, codes, codebooks, values, steps = self._state.tolist()
        if steps == 0:
            return {}
        return {
            "homology_strength": w,
            "homology_code_entropy": codes / codebooks,
            "homology_input_entropy": values / steps,
        }

    def get_extra_state(self) -> Tensor:
        """w and the running sums of the period."""
        return self._state

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the state that ``get_extra_state`` returned."""
        self._state = state.double()
        self._step = None


def usage_entropy(batch: LatentBatch) -> Tensor:
    """H(code usage) / log K over all ranks: 1 for uniform usage, 0 for a single used code."""
    indices = batch.indices if batch.mask is None else torch.where(batch.mask, batch.indices, -1)
    return _normalized_entropy(code_counts(indices, codebook_size(batch)))


def value_entropy(inputs: Tensor) -> Tensor:
    """H / log 256 of the finite values over all ranks, in 256 bins over their range.

    0 where all values are equal, or none is finite.
    """
    values = inputs.reshape(-1).to(torch.promote_types(inputs.dtype, torch.float32))
    finite = torch.isfinite(values)
    ends = torch.stack([torch.where(finite, sign * values, -math.inf) for sign in (-1, 1)])
    ends = torch.cat([ends, ends.new_full((2, 1), -math.inf)], 1).amax(1)  # a shard may be empty
    negative_low, high = maximum_over_ranks(ends)
    width = high + negative_low
    position = (values + negative_low) / torch.where(width > 0, width, 1) * BINS
    bins = torch.where(finite, position.nan_to_num(0), -1).clamp(-1, BINS - 1).long()
    return _normalized_entropy(code_counts(bins, BINS))


def row_entropy(rows: Tensor) -> Tensor:
    """-sum_i p_i log p_i in nats with p_i = |s_i / sum s|, s_i the sum of a row of (..., F).

    HC-VQ's S(Q) of quantized latents and S(X) of rows of pixels, over all ranks. It does not detect
    a collapse: N equal rows have log N. It is not an entropy where row sums differ in sign.
    """
    sums = rows.double().sum(-1).flatten()
    sums = torch.where(torch.isfinite(sums), sums, 0)
    total = sums.sum()
    sum_over_ranks(total)
    entropy = -xlogx((sums / torch.where(total == 0, 1, total)).abs()).sum()
    sum_over_ranks(entropy)
    return torch.where(total == 0, 0, entropy)


def _valid_codes(batch: LatentBatch) -> Tensor:
    """The quantized latents (..., D), zero for masked tokens."""
    valid = batch.indices >= 0 if batch.mask is None else batch.mask & (batch.indices >= 0)
    return torch.where(valid.unsqueeze(-1), batch.z_q, 0)


def _normalized_entropy(counts: Tensor) -> Tensor:
    """Entropy over log K of counts (K,), summed over the ranks in place; 0 without any count."""
    sum_over_ranks(counts)
    share = counts.double() / counts.sum().clamp(min=1)
    return -xlogx(share).sum() / math.log(max(len(counts), 2))
