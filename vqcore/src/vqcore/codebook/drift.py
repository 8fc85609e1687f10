"""Codes without a token follow those that have some (after Lu et al. 2026, arXiv:2602.18896).

The encoder's steps move all latents together, and a code that no token chose stays behind. In the
paper a kernel of distances weighs how far each code follows each latent, which takes a number for
every token and code. Here all follow the mean alike, the limit of a wide kernel, in O(K D).
"""

from __future__ import annotations

import torch
from torch import Tensor


def followed(before: Tensor, after: Tensor, counts: Tensor, share: float) -> Tensor:
    """Tangent coordinates (..., K, D) of codes after a step, of which those without a token follow.

    Such a code moves by (1 - share) of its own move (that of an optimizer's momentum) and ``share``
    of the drift, sum_k n_k (e_k' - e_k) / sum_k n_k; n_k are the tokens that chose code k.

    Args:
        before, after: the codes e and e', (..., K, D), before and after they learned in the step.
        counts: n, (..., K) of all ranks.
        share: between 0 and 1.
    """
    counts = counts.unsqueeze(-1).to(after.dtype)
    total = counts.sum(-2, keepdim=True)
    drift = ((after - before) * counts).sum(-2, keepdim=True) / total.clamp(min=1)
    follows = share * ((counts == 0) & (total > 0)).to(after.dtype)
    return torch.lerp(after, before + drift, follows)
