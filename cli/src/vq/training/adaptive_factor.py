"""The factor that keeps an adversarial term in proportion (VQGAN, arXiv:2012.09841, eq. 7)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqcore.distributed import sum_over_ranks

#: Added to the norm that is divided by, and the largest factor: those of the paper's code.
EPSILON, LARGEST = 1e-4, 1e4


def adaptive_factor(
    reference: Tensor,
    term: Tensor,
    wrt: Tensor,
    share: float = 1.0,
    scaler: torch.amp.GradScaler | None = None,
) -> Tensor:
    """|d reference / d wrt| / (|d term / d wrt| + 1e-4), at most 1e4; a scalar without a gradient.

    With several processes it is that of their whole batch, and every process calls it.

    Args:
        reference, term: means over this process's samples.
        wrt: a parameter, or the reconstruction (B, *shape) of these samples.
        share: of the samples of a step that this process has now; 0 without samples. Where no
            process has any, the factor is 0.
        scaler: of gradients in fp16, which are compared without its scale. Where one overflows,
            the factor is 0 and the term's gradient NaN: the step is skipped and the scale lowered.
    """
    gradients = torch.stack([_gradient(each, wrt, scaler) for each in (reference, term)])
    own = (gradients * share).flatten(1)
    if not isinstance(wrt, nn.Parameter):  # each process has other samples: squares add up
        own = own.square().sum(1, keepdim=True)
    together = torch.cat([own.flatten(), own.new_full((1,), share)])
    sum_over_ranks(together)
    sums = together[:-1].view(2, -1)
    norms = sums.norm(dim=1) if isinstance(wrt, nn.Parameter) else sums.sqrt().squeeze(1)
    tiny = torch.finfo(norms.dtype).tiny
    norms = norms / (together[-1] * _scale(norms, scaler)).clamp(min=tiny)
    of_reference, of_term = norms.unbind()
    factor = (of_reference / (of_term + EPSILON)).clamp(max=LARGEST)
    if scaler is None:
        return factor
    overflow = 0 * norms.sum()  # NaN of inf
    if term.requires_grad:
        term.register_hook(lambda gradient: gradient + overflow)
    return torch.where(overflow.isnan(), 0, factor)


def _scale(like: Tensor, scaler: torch.amp.GradScaler | None) -> Tensor:
    """What gradients are multiplied by, a scalar on the device."""
    one = like.new_ones(())
    return one if scaler is None else scaler.scale(one)


def _gradient(value: Tensor, wrt: Tensor, scaler: torch.amp.GradScaler | None) -> Tensor:
    """The gradient of a scalar, zeros where there is none."""
    if not (value.requires_grad and wrt.requires_grad):
        return torch.zeros_like(wrt)
    value = value if scaler is None else scaler.scale(value)
    (found,) = torch.autograd.grad(value, wrt, retain_graph=True, allow_unused=True)
    return torch.zeros_like(wrt) if found is None else found
