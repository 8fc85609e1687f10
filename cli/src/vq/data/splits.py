"""Splits: samples held in memory, or read when they are needed, served as float batches on a device."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from vqcore.errors import VQError
from vqcore.interfaces.dataset import Split

#: Share of a device's free memory that a split may take for itself; a larger one is streamed from the host.
DEVICE_SHARE = 0.25
#: Batches that are made ready while one is in use.
_AHEAD = 2


def rescale(
    batch: Tensor, stored: tuple[float, float], served: tuple[float, float] = (-1.0, 1.0)
) -> Tensor:
    """Stored values as floats, the ends of ``stored`` at those of ``served``."""
    (low, high), (first, last) = stored, served
    if stored == served:
        return batch.float()
    return batch.float().sub(low).div_((high - low) / (last - first)).add_(first)


def to_float(batch: Tensor) -> Tensor:
    """Bytes as floats in [-1, 1]; truth values as 0 and 1; floats in single precision, as they are."""
    return rescale(batch, (0.0, 255.0)) if batch.dtype == torch.uint8 else batch.float()


class ArraySplit(Split):
    """Samples held whole in memory (or mapped into it from a file): moved to the device once, if they fit there.

    Args:
        data: (N, *shape) of the small type it is stored in.
        labels: (N,) int64, or None.
        convert: makes the floats of a batch that are served; it runs on the device.
        device_share: of a device's free memory that the data may take. What is larger stays where it is, and
            batches are gathered by a thread that works ahead.
    """

    def __init__(
        self,
        data: Tensor,
        labels: Tensor | None = None,
        convert: Callable[[Tensor], Tensor] = to_float,
        device_share: float = DEVICE_SHARE,
    ) -> None:
        self.data, self._labels, self.convert, self.device_share = (
            data,
            labels,
            convert,
            device_share,
        )
        self._streamed: set[torch.device] = set()

    def __len__(self) -> int:
        return self.data.shape[0]

    @property
    def labels(self) -> Tensor | None:
        """See ``Split.labels``."""
        return self._labels

    def batches(self, chosen: Iterable[Tensor], device: torch.device) -> Iterator[Tensor]:
        """See ``Split.batches``."""
        if self._stays(device):
            for batch in _ahead(lambda index: self._gathered(index, device), chosen):
                yield self.convert(batch.to(device, non_blocking=True))
            return
        for index in chosen:
            yield self.convert(self.data[index.to(device, non_blocking=True)])

    def _stays(self, device: torch.device) -> bool:
        """Whether the data is streamed to this device; else it is there. Decided once for each device."""
        if self.data.device.type == device.type and device.index in (None, self.data.device.index):
            return False  # ``cuda`` is the GPU of this process, whichever number it has
        if device in self._streamed:
            return True
        if self.data.nbytes > self.device_share * _free_memory(device):
            self._streamed.add(device)
            return True
        self.data = self.data.to(device)
        return False

    def _gathered(self, index: Tensor, device: torch.device) -> Tensor:
        batch = self.data[index.to(self.data.device)]
        return batch.pin_memory() if device.type == "cuda" and batch.device.type == "cpu" else batch


class Subset(Split):
    """Some samples of another split, which several may share: what it moved to a device is there once.

    Args:
        whole: the other split.
        rows: numbers of the samples in it, (N,) int64.
    """

    def __init__(self, whole: Split, rows: Tensor) -> None:
        self.whole, self.rows = whole, rows

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> Tensor | None:
        """See ``Split.labels``."""
        labels = self.whole.labels
        return None if labels is None else labels[self.rows]

    def batches(self, chosen: Iterable[Tensor], device: torch.device) -> Iterator[Tensor]:
        """See ``Split.batches``."""
        return self.whole.batches((self.rows.to(index.device)[index] for index in chosen), device)


class FileSplit(Split):
    """Samples read when they are needed, by worker processes that stay from one epoch to the next.

    Args:
        dataset: a map-style data set of tensors, all of one shape: uint8 pictures (C, H, W) as a rule.
        workers: processes that read ahead; 0 reads in this one.
        labels: (N,) int64, or None.
        convert: makes the floats of a batch that are served; it runs on the device.
    """

    def __init__(
        self,
        dataset: Dataset,
        workers: int = 0,
        labels: Tensor | None = None,
        convert: Callable[[Tensor], Tensor] = to_float,
    ) -> None:
        self.dataset, self.workers, self._labels, self.convert = dataset, workers, labels, convert
        self._loaders: dict[
            bool, tuple[_Order, DataLoader]
        ] = {}  # idle ones, by whether they pin memory
        self._empty: Tensor | None = None

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    @property
    def labels(self) -> Tensor | None:
        """See ``Split.labels``."""
        return self._labels

    def batches(self, chosen: Iterable[Tensor], device: torch.device) -> Iterator[Tensor]:
        """See ``Split.batches``."""
        pinned = device.type == "cuda"
        # Taken out while it serves: a second reader at the same time gets a loader of its own.
        order, loader = self._loaders.pop(pinned, None) or self._loader(pinned)
        order.chosen, error = chosen, None
        try:
            for batch in loader:
                if isinstance(batch, VQError):
                    error = batch
                    break
                yield self.convert(self._or_empty(batch).to(device, non_blocking=True))
        finally:
            if error is None:
                self._loaders[pinned] = order, loader
            del (
                order,
                loader,
            )  # ends the workers now: held by the error's traceback, they would wait out a timeout
        if error is not None:
            raise error

    def _loader(self, pinned: bool) -> tuple[_Order, DataLoader]:
        order = _Order()
        loader = DataLoader(
            _Guarded(self.dataset),
            batch_sampler=order,
            num_workers=self.workers,
            collate_fn=_collate,
            pin_memory=pinned,
            persistent_workers=self.workers > 0,
            worker_init_fn=_outlive_signals,
            generator=torch.Generator(),  # else the workers' seed is drawn from the global generator
        )
        return order, loader

    def _or_empty(self, batch: Tensor | None) -> Tensor:
        if batch is not None:
            return batch
        if self._empty is None:  # the shape is a sample's
            self._empty = self.dataset[0].unsqueeze(0)[:0]
        return self._empty


class _Order:
    """The sample numbers of each batch, another list of them each time the loader starts."""

    chosen: Iterable[Tensor] = ()

    def __iter__(self) -> Iterator[list[int]]:
        return (index.tolist() for index in self.chosen)


class _Guarded(Dataset):
    """A data set whose errors are answers: raised in a worker, a message would arrive wrapped in a traceback."""

    def __init__(self, dataset: Dataset) -> None:
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


def _outlive_signals(_worker: int) -> None:
    """Ctrl-C and a scheduler's SIGTERM reach every process: the one that trains still needs batches to end in order."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass  # of somebody else: the parent has it too, and decides
    os._exit(0)


def _free_memory(device: torch.device) -> float:
    return float(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else float("inf")


def _ahead(read: Callable[[Tensor], Tensor], chosen: Iterable[Tensor]) -> Iterator[Tensor]:
    """``read`` of each, in order, a few of them done in a thread before they are asked for."""
    with ThreadPoolExecutor(1) as pool:
        pending: deque = deque()
        for index in chosen:
            pending.append(pool.submit(read, index))
            if len(pending) > _AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
