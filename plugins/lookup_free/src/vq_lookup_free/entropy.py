"""The entropy loss of bits (Yu et al. 2023, MAGVIT-v2, arXiv:2310.05737)."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor


def bit_entropy(logits: Tensor, mask: Tensor, diversity_weight: float, most_bits: int) -> Tensor:
    """mean_n H(p_n) + diversity_weight (d log 2 - H(mean_n p_n)), in nats.

    p_n is the distribution of token n over codes, d independent bits that are 1 with probability
    sigmoid(logits), (N, d). The constant, which the paper's loss lacks, makes the minimum 0: each
    token certain and all codes equally frequent. H(mean_n p_n) is summed over groups of at most
    ``most_bits`` bits: exact for one group, an upper bound for several, without a tensor of 2^d
    rows. Only tokens of ``mask`` (N,) count; the loss of none is 0.
    """
    d = logits.shape[1]
    weight = mask.to(logits.dtype)
    tokens = weight.sum()
    weight = weight / tokens.clamp(min=1)
    bits, logs = bit_probabilities(logits)
    certainty = -((bits * logs).sum((0, 1)) * weight).sum()
    groups = math.ceil(d / most_bits)
    ends = [d * number // groups for number in range(groups + 1)]
    spread = sum(usage_entropy(bits[a:b], weight) for a, b in pairwise(ends))
    term = certainty + diversity_weight * (d * math.log(2) - spread)
    return term * tokens.clamp(max=1)


def bit_probabilities(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities of 0 and 1, (d, 2, N), of bits (N, d), and their logarithms; stable tails."""
    both = torch.stack([-logits.T, logits.T], 1)
    return torch.sigmoid(both), F.logsigmoid(both)


def usage_entropy(bits: Tensor, weight: Tensor) -> Tensor:
    """Entropy, in nats, of the mean probabilities of all 2^g values of g bits.

    ``bits`` (g, 2, N) are the probabilities of 0 and 1, and ``weight`` (N,) is the share of each
    token in the mean. The bits are independent, so a token's probabilities are an outer product
    over two halves of the bits, and their mean is one product of (2^(g/2), N) and (N, 2^(g/2)).
    """
    half = len(bits) // 2
    left = joint_probabilities(bits[:half], weight.unsqueeze(0))
    mean = left @ joint_probabilities(bits[half + 1 :], bits[half]).T
    return torch.special.entr(mean.clamp(min=torch.finfo(mean.dtype).tiny)).sum()


def joint_probabilities(bits: Tensor, joint: Tensor) -> Tensor:
    """Probabilities (2^g V, N) of all values of g bits (g, 2, N) and those in ``joint`` (V, N)."""
    for zero, one in bits:  # a broadcast product would tie an export by torch 2.11 to one N
        joint = torch.cat([joint * zero, joint * one])
    return joint
