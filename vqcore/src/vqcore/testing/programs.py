"""What torch makes of a module: a program for any batch size, and compiled code."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from vqcore.testing.rules import expect, near, same

#: Rows of which a module is traced; 0 and 1 would be constants.
TRACED = 2
#: Rows of the batches that its program is compared on.
COMPARED = (1, 5)
Function = TypeVar("Function", bound=Callable[..., Any])


@torch.no_grad()
def exported_alike(
    module: nn.Module, inputs: Sequence[Tensor], rtol: float = 1e-5, atol: float = 1e-6
) -> None:
    """A module that is traced on two rows gives what eager gives on others, also on one.

    Args:
        module: from tensors (B, ...) to tensors, in the mode that it is to be traced in.
        inputs: its arguments, of two rows or more.
        rtol, atol: by how much floats may differ; whole numbers are the same.

    Raises:
        AssertionError: with what differs.
        Exception: of any kind, where it cannot be traced.
    """
    traced = tuple(each[:TRACED].contiguous() for each in inputs)
    axes = tuple({0: torch.export.Dim("batch")} for _ in inputs)
    shapes = (axes,) if _takes_any_number(module) else axes
    program = torch.export.export(module, traced, dynamic_shapes=shapes).module()
    for rows in COMPARED:
        given = [each[torch.arange(rows) % len(each)] for each in inputs]
        alike(program(*given), module(*given), f"the program on {rows} rows", rtol, atol)


@contextmanager
def compiled(function: Function) -> Iterator[Function]:
    """A function or module compiled without a graph break; the compiler starts and ends empty.

    The graph is executed as it is, operator by operator: no compiler for the device is needed.
    """
    torch._dynamo.reset()  # what earlier rules compiled counts against a limit
    try:
        made: Any = torch.compile(function, fullgraph=True, dynamic=False, backend="eager")
        yield made
    finally:
        torch._dynamo.reset()


def alike(found: Any, expected: Any, what: str, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    """Nested tensors are equal: floats within ``atol + rtol |expected|``, others to the bit."""
    ours, theirs = tree_leaves(found), tree_leaves(expected)
    expect(len(ours) == len(theirs), f"{what}: {len(ours)} values instead of {len(theirs)}")
    for one, other in zip(ours, theirs, strict=True):
        if isinstance(other, Tensor) and other.is_floating_point():
            near(one, other, what, rtol, atol)
        else:
            same(one, other, what)


def _takes_any_number(module: nn.Module) -> bool:
    """Whether ``forward`` is declared with ``*tensors``, which torch describes as one tuple."""
    kinds = [each.kind for each in inspect.signature(module.forward).parameters.values()]
    return inspect.Parameter.VAR_POSITIONAL in kinds
