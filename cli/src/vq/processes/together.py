"""What several processes of one command do together: join, agree, and fail together.

In one process everything here is what a plain call would be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from vq.processes.launched import local_rank, several
from vq.processes.peers import announced_wait, lost_peers_in_words, patience
from vqcore.distributed import is_active
from vqcore.errors import OtherProcessError

T = TypeVar("T")


@contextmanager
def joined(fix: str = "") -> Iterator[None]:
    """Inside, the processes of a launcher are one group: gloo on CPUs, NCCL on GPUs.

    Each has the GPU of its number on its machine as its current one. A group that the caller has
    made is used as it is. ``fix`` ends the message about a lost process.

    Raises:
        PeerLostError: if another process is gone.
    """
    with lost_peers_in_words(fix):
        own = several() and not dist.is_initialized()
        if own:
            if local_rank() < torch.cuda.device_count():
                torch.cuda.set_device(local_rank())
            with announced_wait():
                dist.init_process_group(timeout=patience())
        yield
        if own:  # after an error, the others may still wait in a collective
            dist.destroy_process_group()


def rank() -> int:
    """The number of this process; 0 outside a group."""
    return dist.get_rank() if is_active() else 0


def world() -> int:
    """The number of processes; 1 outside a group."""
    return dist.get_world_size() if is_active() else 1


def on_main(action: Callable[[], T]) -> T:
    """The result of ``action`` on every process; only the main process calls it.

    Raises:
        Exception: on the main process, what ``action`` raised.
        OtherProcessError: on the others, which would otherwise wait forever.
    """
    if not is_active():
        return action()
    answer: list[Any] = [None, None]
    failure: Exception | None = None
    if rank() == 0:
        try:
            answer[0] = action()
        except Exception as error:
            failure = error
            answer[1] = OtherProcessError.of(error)
    dist.broadcast_object_list(answer, 0)
    if answer[1] is not None:
        raise failure or answer[1]
    return answer[0]


def agreed(action: Callable[[], T]) -> T:
    """The result of this process's ``action``, once it has succeeded in all; each calls it.

    Raises:
        Exception: in a process where ``action`` raised it.
        OtherProcessError: in the others, of the first one that failed.
    """
    failure: Exception | None = None
    result: Any = None
    try:
        result = action()
    except Exception as error:
        failure = error
    failures = gathered(None if failure is None else OtherProcessError.of(failure, rank()))
    if any(failures):
        raise failure or next(filter(None, failures))
    return result


def main_first(action: Callable[[], T]) -> T:
    """``agreed``, where the main process goes first: the others find what it has downloaded."""
    done: list[T] = []
    on_main(lambda: done.append(action()))
    return agreed(lambda: done[0] if done else action())


def gathered(value: T) -> list[T]:
    """The values of all processes, in the order of ranks; each calls it."""
    if not is_active():
        return [value]
    values: list[Any] = [None] * world()
    dist.all_gather_object(values, value)
    return values
