"""A split held in memory, and a split made of some samples of another."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import torch
from torch import Tensor

from vqcore.data.transfer import to_device
from vqcore.interfaces.dataset import Split, TrainingBatch

#: Share of a device's free memory that a split may take; a larger one is streamed from the host.
DEVICE_SHARE = 0.25
#: Batches prepared while one is in use.
_PREFETCHED = 2


def rescale(
    batch: Tensor, stored: tuple[float, float], served: tuple[float, float] = (-1.0, 1.0)
) -> Tensor:
    """Stored values as float32, with the range ``stored`` mapped linearly to ``served``."""
    values = batch.float()
    if stored == served:
        return values
    (low, high), (first, last) = stored, served
    values = values - low if low else values
    return values.div((high - low) / (last - first)).add_(first)


def to_float(batch: Tensor) -> Tensor:
    """uint8 as float32 in [-1, 1], bool as 0 and 1, floats as float32."""
    return rescale(batch, (0.0, 255.0)) if batch.dtype == torch.uint8 else batch.float()


class TensorSplit(Split):
    """Samples held in memory or memory-mapped, moved to the device once if they fit there.

    Data larger than ``DEVICE_SHARE`` stay on the host, where a thread gathers batches ahead of the
    step.

    Args:
        data: (N, *shape), in the dtype they are stored in.
        labels: (N,) int64, or None.
        convert: maps a stored batch on the device to the float batch that is served.
    """

    def __init__(
        self,
        data: Tensor,
        labels: Tensor | None = None,
        convert: Callable[[Tensor], Tensor] = to_float,
    ) -> None:
        self.data = data
        self.labels = labels
        self.convert = convert
        self._streamed: set[torch.device] = set()

    def __len__(self) -> int:
        return self.data.shape[0]

    def batches(self, chosen: Iterable[Tensor], device: torch.device) -> Iterator[Tensor]:
        """See ``Split.batches``."""
        if self._is_streamed(device):
            for batch in _prefetched(partial(self._gather, device=device), chosen):
                yield self.convert(batch.to(device, non_blocking=True))
            return
        for index in chosen:
            yield self.convert(self.data[to_device(index, device)])

    def _is_streamed(self, device: torch.device) -> bool:
        """Move the data to the device, or return True if they stay. Decided once per device."""
        if self.data.device.type == device.type and device.index in (None, self.data.device.index):
            return False  # ``cuda`` without an index is this process's GPU
        if device in self._streamed:
            return True
        if self.data.nbytes > DEVICE_SHARE * _free_memory(device):
            self._streamed.add(device)
            return True
        self.data = self.data.to(device)
        return False

    def _gather(self, index: Tensor, device: torch.device) -> Tensor:
        batch = self.data[index.to(self.data.device)]
        return batch.pin_memory() if device.type == "cuda" and batch.device.type == "cpu" else batch


class SubsetSplit(Split):
    """Some samples of another split; subsets of the same split share what it moved to a device.

    Args:
        whole: the other split.
        rows: sample numbers in it, (N,) int64.
    """

    def __init__(self, whole: Split, rows: Tensor) -> None:
        self.whole = whole
        self.rows = rows
        self.labels = None if whole.labels is None else whole.labels[rows]
        names = whole.names
        self.names = None if names is None else [names[row] for row in rows.tolist()]

    def __len__(self) -> int:
        return len(self.rows)

    def batches(self, chosen: Iterable[Tensor], device: torch.device) -> Iterator[Tensor]:
        """See ``Split.batches``."""
        return self.whole.batches((self.rows.to(index.device)[index] for index in chosen), device)

    def training_batches(
        self, chosen: Iterable[TrainingBatch], device: torch.device
    ) -> Iterator[Tensor]:
        """See ``Split.training_batches``."""
        return self.whole.training_batches(map(self._of_whole, chosen), device)

    def training_labels(self, batch: TrainingBatch) -> Tensor:
        """See ``Split.training_labels``."""
        return self.whole.training_labels(self._of_whole(batch))

    def _of_whole(self, batch: TrainingBatch) -> TrainingBatch:
        return batch._replace(samples=self.rows[batch.samples])


def _free_memory(device: torch.device) -> float:
    return float(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else float("inf")


def _prefetched(read: Callable[[Tensor], Tensor], chosen: Iterable[Tensor]) -> Iterator[Tensor]:
    """``read`` of each, in order, computed in a thread a few batches ahead."""
    with ThreadPoolExecutor(1) as pool:
        pending: deque[Future[Tensor]] = deque()
        for index in chosen:
            pending.append(pool.submit(read, index))
            if len(pending) > _PREFETCHED:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
