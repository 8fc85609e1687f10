"""A term whose value is known to be 0, so that its gradient alone is computed, in parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from vqcore.numerics.stable import without_autocast

#: From some rows of x (n, A) and the points (K, A) to vectors (n, D).
Soft = Callable[[Tensor, Tensor], Tensor]


def in_backward(
    soft: Soft, rows: int, chosen: Tensor, x: Tensor, points: Tensor, learned: Iterable[Tensor]
) -> Tensor:
    """``chosen`` (N, D) to the bit, with the gradient of chosen + soft(x, points).

    The backward pass calls ``soft`` with ``rows`` rows of x at a time, whatever autocast is set to
    there; the forward pass does not.
    ``learned`` are parameters that ``soft`` reads. In a compiled graph a backward pass cannot start
    another: there ``soft`` is a checkpoint of the forward pass.
    """
    if torch.compiler.is_compiling():
        again = partial(checkpoint, soft, use_reentrant=False, preserve_rng_state=False)
        found = torch.cat([again(part, points) for part in x.split(rows)])
        return chosen + (found - found.detach())
    result: Tensor = _InBackward.apply(soft, rows, chosen, x, points, *learned)
    return result


class _InBackward(Function):
    @staticmethod
    def forward(ctx: Any, soft: Soft, rows: int, chosen: Tensor, *inputs: Tensor) -> Tensor:
        ctx.soft, ctx.rows = soft, rows
        ctx.save_for_backward(*inputs)
        return chosen.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        x, points, *learned = ctx.saved_tensors
        needed = ctx.needs_input_grad[4:]
        points = points.detach().requires_grad_()
        others = [each for each, needs in zip((points, *learned), needed, strict=True) if needs]
        to_x, sums = [], [torch.zeros_like(each) for each in others]
        for part, pulled in zip(x.split(ctx.rows), gradient.split(ctx.rows), strict=True):
            part = part.detach().requires_grad_()
            with without_autocast(x.device.type), torch.enable_grad():
                vectors = ctx.soft(part, points)
                inputs, weight = [part, *others], pulled.to(vectors.dtype)
                first, *rest = torch.autograd.grad(vectors, inputs, weight, materialize_grads=True)
            to_x.append(first)
            sums = list(map(torch.add, sums, rest))
        found = iter(sums)
        return None, None, gradient, torch.cat(to_x), *(next(found) if n else None for n in needed)
