"""Pair searches on a background thread, so that training steps do not wait for them."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from vq_homology import pair_search
from vq_homology.pair_search import SearchOptions, SearchResult
from vqcore.errors import RunError, VQError
from vqcore.interfaces.manifold import Manifold


def must_wait(wait: str, device: torch.device) -> bool:
    """Whether a step waits for its search: ``always``, ``never``, or ``auto``.

    ``auto`` waits on a CPU, where nothing is gained by not waiting, and in torch's deterministic
    mode, since the step at which a background result arrives depends on timing.
    """
    if wait == "auto":
        return device.type == "cpu" or torch.are_deterministic_algorithms_enabled()
    return wait == "always"


class BackgroundSearch:
    """One thread that runs at most one search per codebook.

    Only the end of the process waits for running searches. Copies, pickles and forks get their
    own thread and do not see the searches of the original.
    """

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        # The thread starts with the first search.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="homology")
        self._running: dict[int, Future[SearchResult]] = {}
        self._process = os.getpid()

    def __reduce__(self) -> tuple[type[BackgroundSearch], tuple[()]]:
        return BackgroundSearch, ()

    def search(
        self, codebook: int, points: Tensor, manifold: Manifold, step: int, options: SearchOptions
    ) -> SearchResult | None:
        """The result of an earlier call's search, or None while it runs or if it no longer fits.

        Starts a search if none is running for this codebook.

        Raises:
            RunError: if the search failed.
        """
        if self._process != os.getpid():  # a fork does not inherit the thread
            self._start()
        running = self._running.get(codebook)
        if running is None:
            prepared = pair_search.prepare(points, manifold, step, options.limit)
            self._running[codebook] = self._pool.submit(pair_search.find_pairs, prepared, options)
            return None
        if not running.done():
            return None
        try:
            result = self._running.pop(codebook).result()
        except VQError:
            raise
        except Exception as error:
            message = f"regularizer 'homology': the background search failed: {error!r}"
            raise RunError(message) from error
        return result.to(points.device) if result.fits(points, step) else None
