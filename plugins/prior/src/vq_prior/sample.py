"""Drawing sequences of codes from a prior, and what the run's decoder makes of them."""

from __future__ import annotations

import torch
from torch import Tensor

from vq_prior.model import Cache, CodePrior
from vqcore.errors import SettingError
from vqcore.numerics import counter_rng

#: Sequences drawn at a time.
_BATCH = 256


@torch.no_grad()
def draw(
    prior: CodePrior,
    count: int,
    *,
    seed: int = 0,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    labels: Tensor | None = None,
) -> Tensor:
    """Sequences of codes (count, T) int64, on the prior's device.

    Sequence i is a function of the seed and of i, whatever ``count`` is.

    Args:
        prior: in eval mode.
        count: of sequences.
        seed: of the draws.
        temperature: divides the logits; 0 takes the likeliest code.
        top_k: draw from the k likeliest codes only.
        top_p: draw from the likeliest codes whose probabilities add up to p (nucleus sampling, arXiv:1904.09751).
        labels: (count,), where the prior has classes.

    Raises:
        SettingError: if one of these is out of range.
    """
    _check(temperature, top_k, top_p)
    numbers = counter_rng.uniform(
        counter_rng.key_of(seed), count, prior.length, device=prior.position.device
    )
    given = [None] * len(numbers.split(_BATCH)) if labels is None else labels.split(_BATCH)
    parts = []
    for chances, classes in zip(numbers.split(_BATCH), given, strict=True):
        cache, tokens = Cache(prior, len(chances)), []
        for chance in chances.unbind(1):
            logits = prior.step(tokens[-1] if tokens else None, classes, cache)
            tokens.append(pick(narrowed(logits, temperature, top_k, top_p), chance))
        parts.append(torch.stack(tokens, 1))
    return torch.cat(parts)


def narrowed(logits: Tensor, temperature: float, top_k: int | None, top_p: float | None) -> Tensor:
    """Probabilities (B, K) float64 of logits (B, K), after temperature, then top-k, then top-p; see ``draw``."""
    if temperature == 0:
        return torch.nn.functional.one_hot(logits.argmax(1), logits.shape[1]).double()
    chances = (logits.double() / temperature).softmax(1)
    ordered, order = chances.sort(dim=1, descending=True)
    if top_k is not None:
        ordered[:, top_k:] = 0
    if top_p is not None:
        ordered = ordered / ordered.sum(1, keepdim=True)
        ordered[ordered.cumsum(1) - ordered >= top_p] = 0  # those before it are enough
    kept = torch.zeros_like(chances).scatter(1, order, ordered)
    return kept / kept.sum(1, keepdim=True)


def pick(chances: Tensor, number: Tensor) -> Tensor:
    """The code (B,) that a uniform number (B,) in [0, 1) falls on, codes side by side as wide as probable (B, K)."""
    ends = chances.cumsum(1)
    found = torch.searchsorted(ends, number.unsqueeze(1) * ends[:, -1:], right=True).squeeze(1)
    return found.clamp(max=chances.shape[1] - 1)


def _check(temperature: float, top_k: int | None, top_p: float | None) -> None:
    if not 0 <= temperature < float("inf"):
        raise SettingError(
            "temperature", temperature, "0 or more; 0 takes the likeliest code, 1 changes nothing"
        )
    if top_k is not None and top_k < 1:
        raise SettingError("top_k", top_k, "at least 1 code")
    if top_p is not None and not 0 < top_p <= 1:
        raise SettingError("top_p", top_p, "more than 0 and at most 1")
