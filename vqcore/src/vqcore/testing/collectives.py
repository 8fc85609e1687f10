"""A simulated process group: code inside sees two ranks, and fails if it enters a collective."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch.distributed as dist

#: Queries of the process group, and their answers inside.
ANSWERS = {"is_available": True, "is_initialized": True, "get_world_size": 2, "get_rank": 0}
#: What waits for other ranks.
COLLECTIVES = (
    "all_gather", "all_gather_coalesced", "all_gather_into_tensor", "all_gather_object",
    "all_reduce", "all_reduce_coalesced", "all_to_all", "all_to_all_single", "barrier",
    "batch_isend_irecv", "broadcast", "broadcast_object_list", "gather", "gather_object", "irecv",
    "isend", "monitored_barrier", "recv", "reduce", "reduce_scatter", "reduce_scatter_tensor",
    "scatter", "scatter_object_list", "send",
)  # fmt: skip


@contextmanager
def refused(where: str) -> Iterator[None]:
    """Inside, a collective of ``torch.distributed`` is a violation; ``where`` names the code."""
    changes = {name: mock.Mock(return_value=value) for name, value in ANSWERS.items()}
    for name in COLLECTIVES:
        if hasattr(dist, name):
            error = AssertionError(f"{where} called torch.distributed.{name}")
            changes[name] = mock.Mock(side_effect=error)
    with mock.patch.multiple(dist, **changes):
        yield
