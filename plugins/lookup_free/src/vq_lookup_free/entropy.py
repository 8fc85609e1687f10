"""How certain each token's bits are, and how evenly all codes are used (Yu et al. 2023, arXiv:2310.05737)."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from vqcore.numerics.stable import masked_mean, xlogx


def bit_entropy(logits: Tensor, mask: Tensor, diversity_weight: float, most_bits: int) -> Tensor:
    """mean_n H(p_n) + diversity_weight (d log 2 - H(mean_n p_n)), in nats.

    p_n are the codes' probabilities for token n, its d bits being independent. The paper's term is the same without
    the constant, which makes it 0 where each token is certain and all codes are used alike. H(p_n) is the sum of its
    bits' entropies. H(mean p) is summed over groups of at most ``most_bits`` bits: exact for one group, for several
    the most that the joint entropy can be. No tensor has 2^d rows or N 2^g entries.

    Args:
        logits: of each bit to be 1, (N, d).
        mask: (N,) bool, the tokens that count; 0 where there is none.
        diversity_weight: see above.
        most_bits: g.
    """
    d = logits.shape[1]
    certainty = masked_mean(binary_entropy(logits).sum(1), mask)
    groups = math.ceil(d / most_bits)
    ends = [d * number // groups for number in range(groups + 1)]
    spread = sum(usage_entropy(logits[:, a:b], mask) for a, b in pairwise(ends))
    return torch.where(mask.any(), certainty + diversity_weight * (d * math.log(2) - spread), 0)


def binary_entropy(logits: Tensor) -> Tensor:
    """Entropy (...), in nats, of bits that are 1 with probability sigmoid(logits); the far tails do not cancel."""
    size = logits.abs()
    return F.softplus(-size) + size * torch.sigmoid(-size)


def usage_entropy(logits: Tensor, mask: Tensor) -> Tensor:
    """Entropy, in nats, of the mean probabilities of all 2^g values of g bits, from logits (N, g).

    Independent bits make the probabilities an outer product of those of two halves of the bits, so that their mean over
    the tokens is one matrix product of (2^(g/2), N) and (N, 2^(g/2)).
    """
    half = logits.shape[1] // 2
    left = joint_probabilities(logits[:, :half]) * mask.unsqueeze(1)
    right = joint_probabilities(logits[:, half:])
    return -xlogx(left.T @ right / mask.sum().clamp(min=1)).sum()


def joint_probabilities(logits: Tensor) -> Tensor:
    """Probabilities (N, 2^g) of all values of g bits (N, g); ones (N, 1) for no bits."""
    joint = logits.new_ones(logits.shape[0], 1)
    for bit in logits.unbind(1):
        joint = torch.cat(
            [joint * torch.sigmoid(-bit).unsqueeze(1), joint * torch.sigmoid(bit).unsqueeze(1)], 1
        )
    return joint
