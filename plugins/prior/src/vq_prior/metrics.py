"""How many bits a prior needs for a code, with the baselines to compare it with."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from vq.processes.together import rank, world
from vq.progress import working
from vq_prior.sequences import CodeSequences
from vq_prior.transformer import CodePrior
from vqcore.distributed import sum_over_ranks

#: Largest number of sequences, and of probabilities, in an evaluation batch.
_BATCH = 256
_PROBABILITIES = 2**27
#: Training sequences that are evaluated after training.
_TRAIN_SAMPLES = 10_000


@torch.no_grad()
def mean_bits(prior: CodePrior, sequences: CodeSequences, limit: int | None = None) -> float:
    """Mean bits per token in eval mode, over the first ``limit`` sequences or all of them.

    Each of several processes evaluates a share of them; all get the mean of all.
    """
    prior.eval()
    count = min(len(sequences), limit or len(sequences))
    rows = torch.arange(count, device=sequences.tokens.device)
    batch = max(1, min(_BATCH, _PROBABILITIES // (prior.length * prior.codebook_size)))
    own = rows.tensor_split(world())[rank()]
    with working("evaluating", len(own), "sequences") as task:
        parts = task.through(own.split(batch) if len(own) else ())
        sums = [prior.bits(*sequences.select(part)).double().sum() for part in parts]
    total = torch.stack(sums).sum() if sums else prior.position.new_zeros((), dtype=torch.float64)
    sum_over_ranks(total)
    return float(total) / (count * prior.length)


def unigram_bits(
    train: CodeSequences, test: CodeSequences, codebooks: Sequence[int], codebook_size: int
) -> float:
    """Bits per token of ``test`` by the frequency of each code in ``train``.

    Counts are raised by 1 (Laplace's rule of succession), so that no code has probability 0.
    """
    offset = torch.tensor(codebooks, device=train.tokens.device) * codebook_size
    size = (max(codebooks) + 1) * codebook_size
    counts = torch.bincount((train.tokens + offset).flatten(), minlength=size).double() + 1
    counts = counts.view(-1, codebook_size)
    bits = counts.sum(1, keepdim=True).log2() - counts.log2()
    return float(bits.flatten()[test.tokens + offset].mean())


def evaluate_prior(
    prior: CodePrior, train: CodeSequences, test: CodeSequences, shape: tuple[int, ...]
) -> dict[str, float]:
    """Metrics of a trained prior, for samples of a shape.

    Returns:
        ``bits_per_token`` (held-out), ``train_bits_per_token``, ``unigram_bits_per_token``,
        ``uniform_bits_per_token`` = log2 K, and ``bits_per_pixel``, or ``bits_per_value`` where
        samples are vectors: the held-out bits of all codes of a sample over its pixels or values.
    """
    bits = mean_bits(prior, test)
    unit, sides = ("pixel", shape[1:]) if len(shape) == 3 else ("value", shape)
    return {
        "bits_per_token": bits,
        "train_bits_per_token": mean_bits(prior, train, _TRAIN_SAMPLES),
        "unigram_bits_per_token": unigram_bits(train, test, prior.codebooks, prior.codebook_size),
        "uniform_bits_per_token": math.log2(prior.codebook_size),
        f"bits_per_{unit}": bits * prior.length / math.prod(sides),
    }
