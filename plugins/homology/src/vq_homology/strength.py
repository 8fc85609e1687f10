"""How strongly the signature is asked for: by the ratio of the codes' entropy to the inputs' (HC-VQ)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vq_homology.points import codebook_size
from vq_homology.ranks import maximum_over_ranks
from vqcore.codebook.usage import code_counts
from vqcore.distributed import sum_over_ranks
from vqcore.errors import UsageError
from vqcore.interfaces.latent_batch import LatentBatch
from vqcore.numerics.stable import xlogx

#: Bins of the histogram of input values.
BINS = 256


class EntropyRatio(nn.Module):
    """w = |1 - mean S(Q) / mean S(X)|, the means over the last whole period of M steps; 1 until there was one.

    S(Q) is the entropy of what the codes do, S(X) that of the inputs, both of a step's batch over all ranks. With
    ``usage`` each is a share of the most that it can be, since nats of K codes and nats of grey values do not compare:
    S(Q) = H(code usage) / log K and S(X) = H(values in 256 bins over their range) / log 256. So w is 0 when codes are
    used as evenly as values are, and grows on either side. With ``paper`` both are ``row_entropy``, in nats.

    Nothing carries a gradient, and the host never waits. Where the inputs' entropy is 0, w stays as it was.

    Args:
        period: M, in training steps.
        entropy: ``usage`` or ``paper``.
    """

    def __init__(self, period: int, entropy: str) -> None:
        super().__init__()
        self.period, self.entropy = period, entropy
        # w, number of the period, sum of S(Q), codebooks added, sum of S(X), steps added
        self._state = torch.tensor([1.0, -1.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64)
        self._step: int | None = None

    @torch.no_grad()
    def forward(self, batch: LatentBatch) -> Tensor:
        """Take in a codebook's batch of a training step; w, a scalar. In eval nothing is taken in.

        Raises:
            UsageError: if the layer was not given the inputs.
        """
        if batch.inputs is None:
            needs = "with strength = entropy-ratio needs the encoder's input: call the layer with inputs=your_inputs"
            raise UsageError(f"regularizer 'homology' {needs}")
        state = self._state.to(batch.z.device)
        if self.training:
            state = self._begin(state, batch.step // self.period)
            state = state + self._measure(batch, first=batch.step != self._step)
            self._state, self._step = state, batch.step
        return state[0]

    def _begin(self, state: Tensor, period: int) -> Tensor:
        """The state at the start of a step: in a new period w is that of the last one, and the sums are 0."""
        w, last, codes, codebooks, values, steps = state.unbind()
        new = (1 - (codes / codebooks.clamp(min=1)) / (values / steps.clamp(min=1))).abs()
        over = last != period
        w = torch.where(over & torch.isfinite(new), new, w)
        sums = torch.where(over, 0, state[2:])
        return torch.cat([torch.stack([w, torch.full_like(w, period)]), sums])

    def _measure(self, batch: LatentBatch, *, first: bool) -> Tensor:
        """What a call adds to the state; the inputs, which all codebooks of a step share, count with the ``first``."""
        zero = torch.zeros((), dtype=torch.float64, device=batch.z.device)
        paper = self.entropy == "paper"
        codes = row_entropy(_quantized(batch)) if paper else usage_entropy(batch)
        given = (
            zero
            if not first
            else row_entropy(batch.inputs)
            if paper
            else value_entropy(batch.inputs)
        )
        return torch.stack([zero, zero, codes, zero + 1, given, zero + first])

    def get_extra_state(self) -> Tensor:
        """w and the running sums of the period."""
        return self._state

    def set_extra_state(self, state: Tensor) -> None:
        """Restore what ``get_extra_state`` gave."""
        self._state, self._step = state.double(), None


def usage_entropy(batch: LatentBatch) -> Tensor:
    """H(code usage) / log K over all ranks: 1 where all codes are used alike, 0 where one is used alone."""
    indices = batch.indices if batch.mask is None else torch.where(batch.mask, batch.indices, -1)
    return _relative_entropy(code_counts(indices, codebook_size(batch)))


def value_entropy(inputs: Tensor) -> Tensor:
    """H / log 256 of the finite values of a tensor over all ranks, in 256 bins over their range; 0 of equal values."""
    values = inputs.reshape(-1).to(torch.promote_types(inputs.dtype, torch.float32))
    finite = torch.isfinite(values)
    ends = torch.stack([torch.where(finite, sign * values, -math.inf) for sign in (-1, 1)])
    ends = torch.cat([ends, ends.new_full((2, 1), -math.inf)], 1).amax(1)  # a shard may be empty
    low, high = maximum_over_ranks(ends)  # low with its sign turned
    width = high + low
    place = (values + low) / torch.where(width > 0, width, 1) * BINS
    return _relative_entropy(
        code_counts(torch.where(finite, place.nan_to_num(0), -1).clamp(-1, BINS - 1).long(), BINS)
    )


def row_entropy(rows: Tensor) -> Tensor:
    """-sum_i p_i log p_i with p_i = |s_i / sum s|, s_i the sum of a row (..., F), over all ranks, in nats.

    HC-VQ's S(Q) and S(X), of quantized latents and of rows of pixels. It is blind to collapse: N equal rows have
    log N. Where rows' sums have both signs the p_i add up to more than 1, and the value means nothing.
    """
    sums = rows.double().sum(-1).flatten()
    sums = torch.where(torch.isfinite(sums), sums, 0)
    total = sums.sum()
    sum_over_ranks(total)
    entropy = -xlogx((sums / torch.where(total == 0, 1, total)).abs()).sum()
    sum_over_ranks(entropy)
    return torch.where(total == 0, 0, entropy)


def _quantized(batch: LatentBatch) -> Tensor:
    """The quantized latents (..., d), zero for tokens that do not count."""
    kept = batch.indices >= 0 if batch.mask is None else batch.mask & (batch.indices >= 0)
    return torch.where(kept.unsqueeze(-1), batch.z_q, 0)


def _relative_entropy(counts: Tensor) -> Tensor:
    """Entropy of counts (K,), summed over the ranks in place, as a share of log K; 0 where nothing was counted."""
    sum_over_ranks(counts)
    share = counts.double() / counts.sum().clamp(min=1)
    return -xlogx(share).sum() / math.log(max(len(counts), 2))
