"""The entropy loss of bits (Yu et al. 2023, MAGVIT-v2, arXiv:2310.05737)."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from vqcore.numerics.stable import masked_mean, xlogx


def bit_entropy(logits: Tensor, mask: Tensor, diversity_weight: float, most_bits: int) -> Tensor:
    """mean_n H(p_n) + diversity_weight (d log 2 - H(mean_n p_n)), in nats.

    p_n is the distribution of token n over codes, d independent bits that are 1 with probability
    sigmoid(logits), (N, d). The constant, which the paper's loss lacks, makes the minimum 0: each
    token certain and all codes equally frequent. H(mean_n p_n) is summed over groups of at most
    ``most_bits`` bits: exact for one group, an upper bound for several, without a tensor of 2^d
    rows. Only tokens of ``mask`` (N,) count; the loss of none is 0.
    """
    d = logits.shape[1]
    certainty = masked_mean(binary_entropy(logits).sum(1), mask)
    groups = math.ceil(d / most_bits)
    ends = [d * number // groups for number in range(groups + 1)]
    spread = sum(usage_entropy(logits[:, a:b], mask) for a, b in pairwise(ends))
    return torch.where(mask.any(), certainty + diversity_weight * (d * math.log(2) - spread), 0)


def binary_entropy(logits: Tensor) -> Tensor:
    """Entropy (...), in nats, of bits that are 1 with probability sigmoid(logits); stable tails."""
    size = logits.abs()
    return F.softplus(-size) + size * torch.sigmoid(-size)


def usage_entropy(logits: Tensor, mask: Tensor) -> Tensor:
    """Entropy, in nats, of the mean probabilities of all 2^g values of g bits, from logits (N, g).

    The bits are independent, so a token's probabilities are an outer product over two halves of the
    bits, and their mean is one product of (2^(g/2), N) and (N, 2^(g/2)).
    """
    half = logits.shape[1] // 2
    left = joint_probabilities(logits[:, :half]) * mask.unsqueeze(1)
    right = joint_probabilities(logits[:, half:])
    return -xlogx(left.T @ right / mask.sum().clamp(min=1)).sum()


def joint_probabilities(logits: Tensor) -> Tensor:
    """Probabilities (N, 2^g) of all values of g bits (N, g); ones (N, 1) for no bits."""
    joint = logits.new_ones(logits.shape[0], 1)
    for bit in logits.unbind(1):
        zero, one = torch.sigmoid(-bit).unsqueeze(1), torch.sigmoid(bit).unsqueeze(1)
        joint = torch.cat([joint * zero, joint * one], 1)
    return joint
