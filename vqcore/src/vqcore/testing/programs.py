"""What torch makes of a module: a program for any batch size, and compiled code."""

from __future__ import annotations

import inspect
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from vqcore.plugin.blame import place_of
from vqcore.testing.rules import expect, near, same

#: Rows of which a module is traced; 0 and 1 would be constants.
TRACED = 2
#: Rows of the batches that its program is compared on.
COMPARED = (1, 5)
#: What a trace cannot follow.
_NOT_TRACED = (
    "a loop over the rows of a batch and len(x) fix its size, and a branch or a shape must not "
    "depend on values"
)
#: How torch writes a line of the code that it traced.
_LINE = re.compile(r'File "([^"]+)", line (\d+)')
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
    program = _exported(module, traced, shapes).module()
    for rows in COMPARED:
        given = [each[torch.arange(rows) % len(each)] for each in inputs]
        alike(program(*given), module(*given), f"the program on {rows} rows", rtol, atol)


def _exported(module: nn.Module, inputs: tuple[Tensor, ...], shapes: Any) -> Any:
    """The program of a module; what torch says of one without, in few words."""
    log = logging.getLogger("torch")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)  # pages of what the error says, too
    try:
        with redirect_stderr(StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.export(module, inputs, dynamic_shapes=shapes)
    except Exception as error:
        raise AssertionError(_not_traced("torch.export", error)) from error
    finally:
        log.setLevel(level)


@contextmanager
def compiled(function: Function) -> Iterator[Function]:
    """A function or module compiled without a graph break; the compiler starts and ends empty.

    The graph is executed as it is, operator by operator: no compiler for the device is needed.
    """
    torch._dynamo.reset()  # what earlier rules compiled counts against a limit
    try:
        made: Any = torch.compile(function, fullgraph=True, dynamic=False, backend="eager")
        yield made
    except Exception as error:
        if not type(error).__module__.startswith("torch._dynamo."):
            raise
        raise AssertionError(_not_traced("torch.compile", error)) from error
    finally:
        torch._dynamo.reset()


def _not_traced(tool: str, error: Exception) -> str:
    """Why a tool of torch failed, of which it writes pages, and where."""
    why, lines = " ".join(str(error).split()), _LINE.findall(str(error))
    place = place_of(error) or (f" ({Path(lines[-1][0]).name}:{lines[-1][1]})" if lines else "")
    return f"{tool} fails with {type(error).__name__}{place}: {why[:160]} ...; {_NOT_TRACED}"


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
