"""Where the runs of a sweep compute: each on a GPU, and with its share of the cores."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

#: Devices that leave the choice of a GPU to us; ``cuda:1`` is the user's own.
_ANY = ("auto", "cuda")
#: Lists the GPUs that a process sees, by number or by name.
VISIBLE = "CUDA_VISIBLE_DEVICES"


class Places:
    """Deals GPUs out to runs: the one with the fewest runs comes next.

    Args:
        configs: of the runs.
        jobs: runs at a time; None: one for each GPU that they may use, or one.

    Attributes:
        jobs: runs at a time.
    """

    def __init__(self, configs: Sequence[Mapping[str, Any]], jobs: int | None) -> None:
        free = any(map(_is_free, configs))
        self._runs = dict.fromkeys(visible_gpus() if free else (), 0)
        self.jobs = jobs or max(1, len(self._runs))

    def take(self, config: Mapping[str, Any]) -> str | None:
        """A GPU for a run; None where its config chooses, or there is none."""
        if not self._runs or not _is_free(config):
            return None
        gpu = min(self._runs, key=self._runs.__getitem__)
        self._runs[gpu] += 1
        return gpu

    def give_back(self, gpu: str | None) -> None:
        """A run on this GPU has ended."""
        if gpu is not None:
            self._runs[gpu] -= 1

    def environment(self, gpu: str | None) -> dict[str, str]:
        """What the process of a run is started with, beside what this one has."""
        own = {} if gpu is None else {VISIBLE: gpu}
        if self.jobs > 1 and "OMP_NUM_THREADS" not in os.environ:
            own["OMP_NUM_THREADS"] = str(max(1, _cores() // self.jobs))
        return own


def visible_gpus() -> list[str]:
    """The GPUs that this process sees, as ``CUDA_VISIBLE_DEVICES`` names them."""
    import torch  # seconds, which the processes of the runs take too

    count = torch.cuda.device_count()
    named = os.environ.get(VISIBLE)
    names = [str(number) for number in range(count)] if named is None else named.split(",")
    return [name.strip() for name in names[:count]]


def _is_free(config: Mapping[str, Any]) -> bool:
    return config.get("device", "auto") in _ANY


def _cores() -> int:
    """Cores that this process may use; a container may have fewer than its machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
