"""Searches beside the training step: on a thread of their own, their results taken when they are there."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from vq_homology import clouds
from vq_homology.backends import Backend
from vq_homology.clouds import Cloud
from vqcore.errors import RunError, VQError
from vqcore.interfaces.manifold import Manifold


def waits(wait: str, device: torch.device) -> bool:
    """Whether a step waits for its search: ``always``, ``never``, or ``auto``.

    ``auto`` waits on the processor, which has nothing else to do meanwhile, and wherever torch was told to be
    deterministic: when a result is there depends on the clock.
    """
    if wait == "auto":
        return device.type == "cpu" or torch.are_deterministic_algorithms_enabled()
    return wait == "always"


class Beside:
    """One thread that searches while training goes on, at most one search at a time for each place.

    Distances are computed on the points' device when a search begins, and copied while it goes on; only then the
    thread reads them. Nothing ever waits for the thread but the end of the process, for the searches begun. Copies,
    pickles and forks of this object have a thread of their own, and know nothing of the searches under way.
    """

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._pool = ThreadPoolExecutor(
            1, thread_name_prefix="homology"
        )  # its thread starts with the first search
        self._begun: dict[int, Future[Cloud]] = {}
        self._process = os.getpid()

    def __reduce__(self) -> tuple[type[Beside], tuple[()]]:
        return Beside, ()

    def search(
        self,
        place: int,
        points: Tensor,
        manifold: Manifold,
        *,
        step: int,
        limit: int,
        backend: Backend | None,
        edge_quantile: float,
    ) -> Cloud | None:
        """The pairs that a search begun on an earlier call found; None until it has, or where they no longer fit.

        Where no search of this place is under way, one begins. Arguments: see ``clouds.search``.

        Raises:
            RunError: if the search failed.
        """
        if self._process != os.getpid():  # a fork has the memory of a thread, not the thread
            self._start()
        begun = self._begun.get(place)
        if begun is None:
            problem = clouds.pose(points, manifold, step=step, limit=limit)
            self._begun[place] = self._pool.submit(clouds.solve, problem, backend, edge_quantile)
            return None
        if not begun.done():
            return None
        cloud = _result(self._begun.pop(place))
        return cloud.to(points.device) if cloud.fits(points, step) else None

    def forget(self) -> None:
        """Take no result of a search begun before."""
        for begun in self._begun.values():
            begun.cancel()
        self._begun.clear()


def _result(search: Future[Cloud]) -> Cloud:
    try:
        return search.result()
    except VQError:
        raise
    except Exception as error:
        raise RunError(
            f"regularizer 'homology': the search beside the training step failed: {error!r}"
        ) from error
