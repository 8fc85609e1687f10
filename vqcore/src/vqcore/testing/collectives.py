"""A process group that is not there: code inside believes in two ranks, and is caught when it speaks to the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn
from unittest import mock

import torch.distributed as dist

from vqcore.testing.rules import fail

#: What says whether several processes run, and what it answers here.
PRETENDED = {"is_available": True, "is_initialized": True, "get_world_size": 2, "get_rank": 0}
#: What waits for the other processes.
COLLECTIVES = [
    "all_gather",
    "all_gather_coalesced",
    "all_gather_into_tensor",
    "all_gather_object",
    "all_reduce",
    "all_reduce_coalesced",
    "all_to_all",
    "all_to_all_single",
    "barrier",
    "batch_isend_irecv",
    "broadcast",
    "broadcast_object_list",
    "gather",
    "gather_object",
    "irecv",
    "isend",
    "monitored_barrier",
    "recv",
    "reduce",
    "reduce_scatter",
    "reduce_scatter_tensor",
    "scatter",
    "scatter_object_list",
    "send",
]


@contextmanager
def refused(where: str) -> Iterator[None]:
    """Inside, a collective of ``torch.distributed`` is a violation; ``where`` says in what."""
    changes: dict[str, Any] = {name: _answering(value) for name, value in PRETENDED.items()}
    changes |= {name: _refusing(name, where) for name in COLLECTIVES if hasattr(dist, name)}
    with mock.patch.multiple(dist, **changes):
        yield


def _answering(value: Any) -> Callable[..., Any]:
    def answer(*_: Any, **__: Any) -> Any:
        return value

    return answer


def _refusing(name: str, where: str) -> Callable[..., NoReturn]:
    def refuse(*_: Any, **__: Any) -> NoReturn:
        fail(f"{where} called torch.distributed.{name}")

    return refuse
