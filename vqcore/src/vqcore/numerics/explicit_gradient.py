"""Functions whose gradient is given in closed form, in fewer passes than autograd's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

#: Gradient of the result, the inputs, what was kept, which inputs need a gradient -> gradients.
Backward = Callable[[Tensor, Sequence[Any], Sequence[Tensor], Sequence[bool]], tuple[Any, ...]]


def with_gradient(
    forward: Callable[..., tuple[Tensor, ...]], backward: Backward, *, keeps_inputs: bool = True
) -> Callable[..., Tensor]:
    """The function that returns the first tensor of ``forward`` and has the gradient ``backward``.

    Inputs are tensors and constants. ``forward`` returns the result and the tensors that are kept
    for ``backward``, which returns a gradient for each input, None for a constant. Without
    ``keeps_inputs`` tensors among the inputs are not kept in memory, and ``backward`` gets None for
    them. A second derivative repeats ``forward``, so both must consist of differentiable
    operations. Works under ``torch.compile`` and ``torch.func``, except in forward mode.
    """
    plain, transformable = _functions(forward, backward, keeps_inputs)

    def function(*inputs: Any) -> Tensor:
        transformed = torch._C._are_functorch_transforms_active()
        if not (transformed or _need_gradient(inputs)):
            return forward(*inputs)[0]  # the compiler of torch 2.11 fails at the others then
        if transformed or torch.compiler.is_compiling():
            result: Tensor = transformable.apply(*inputs)[0]  # for the host as much as 5 kernels
        else:
            result = plain.apply(*inputs)
        return result

    return function


def _need_gradient(inputs: Sequence[Any]) -> bool:
    tensors = (x for x in inputs if isinstance(x, Tensor))
    return torch.is_grad_enabled() and any(x.requires_grad for x in tensors)


def _functions(
    forward: Callable[..., tuple[Tensor, ...]], backward: Backward, keeps_inputs: bool
) -> tuple[type[Function], type[Function]]:
    """The same as functions of autograd: the plain form, and the one that ``torch.func`` takes."""

    def keep(ctx: Any, inputs: tuple[Any, ...], kept: Sequence[Tensor]) -> None:
        ctx.constants = tuple(None if isinstance(x, Tensor) else x for x in inputs)
        tensors = (x if keeps_inputs and isinstance(x, Tensor) else None for x in inputs)
        ctx.save_for_backward(*tensors, *kept)

    def gradients(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Any, ...]:
        constants, saved = ctx.constants, ctx.saved_tensors
        pairs = zip(constants, saved, strict=False)
        inputs = [constant if tensor is None else tensor for constant, tensor in pairs]
        repeated = keeps_inputs and torch.is_grad_enabled()  # for the derivative of what was kept
        kept = forward(*inputs)[1:] if repeated else saved[len(constants) :]
        return backward(gradient, inputs, kept, ctx.needs_input_grad)

    class Plain(Function):
        backward = staticmethod(gradients)

        @staticmethod
        def forward(ctx: Any, *inputs: Any) -> Tensor:
            result, *kept = forward(*inputs)
            keep(ctx, inputs, kept)
            return result

    class Transformable(Function):
        generate_vmap_rule = True
        backward = staticmethod(gradients)

        @staticmethod
        def forward(*inputs: Any) -> tuple[Tensor, ...]:
            return forward(*inputs)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
            ctx.mark_non_differentiable(*output[1:])
            keep(ctx, inputs, output[1:])

    return Plain, Transformable
