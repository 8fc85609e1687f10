"""How several processes stop when one of them has to: in the same step, or soon."""

from __future__ import annotations

import itertools
from collections import deque
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from vqcore.distributed import is_active

_numbers = itertools.count()


class StopVote:
    """Lets every process stop in the same step when any of them receives a signal.

    Votes are exchanged on the CPU and counted a few steps after they were cast, so that a step
    waits neither for the device nor for the network.
    """

    LAG = 2

    def __init__(self) -> None:
        self._group: Any = dist.new_group(backend="gloo") if is_active() else None
        self._cast: deque[tuple[Any, Tensor]] = deque()

    def __call__(self, signal: int) -> int:
        """Cast this step's vote, and count the one of ``LAG`` steps ago.

        A vote is the number of the signal that a process received, 0 for none. The largest one
        that was cast is returned; 0 continues the run.
        """
        if self._group is None:
            return signal
        vote = torch.tensor(signal)
        work = dist.all_reduce(vote, dist.ReduceOp.MAX, group=self._group, async_op=True)
        self._cast.append((work, vote))
        return self._count() if len(self._cast) > self.LAG else 0

    def close(self) -> None:
        """Wait for the votes that are not counted yet."""
        while self._cast:
            self._count()

    def _count(self) -> int:
        work, vote = self._cast.popleft()
        work.wait()
        return int(vote)


class Halt:
    """Lets all processes stop soon when one of them has to, without waiting for each other.

    One posts it; the others look before each batch. Every process makes one at the same point.
    """

    def __init__(self) -> None:
        self._key = f"vq/halt/{next(_numbers)}"
        # the store that the group met at: its server answers while the main process lives
        self._store = dist.distributed_c10d._get_default_store() if is_active() else None
        self._posted = False

    def post(self) -> None:
        """Ask all processes to stop."""
        self._posted = True
        if self._store is not None:
            self._store.set(self._key, "")

    def is_posted(self) -> bool:
        """Whether any process asked."""
        if self._store is not None and not self._posted:
            self._posted = self._store.check([self._key])
        return self._posted
