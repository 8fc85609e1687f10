"""What makes the host wait for a GPU, also seen where there is none.

There a CPU stands for one: parameters, buffers and inputs say that they are on ``cuda``, and so
does what is computed from them or made with their device. What is made without one or on the CPU,
or moved there, is on the host.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from vqcore.testing.rules import expect

__tracebackhide__ = True  # see ``rules``

#: Operators whose result, or its shape, the host must know, and what they are called here.
READING = {
    **dict.fromkeys(("_local_scalar_dense", "equal", "is_nonzero"), "a number read from a tensor"),
    **dict.fromkeys(("nonzero", "masked_select", "bincount"), "a shape read from a tensor"),
    **dict.fromkeys(("_unique", "_unique2", "unique_dim"), "a shape read from a tensor"),
    **dict.fromkeys(("unique_consecutive", "repeat_interleave"), "a shape read from a tensor"),
    "lift_fresh": "a tensor made of Python numbers",
}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}
#: Methods of tensors that copy to the host, and those that may copy from it.
COPYING, MOVING = {"numpy", "tolist", "__array__"}, {"to", "copy_", "__getitem__", "__setitem__"}
CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")


def device() -> torch.device:
    """Where the checks on waits run: a GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def no_waits(what: str) -> Iterator[None]:
    """Inside, nothing may wait for the device: fails with the operations, and their lines.

    Raises:
        AssertionError: where there is no GPU, if something would wait for one.
        RuntimeError: on a GPU, if something does.
    """
    if device().type == "cpu":
        with waits() as found:
            yield
        # a backward pass has the line of the kit that started it: the forward pass says more
        theirs = [each for each in found if f" {__package__}." not in each] or found
        expect(not found, f"{what} waits for the device: {'; '.join(dict.fromkeys(theirs))}")
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@contextmanager
def waits() -> Iterator[list[str]]:
    """On a CPU, a list of what would wait inside: what it is, the operation, the line."""
    calls = _Calls()
    with _Operators(calls), calls:
        yield calls.found


class _Calls(TorchFunctionMode):
    """Tells the tensors that stand for the device's from the host's, and records copies."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.free = False  # whether the call that runs waits for nothing, whatever it calls

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        arguments: tuple[Any, ...] = (),
        options: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(options or {})
        name = getattr(function, "__name__", "")
        given = tree_leaves((arguments, options))
        hosted = [hasattr(each, "_on_host") for each in given if isinstance(each, Tensor)]
        if getattr(function, "__self__", None) is Tensor.device:
            return CPU if hosted[0] else CUDA
        if name == "pin_memory":  # for which a GPU is needed
            return given[0]
        # a device that a module keeps is the CPU here: a move to it is no copy to the host
        hosts = str if hosted else str | torch.device
        to_host = name == "cpu" or any(isinstance(x, hosts) and str(x) == "cpu" for x in given)
        to_device = not to_host and any(isinstance(each, torch.device) for each in given)
        on_host = all(hosted) and not to_device
        fills = name == "__setitem__" and isinstance(arguments[2], (bool, int, float))
        self.free = on_host or fills  # torch 2.11 makes a tensor of the number, on the device
        if not on_host and not options.get("non_blocking", False):
            if name in COPYING or to_host:
                self.record("a copy to the host", name)
            elif name in MOVING and any(hosted):
                self.record("a copy from the host", name)
        options.pop("pin_memory", None)
        arguments, options = tree_map(_really, (arguments, options))
        result = function(*arguments, **options)
        if on_host or to_host:
            for each in tree_leaves(result):
                if isinstance(each, Tensor):
                    each._on_host = True  # type: ignore[attr-defined]
        self.free = False
        return result

    def record(self, why: str, name: str) -> None:
        """Add an operation with its line."""
        self.found.append(f"{why} ({name}, {_line()})")


class _Operators(TorchDispatchMode):
    """Records operators that the host has to wait for, in backward passes too."""

    def __init__(self, calls: _Calls) -> None:
        super().__init__()
        self._calls = calls

    def __torch_dispatch__(
        self,
        function: Any,
        types: Sequence[type],
        arguments: tuple[Any, ...] = (),
        options: Mapping[str, Any] | None = None,
    ) -> Any:
        name = function._schema.name.removeprefix("aten::")
        why = READING.get(name)
        if name in INDEXING and any(_is_mask(each) for each in arguments[1]):
            why = "indexing by a mask"
        if why is not None and not self._calls.free:
            self._calls.record(why, name)
        return function(*arguments, **(options or {}))


def _really(argument: Any) -> Any:
    """The CPU for the device that it stands for; anything else as it is."""
    return CPU if isinstance(argument, torch.device) and argument == CUDA else argument


def _is_mask(index: Tensor | None) -> bool:
    return index is not None and index.dtype in (torch.bool, torch.uint8)


def _line() -> str:
    """The innermost line outside of torch and of this file."""
    frame = sys._getframe(3)
    while frame.f_back is not None and _is_passed(frame.f_globals.get("__name__", "")):
        frame = frame.f_back
    return f"{frame.f_globals.get('__name__')}:{frame.f_lineno}"


def _is_passed(module: str) -> bool:
    return module == __name__ or module.partition(".")[0] == "torch"
