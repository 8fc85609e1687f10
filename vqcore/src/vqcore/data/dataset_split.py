"""A split of a torch ``Dataset``, read by worker processes."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from vqcore.data.tensor_split import to_float
from vqcore.errors import VQError
from vqcore.interfaces.dataset import Split


class DatasetSplit(Split):
    """Samples read when they are needed, by worker processes that live as long as the split.

    Args:
        dataset: map-style, of tensors of one shape, usually uint8 images (C, H, W). A ``VQError``
            that it raises ends the run with that message.
        workers: processes that read ahead; 0 reads in this process, None takes
            ``default_workers``.
        labels: (N,) int64, or None.
        convert: maps a stored batch on the device to the float batch that is served.
    """

    def __init__(
        self,
        dataset: Dataset[Tensor],
        workers: int | None = 0,
        labels: Tensor | None = None,
        convert: Callable[[Tensor], Tensor] = to_float,
    ) -> None:
        self.dataset = dataset
        self.workers = default_workers() if workers is None else workers
        self.labels = labels
        self.convert = convert
        self._idle: dict[bool, tuple[_Order, DataLoader[Any]]] = {}  # by whether it pins memory
        self._empty: Tensor | None = None

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]  # map-style data sets have a length

    def batches(self, chosen: Iterable[Tensor], device: torch.device) -> Iterator[Tensor]:
        """See ``Split.batches``."""
        pinned = device.type == "cuda"
        # A loader in use is not idle: a second reader at the same time gets its own.
        order, loader = self._idle.pop(pinned) if pinned in self._idle else self._loader(pinned)
        order.chosen, error = chosen, None
        try:
            for batch in loader:
                if isinstance(batch, VQError):
                    error = batch
                    break
                yield self.convert(self._or_empty(batch).to(device, non_blocking=True))
        finally:
            if error is None:
                self._idle[pinned] = order, loader
            # Ends the workers of a failed loader now: the error's traceback would keep them alive.
            del order, loader
        if error is not None:
            raise error

    def _loader(self, pinned: bool) -> tuple[_Order, DataLoader[Any]]:
        order = _Order()
        loader: DataLoader[Any] = DataLoader(
            _ErrorsAsSamples(self.dataset),
            batch_sampler=order,
            num_workers=self.workers,
            collate_fn=_collate,
            pin_memory=pinned,
            persistent_workers=self.workers > 0,
            worker_init_fn=_ignore_signals,
            generator=torch.Generator(),  # else the global one draws the workers' seed
        )
        return order, loader

    def _or_empty(self, batch: Tensor | None) -> Tensor:
        if batch is not None:
            return batch
        if self._empty is None:
            self._empty = self.dataset[0].unsqueeze(0)[:0]  # of the shape of a sample
        return self._empty


def default_workers() -> int:
    """As many as this process has cores for besides its own, from 2 to 8."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return min(max(cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")) - 1, 2), 8)


class _Order:
    """The sample numbers of each batch, replaced before each pass of the loader."""

    chosen: Iterable[Tensor] = ()

    def __iter__(self) -> Iterator[list[int]]:
        return (index.tolist() for index in self.chosen)


class _ErrorsAsSamples(Dataset[Any]):
    """Returns a ``VQError`` instead of raising it: a worker would wrap it in a traceback."""

    def __init__(self, dataset: Dataset[Tensor]) -> None:
        self.dataset = dataset

    def __getitem__(self, index: int) -> Any:
        try:
            return self.dataset[index]
        except VQError as error:
            return error


def _collate(samples: list[Any]) -> Any:
    if not samples:
        return None
    errors = (sample for sample in samples if isinstance(sample, VQError))
    return next(errors, None) or default_collate(samples)


def _ignore_signals(_worker: int) -> None:
    """Leave signals to the training process, which needs batches until it has stopped.

    They often reach a whole process group. SIGTERM from the parent still ends a worker.
    """
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_exit_on_signal_of_parent, daemon=True).start()


def _exit_on_signal_of_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass  # sent by another process, which has sent it to the parent too
    os._exit(0)
